/* SPDX-License-Identifier: MIT */
#include "collector/kernel_symbols.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/symbol.h"

#define SYMBOLS_MAX (1U << 22)
/* Behind the last symbol of the kernel or a module is nothing known. */
#define FUNCTION_BYTES_MAX (1U << 20)

struct kernel_symbol {
    uint64_t address;
    size_t name;   /* offset into names */
    bool function; /* else it is only where one before it ends */
};

struct kernel_symbols {
    FILE *file;                    /* NULL: there is none, or it was read */
    struct kernel_symbol *entries; /* once read: sorted */
    size_t count, room;
    char *names;
    size_t names_bytes, names_room;
    bool hidden;
};

int kernel_symbols_open(const char *path, struct kernel_symbols **ret_symbols) {
    struct kernel_symbols *symbols = calloc(1, sizeof(*symbols));
    if (!symbols)
        return -ENOMEM;
    symbols->file = fopen(path, "re");
    *ret_symbols = symbols;
    return 0;
}

void kernel_symbols_close(struct kernel_symbols *symbols) {
    if (!symbols)
        return;
    if (symbols->file)
        fclose(symbols->file);
    free(symbols->entries);
    free(symbols->names);
    free(symbols);
}

/* Makes room for one more of each. */
static bool room_make(struct kernel_symbols *symbols, size_t name_bytes) {
    if (symbols->count == symbols->room) {
        size_t room = symbols->room ? symbols->room * 2 : 1U << 16;
        struct kernel_symbol *grown = realloc(symbols->entries, room * sizeof(*grown));
        if (!grown)
            return false;
        symbols->entries = grown;
        symbols->room = room;
    }
    if (symbols->names_bytes + name_bytes > symbols->names_room) {
        size_t room = symbols->names_room ? symbols->names_room * 2 : 1U << 20;
        char *grown = realloc(symbols->names, room);
        if (!grown)
            return false;
        symbols->names = grown;
        symbols->names_room = room;
    }
    return true;
}

static int symbol_compare(const void *left, const void *right) {
    const struct kernel_symbol *a = left, *b = right;
    if (a->address != b->address)
        return a->address < b->address ? -1 : 1;
    return a->name < b->name ? -1 : a->name > b->name;
}

/* By hand: sscanf() takes most of the time it takes to read the file. */
static void symbols_read(struct kernel_symbols *symbols) {
    char line[1024], *at;
    size_t zeros = 0;
    while (symbols->count < SYMBOLS_MAX && fgets(line, sizeof(line), symbols->file)) {
        uint64_t address = strtoull(line, &at, 16);
        char type = at != line && at[0] == ' ' ? at[1] : '\0';
        size_t bytes = type && at[2] == ' ' ? strcspn(at + 3, " \t\n") + 1 : 1;
        if (bytes == 1)
            continue;
        zeros += address == 0;
        if (address == 0)
            continue;
        if (!room_make(symbols, bytes))
            break;
        memcpy(symbols->names + symbols->names_bytes, at + 3, bytes - 1);
        symbols->names[symbols->names_bytes + bytes - 1] = '\0';
        symbols->entries[symbols->count++] =
            (struct kernel_symbol){address, symbols->names_bytes, strchr("tTwW", type) != NULL};
        symbols->names_bytes += bytes;
    }
    symbols->hidden = symbols->count == 0 && zeros > 0;
    fclose(symbols->file);
    symbols->file = NULL;
    if (symbols->count)
        qsort(symbols->entries, symbols->count, sizeof(*symbols->entries), symbol_compare);
}

bool kernel_symbols_find(struct kernel_symbols *symbols, uint64_t pc, struct symbol_frame *ret_frame) {
    if (symbols->file)
        symbols_read(symbols);
    size_t low = 0, high = symbols->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (symbols->entries[middle].address <= pc)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return false;
    /* Of several names of one address the first in the file is the function's own. */
    while (low > 1 && symbols->entries[low - 2].address == symbols->entries[low - 1].address)
        low--;
    const struct kernel_symbol *entry = &symbols->entries[low - 1];
    *ret_frame = (struct symbol_frame){.function = symbols->names + entry->name};
    return entry->function && pc - entry->address < FUNCTION_BYTES_MAX;
}

bool kernel_symbols_hidden(const struct kernel_symbols *symbols) {
    return symbols->hidden;
}
