/* SPDX-License-Identifier: MIT */
/* Interned strings, and names as people write them. */
#include "collector/symbol_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Itanium C++ ABI, "Demangler API"; <cxxabi.h> declares it for C++ only. */
char *__cxa_demangle(const char *mangled, char *buffer, size_t *length, int *status);

#define CHUNK_SIZE ((size_t)64 << 10)
#define NAME_MAX_LENGTH 16384
/* A name may say of two template arguments that they are the one before, again and again: its text
 * doubles with each pair. The demangler has no limit; 20 doublings are some 30 MB. Of node's 81 000
 * C++ symbols the worst has 28. */
#define BACK_REFERENCES_MAX 40

struct symbol_chunk {
    struct symbol_chunk *next;
    size_t used, size;
    char bytes[];
};

static uint64_t text_hash(const char *text) {
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash ^ hash >> 32;
}

static char **strings_slot(const struct symbol_strings *strings, const char *text) {
    size_t mask = strings->slot_count - 1;
    size_t i = text_hash(text) & mask;
    while (strings->slots[i] && strcmp(strings->slots[i], text) != 0)
        i = (i + 1) & mask;
    return &strings->slots[i];
}

static bool strings_grow(struct symbol_strings *strings) {
    struct symbol_strings larger = {.slot_count = strings->slot_count ? 2 * strings->slot_count : 1024};
    larger.slots = calloc(larger.slot_count, sizeof *larger.slots);
    if (!larger.slots)
        return false;
    for (size_t i = 0; i < strings->slot_count; i++)
        if (strings->slots[i])
            *strings_slot(&larger, strings->slots[i]) = strings->slots[i];
    free(strings->slots);
    strings->slots = larger.slots;
    strings->slot_count = larger.slot_count;
    return true;
}

const char *symbol_intern(struct symbol_strings *strings, const char *text) {
    if (2 * strings->used >= strings->slot_count && !strings_grow(strings))
        return NULL;
    char **slot = strings_slot(strings, text);
    if (*slot)
        return *slot;
    size_t size = strlen(text) + 1;
    struct symbol_chunk *chunk = strings->chunks;
    if (!chunk || chunk->size - chunk->used < size) {
        size_t chunk_size = size > CHUNK_SIZE ? size : CHUNK_SIZE;
        chunk = malloc(sizeof *chunk + chunk_size);
        if (!chunk)
            return NULL;
        *chunk = (struct symbol_chunk){.next = strings->chunks, .size = chunk_size};
        strings->chunks = chunk;
    }
    *slot = memcpy(chunk->bytes + chunk->used, text, size);
    chunk->used += size;
    strings->used++;
    return *slot;
}

void symbol_strings_free(struct symbol_strings *strings) {
    while (strings->chunks) {
        struct symbol_chunk *next = strings->chunks->next;
        free(strings->chunks);
        strings->chunks = next;
    }
    free(strings->slots);
}

/* "17h", 16 hexadecimal digits, "E" ends the names of Rust's older scheme. They and "_R…" stay as they
 * are, so that rustfilt can be run over the output. */
static bool is_rust(const char *name) {
    size_t length = strlen(name);
    if (length < 20 || strncmp(name + length - 20, "17h", 3) != 0 || name[length - 1] != 'E')
        return false;
    for (size_t i = length - 17; i < length - 1; i++)
        if (!isxdigit((unsigned char)name[i]))
            return false;
    return true;
}

static bool is_demangled(const char *name) {
    if (strncmp(name, "_Z", 2) != 0 || strlen(name) > NAME_MAX_LENGTH || is_rust(name))
        return false;
    unsigned references = 0;
    for (const char *at = name; *at; at++)
        if (*at == 'S' || *at == 'T') {
            const char *end = at + 1;
            while (isdigit((unsigned char)*end) || isupper((unsigned char)*end))
                end++;
            references += *end == '_';
        }
    return references <= BACK_REFERENCES_MAX;
}

static bool is_anonymous(const char *at) {
    return strncmp(at, "(anonymous namespace)", 21) == 0;
}

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '$';
}

/* Past the punctuation of an operator's name, so that operator<, operator-> and operator() do not
 * count as brackets. The longer ones come first. */
static const char *operator_end(const char *at) {
    static const char *const operators[] = {"<=>", "<<=", ">>=", "->*", "()", "[]", "<<",
                                            ">>",  "<=",  ">=",  "->",  "<",  ">"};
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++)
        if (strncmp(at, operators[i], strlen(operators[i])) == 0)
            return at + strlen(operators[i]);
    return at;
}

/*
 * The demangler writes the return type of function templates only, which makes names uneven. It
 * ends at the last blank outside of brackets before the parameter list, unless that blank belongs
 * to an operator's name or to a qualifier of an enclosing function ("f() const::{lambda()#1}").
 */
static const char *without_return_type(const char *name) {
    const char *blank = NULL, *name_blank = NULL;
    int depth = 0;
    bool in_operator = false;
    for (const char *at = name; *at; at++) {
        if (depth == 0 && strncmp(at, "operator", 8) == 0 && (at == name || !is_word(at[-1])) &&
            !is_word(at[8])) {
            at = operator_end(at + 8) - 1;
            in_operator = true;
            continue;
        }
        if (*at == '(' && depth == 0 && !is_anonymous(at))
            name_blank = blank;
        if (strchr("<([{", *at))
            depth++;
        else if (strchr(">)]}", *at))
            depth--;
        else if (*at == ' ' && depth == 0 && !in_operator) {
            const char *next = at + 1 + strcspn(at + 1, " :<([{");
            bool qualifier = strncmp(next, "::", 2) == 0 &&
                             (strncmp(at, " const::", 8) == 0 || strncmp(at, " volatile::", 11) == 0 ||
                              strncmp(at, " &", 2) == 0);
            if (!qualifier && at[1] != '[' && !(at > name && at[-1] == ')'))
                blank = at;
        }
        if (depth < 0)
            return name;
    }
    /* A pointer to function as return type wraps around the name: leave that alone. */
    if (!name_blank || depth != 0 || (name_blank[1] == '(' && !is_anonymous(name_blank + 1)))
        return name;
    return name_blank + 1;
}

const char *symbol_pretty(struct symbol_strings *strings, const char *name) {
    char *cut = NULL;
    size_t length = strcspn(name, "@");
    if (length > 0 && name[length] == '@') {
        cut = strndup(name, length);
        if (!cut)
            return NULL;
        name = cut;
    }
    const char *result;
    int status;
    char *demangled = is_demangled(name) ? __cxa_demangle(name, NULL, NULL, &status) : NULL;
    if (!demangled || strlen(demangled) > NAME_MAX_LENGTH)
        result = symbol_intern(strings, name);
    else if (strncmp(name, "_ZT", 3) == 0 || strncmp(name, "_ZG", 3) == 0)
        result = symbol_intern(strings, demangled); /* "vtable for X": the blanks are words */
    else
        result = symbol_intern(strings, without_return_type(demangled));
    free(demangled);
    free(cut);
    return result;
}
