/* SPDX-License-Identifier: MIT */
/* .symtab, or .dynsym where that is all there is, as arrays sorted by address. */
#include "collector/symbol_internal.h"

#include <gelf.h>
#include <stdlib.h>
#include <string.h>

/* Entries looked at before the nearest: a chain of overlapping symbols is not real code. */
#define BACKWARD_MAX 512

static unsigned underscores(const char *name) {
    return (unsigned)strspn(name, "_");
}

/* Negative if a is the worse name of two for the same address. */
static int compare_names(const struct symbol_entry *a, const struct symbol_entry *b) {
    if (a->rank != b->rank)
        return a->rank < b->rank ? -1 : 1;
    unsigned lead_a = underscores(a->name), lead_b = underscores(b->name);
    if (lead_a != lead_b)
        return lead_a > lead_b ? -1 : 1;
    size_t length_a = strcspn(a->name, "@"), length_b = strcspn(b->name, "@");
    if (length_a != length_b)
        return length_a > length_b ? -1 : 1;
    return -strcmp(a->name, b->name);
}

static int compare_entries(const void *left, const void *right) {
    const struct symbol_entry *a = left, *b = right;
    if (a->address != b->address)
        return a->address < b->address ? -1 : 1;
    return compare_names(a, b);
}

static void entries_sort(struct symbol_entry *entries, size_t count) {
    if (count > 0)
        qsort(entries, count, sizeof *entries, compare_entries);
    uint64_t reach = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t end = entries[i].address + entries[i].size;
        if (end > reach)
            reach = end;
        entries[i].reach = reach;
    }
}

/* Compilers' local labels and the linker's marks, no functions. */
static bool is_label(const char *name) {
    return name[0] == '\0' || name[0] == '$' || strncmp(name, ".L", 2) == 0;
}

static void table_add(struct symbol_table *table, const struct symbol_image *image, const Elf64_Sym *symbol,
                      const char *name) {
    static const uint8_t binding_ranks[16] = {
        [STB_LOCAL] = 0, [STB_WEAK] = 1, [STB_GLOBAL] = 2, [STB_GNU_UNIQUE] = 2};
    if (symbol->st_shndx == SHN_UNDEF || symbol->st_shndx >= image->section_count || is_label(name) ||
        symbol->st_size > UINT64_MAX - symbol->st_value)
        return;
    const struct symbol_section *section = &image->sections[symbol->st_shndx];
    if (symbol->st_value - section->address >= section->size)
        return;
    struct symbol_entry entry = {.address = symbol->st_value,
                                 .size = symbol->st_size,
                                 .name = name,
                                 .rank = binding_ranks[ELF64_ST_BIND(symbol->st_info)]};
    switch (ELF64_ST_TYPE(symbol->st_info)) {
    case STT_FUNC:
    case STT_GNU_IFUNC:
        table->functions[table->function_count++] = entry;
        break;
    case STT_NOTYPE: /* assembler */
        if (section->executable)
            table->functions[table->function_count++] = entry;
        break;
    case STT_OBJECT:
        table->data[table->data_count++] = entry;
        break;
    default:
        break;
    }
}

static const Elf64_Sym *find_symbols(const struct symbol_image *image, uint32_t type, size_t *ret_count,
                                     const char **ret_names, size_t *ret_names_size) {
    Elf_Scn *section = NULL;
    while ((section = elf_nextscn(image->elf, section))) {
        GElf_Shdr header;
        if (!gelf_getshdr(section, &header) || header.sh_type != type ||
            header.sh_entsize != sizeof(Elf64_Sym))
            continue;
        Elf_Data *symbols = elf_getdata(section, NULL);
        Elf_Data *names = elf_getdata(elf_getscn(image->elf, header.sh_link), NULL);
        if (!symbols || !symbols->d_buf || !names || !names->d_buf)
            continue;
        /* Names are used as strings: only up to the last NUL. */
        size_t names_size = names->d_size;
        while (names_size > 0 && ((const char *)names->d_buf)[names_size - 1] != '\0')
            names_size--;
        *ret_count = symbols->d_size / sizeof(Elf64_Sym);
        *ret_names = names->d_buf;
        *ret_names_size = names_size;
        return symbols->d_buf;
    }
    return NULL;
}

int symbol_table_build(struct symbol_module *module) {
    size_t count, names_size;
    const char *names;
    const struct symbol_image *image = module->image;
    const Elf64_Sym *symbols = find_symbols(image, SHT_SYMTAB, &count, &names, &names_size);
    if (!symbols && module->debug) {
        symbols = find_symbols(module->debug, SHT_SYMTAB, &count, &names, &names_size);
        if (symbols)
            image = module->debug;
    }
    if (!symbols)
        symbols = find_symbols(image, SHT_DYNSYM, &count, &names, &names_size);
    if (!symbols || count == 0)
        return 0;

    struct symbol_table *table = &module->table;
    table->functions = malloc(count * sizeof *table->functions);
    table->data = malloc(count * sizeof *table->data);
    if (!table->functions || !table->data)
        return -1;
    for (size_t i = 0; i < count; i++) {
        Elf64_Sym symbol;
        memcpy(&symbol, symbols + i, sizeof symbol);
        if (symbol.st_name < names_size)
            table_add(table, image, &symbol, names + symbol.st_name);
    }
    entries_sort(table->functions, table->function_count);
    entries_sort(table->data, table->data_count);
    return 0;
}

void symbol_table_free(struct symbol_table *table) {
    free(table->functions);
    free(table->data);
}

/* Number of entries at or below address. */
static size_t entries_upto(const struct symbol_entry *entries, size_t count, uint64_t address) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (entries[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The nearest start whose size covers address; of its aliases the best, which is sorted last. */
static const struct symbol_entry *entries_covering(const struct symbol_entry *entries, size_t count,
                                                   uint64_t address) {
    size_t upto = entries_upto(entries, count, address);
    for (size_t i = upto; i-- > 0 && upto - i <= BACKWARD_MAX && entries[i].reach > address;)
        if (address - entries[i].address < entries[i].size)
            return &entries[i];
    return NULL;
}

const struct symbol_entry *symbol_table_function(const struct symbol_module *module, uint64_t address) {
    const struct symbol_table *table = &module->table;
    const struct symbol_entry *entries = table->functions;
    const struct symbol_entry *found = entries_covering(entries, table->function_count, address);
    if (found || !symbol_image_executable(module->image, address))
        return found;
    /* Assembler often gives no size: such a symbol goes on to the next one. */
    size_t i = entries_upto(entries, table->function_count, address);
    if (i == 0)
        return NULL;
    const struct symbol_entry *nearest = &entries[i - 1];
    for (; i-- > 0 && entries[i].address == nearest->address;)
        if (entries[i].size == 0)
            return symbol_image_section(module->image, entries[i].address) ==
                           symbol_image_section(module->image, address)
                       ? &entries[i]
                       : NULL;
    return NULL;
}

const struct symbol_entry *symbol_table_data(const struct symbol_module *module, uint64_t address) {
    return entries_covering(module->table.data, module->table.data_count, address);
}

const struct symbol_entry *symbol_table_exact(const struct symbol_entry *entries, size_t count,
                                              uint64_t address) {
    for (size_t i = entries_upto(entries, count, address); i-- > 0 && entries[i].address == address;)
        if (entries[i].size > 0)
            return &entries[i];
    return NULL;
}
