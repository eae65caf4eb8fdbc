/* SPDX-License-Identifier: MIT */
/* Names and places of DWARF entries: what they lie in is no attribute of theirs, it comes from the
 * walk over the unit (symbol_unit.c). */
#include "collector/symbol_internal.h"

#include <dwarf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ORIGINS_MAX 16 /* as far as libdw's own dwarf_attr_integrate goes */
#define NAME_SIZE 2048
#define NAME_DEPTH_MAX 8 /* functions in functions, each name found by its own origin */

const char *symbol_die_linkage(Dwarf_Die *die) {
    Dwarf_Attribute attribute;
    if (!dwarf_attr_integrate(die, DW_AT_linkage_name, &attribute) &&
        !dwarf_attr_integrate(die, DW_AT_MIPS_linkage_name, &attribute))
        return NULL;
    return dwarf_formstring(&attribute);
}

static const char *die_name(Dwarf_Die *die) {
    Dwarf_Attribute attribute;
    return dwarf_attr_integrate(die, DW_AT_name, &attribute) ? dwarf_formstring(&attribute) : NULL;
}

static void append(char *text, size_t size, const char *more) {
    size_t length = strlen(text);
    snprintf(text + length, size - length, "%s", more);
}

static const char *function_name(struct symbol_module *module, Dwarf_Die *die, unsigned depth);

/* "ns::Class::" or "function()::Local::" for a scope, nothing for the unit. */
static void append_scope(struct symbol_module *module, const struct symbol_walked *walked, int32_t scope,
                         char *text, size_t size, unsigned depth) {
    int32_t chain[SYMBOL_DEPTH_MAX];
    size_t count = 0;
    while (scope >= 0 && count < SYMBOL_DEPTH_MAX) {
        Dwarf_Die die = walked->scopes[scope].die;
        chain[count++] = scope;
        /* A function's name says what it lies in itself. */
        scope = dwarf_tag(&die) == DW_TAG_subprogram ? -1 : walked->scopes[scope].parent;
    }
    while (count-- > 0) {
        Dwarf_Die die = walked->scopes[chain[count]].die;
        const char *name = die_name(&die);
        if (dwarf_tag(&die) == DW_TAG_subprogram) {
            name = function_name(module, &die, depth + 1);
            append(text, size, name ? name : "(unknown)");
            if (!name || !strchr(name, '('))
                append(text, size, "()");
        } else if (dwarf_tag(&die) == DW_TAG_namespace && !name) {
            append(text, size, "(anonymous namespace)");
        } else {
            append(text, size, name ? name : "(anonymous)");
        }
        append(text, size, "::");
    }
}

/* The declaration or abstract instance that die is one of; die itself if none. */
static void die_origin(Dwarf_Die *die, Dwarf_Die *ret_origin) {
    *ret_origin = *die;
    for (int i = 0; i < ORIGINS_MAX; i++) {
        Dwarf_Attribute attribute;
        Dwarf_Die next;
        if (!dwarf_attr(ret_origin, DW_AT_abstract_origin, &attribute) &&
            !dwarf_attr(ret_origin, DW_AT_specification, &attribute))
            return;
        if (!dwarf_formref_die(&attribute, &next))
            return;
        *ret_origin = next;
    }
}

static int32_t scope_of(const struct symbol_unit *unit, uint64_t offset) {
    size_t low = 0, high = unit->found.scoped_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (unit->found.scoped[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low < unit->found.scoped_count && unit->found.scoped[low].offset == offset
               ? unit->found.scoped[low].scope
               : -1;
}

static const char *function_name(struct symbol_module *module, Dwarf_Die *die, unsigned depth) {
    const char *linkage = symbol_die_linkage(die);
    if (linkage)
        return symbol_pretty(&module->owner->strings, linkage);
    const char *name = die_name(die);
    if (!name)
        return NULL;
    char text[NAME_SIZE] = "";
    Dwarf_Die origin;
    die_origin(die, &origin);
    const struct symbol_unit *unit = depth < NAME_DEPTH_MAX ? symbol_unit_of(module, &origin) : NULL;
    if (unit)
        append_scope(module, &unit->found, scope_of(unit, dwarf_dieoffset(&origin)), text, sizeof text,
                     depth);
    append(text, sizeof text, name);
    return symbol_intern(&module->owner->strings, text);
}

const char *symbol_die_function(struct symbol_module *module, Dwarf_Die *die) {
    return function_name(module, die, 0);
}

/* Whether demangled is the qualified form of name, so that it may stand for it. */
static bool ends_in(const char *demangled, const char *name) {
    size_t length = strlen(demangled), end = strlen(name);
    return length >= end && strcmp(demangled + length - end, name) == 0;
}

const char *symbol_die_variable(struct symbol_module *module, const struct symbol_variable *variable) {
    struct symbol_strings *strings = &module->owner->strings;
    Dwarf_Die die = variable->die;
    const char *linkage = symbol_die_linkage(&die);
    if (linkage)
        return symbol_pretty(strings, linkage);
    const char *name = die_name(&die);
    if (!name)
        return NULL;
    /* The own variables of a C++ function have a linkage name in the symbol table only. */
    const struct symbol_entry *entry =
        symbol_table_exact(module->table.data, module->table.data_count, variable->address);
    if (entry && strncmp(entry->name, "_Z", 2) == 0) {
        const char *demangled = symbol_pretty(strings, entry->name);
        if (demangled && ends_in(demangled, name))
            return demangled;
    }
    char text[NAME_SIZE] = "";
    append_scope(module, &module->units.data, variable->scope, text, sizeof text, 0);
    append(text, sizeof text, name);
    return symbol_intern(strings, text);
}

const char *symbol_path(struct symbol_module *module, Dwarf_Die *unit, const char *path) {
    Dwarf_Attribute attribute;
    const char *directory =
        dwarf_attr(unit, DW_AT_comp_dir, &attribute) ? dwarf_formstring(&attribute) : NULL;
    if (path[0] == '/' || !directory || directory[0] != '/')
        return symbol_intern(&module->owner->strings, path);
    char *whole;
    if (asprintf(&whole, "%s/%s", directory, path) < 0)
        return NULL;
    const char *result = symbol_intern(&module->owner->strings, whole);
    free(whole);
    return result;
}

const char *symbol_die_file(struct symbol_module *module, Dwarf_Die *die, unsigned name) {
    Dwarf_Attribute attribute;
    Dwarf_Word index;
    Dwarf_Die unit;
    Dwarf_Half version;
    Dwarf_Files *files;
    size_t count;
    if (!dwarf_attr_integrate(die, name, &attribute) || dwarf_formudata(&attribute, &index) != 0 ||
        !dwarf_cu_die(attribute.cu, &unit, &version, NULL, NULL, NULL, NULL, NULL))
        return NULL;
    /* File 0 means none before DWARF 5, since then it is the unit's own source; dwarf_decl_file of
     * elfutils 0.188 takes it for none always. */
    if ((index == 0 && version < 5) || dwarf_getsrcfiles(&unit, &files, &count) != 0 || index >= count)
        return NULL;
    const char *path = dwarf_filesrc(files, index, NULL, NULL);
    return path ? symbol_path(module, &unit, path) : NULL;
}

unsigned symbol_die_line(Dwarf_Die *die, unsigned name) {
    Dwarf_Attribute attribute;
    Dwarf_Word line;
    if (!dwarf_attr_integrate(die, name, &attribute) || dwarf_formudata(&attribute, &line) != 0 ||
        line > INT32_MAX)
        return 0;
    return (unsigned)line;
}
