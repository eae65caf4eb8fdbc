/* SPDX-License-Identifier: MIT */
/* The variable at an address: by DWARF down to the member, by the symbol table otherwise. */
#include "collector/symbol_internal.h"

#include <dwarf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int data_by_dwarf(struct symbol_module *module, uint64_t address, struct symbol_data *ret_data) {
    const struct symbol_variable *variable = symbol_unit_variable(module, address);
    if (!variable)
        return -ENOENT;
    Dwarf_Die die = variable->die, type;
    uint64_t offset = address - variable->address, size;
    const struct symbol_entry *entry =
        symbol_table_exact(module->table.data, module->table.data_count, variable->address);
    bool typed = symbol_type_of(&die, &type);
    if ((!typed || !symbol_type_size(&type, &size)) && !entry)
        return -ENOENT;
    /* The symbol knows the size of a flexible array that is initialised. */
    if (!typed || !symbol_type_size(&type, &size) || (entry && entry->size > size))
        size = entry->size;
    if (offset >= size)
        return -ENOENT;

    char path[512] = "";
    const char *name = symbol_die_variable(module, variable);
    if (typed)
        symbol_type_path(&type, offset, path, sizeof path);
    char *whole;
    if (!name || asprintf(&whole, "%s%s", name, path) < 0)
        return -ENOENT;
    name = symbol_intern(&module->owner->strings, whole);
    free(whole);
    if (!name)
        return -ENOENT;
    *ret_data = (struct symbol_data){.name = name,
                                     .file = symbol_die_file(module, &die, DW_AT_decl_file),
                                     .line = symbol_die_line(&die, DW_AT_decl_line)};
    return 0;
}

static int data_by_table(struct symbol_module *module, uint64_t address, struct symbol_data *ret_data) {
    const struct symbol_entry *entry = symbol_table_data(module, address);
    const char *name = entry ? symbol_pretty(&module->owner->strings, entry->name) : NULL;
    if (!name)
        return -ENOENT;
    if (address != entry->address) {
        char *whole;
        if (asprintf(&whole, "%s+0x%llx", name, (unsigned long long)(address - entry->address)) < 0)
            return -ENOENT;
        name = symbol_intern(&module->owner->strings, whole);
        free(whole);
        if (!name)
            return -ENOENT;
    }
    *ret_data = (struct symbol_data){.name = name};
    return 0;
}

int symbol_data_find(struct symbol_module *module, uint64_t address, struct symbol_data *ret_data) {
    int result = data_by_dwarf(module, address, ret_data);
    return result == 0 ? 0 : data_by_table(module, address, ret_data);
}
