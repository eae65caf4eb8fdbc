/* SPDX-License-Identifier: MIT */
/*
 * Frames of an address. The function comes from the unit's walk, the chain of inlined calls from a
 * descent into the function, the innermost line from the line table and every other one from the
 * call site of the frame inside of it. The descent is our own: dwarf_getscopes of libdw recurses as
 * deep as the file says.
 */
#include "collector/symbol_internal.h"

#include <dwarf.h>
#include <string.h>

/* Entries of one function that a lookup may visit. */
#define STEPS_MAX ((uint64_t)1 << 20)

/* The inlined calls around address inside of function, outermost first. */
static size_t inlined_chain(const struct symbol_function *function, uint64_t address, Dwarf_Die *chain,
                            size_t chain_max) {
    uint64_t budget = STEPS_MAX;
    size_t count = 0;
    Dwarf_Die parent = function->die, die;
    while (count < chain_max && dwarf_child(&parent, &die) == 0) {
        bool inside = false;
        do {
            int tag = dwarf_tag(&die);
            if (budget == 0)
                return count;
            budget--;
            if (tag != DW_TAG_inlined_subroutine && tag != DW_TAG_lexical_block && tag != DW_TAG_try_block &&
                tag != DW_TAG_catch_block)
                continue;
            inside = symbol_die_covers(&die, address, &budget);
            if (inside && tag == DW_TAG_inlined_subroutine)
                chain[count++] = die;
        } while (!inside && dwarf_siblingof(&die, &die) == 0);
        if (!inside)
            break;
        parent = die;
    }
    return count;
}

static void line_of(struct symbol_module *module, struct symbol_unit *unit, uint64_t address,
                    struct symbol_frame *frame) {
    Dwarf_Line *line = dwarf_getsrc_die(&unit->die, address);
    const char *path = line ? dwarf_linesrc(line, NULL, NULL) : NULL;
    int number;
    if (!path)
        return;
    frame->file = symbol_path(module, &unit->die, path);
    if (dwarf_lineno(line, &number) == 0 && number > 0)
        frame->line = (unsigned)number;
}

/*
 * The name of a function that has code of its own. What the symbol table calls it is better than
 * the debug information where that has no linkage name for a C++ function, or an internal alias
 * (glibc's __GI_abort, ___pthread_mutex_lock).
 */
static const char *function_name(struct symbol_module *module, const struct symbol_function *function) {
    Dwarf_Die die = function->die;
    const char *name = symbol_die_function(module, &die);
    const char *linkage = symbol_die_linkage(&die);
    const struct symbol_table *table = &module->table;
    uint64_t entry_address;
    if ((linkage && strncmp(linkage, "_Z", 2) == 0) || dwarf_entrypc(&die, &entry_address) != 0)
        return name;
    const struct symbol_entry *entry =
        symbol_table_exact(table->functions, table->function_count, entry_address);
    if (entry && (!name || strncmp(entry->name, "_Z", 2) == 0 || (name[0] == '_' && entry->rank > 0)))
        return symbol_pretty(&module->owner->strings, entry->name);
    return name;
}

static const char *table_name(struct symbol_module *module, uint64_t address) {
    struct symbol_strings *strings = &module->owner->strings;
    const char *target = symbol_plt_target(module, address);
    if (target) {
        char text[1024];
        const char *pretty = symbol_pretty(strings, target);
        if (!pretty || strlen(pretty) > sizeof text - sizeof "@plt")
            return pretty;
        stpcpy(stpcpy(text, pretty), "@plt");
        return symbol_intern(strings, text);
    }
    const struct symbol_entry *entry = symbol_table_function(module, address);
    return entry ? symbol_pretty(strings, entry->name) : NULL;
}

size_t symbol_frames_find(struct symbol_module *module, uint64_t address,
                          struct symbol_frame ret_frames[SYMBOL_FRAMES_MAX]) {
    struct symbol_unit *unit = symbol_unit_at(module, address);
    const struct symbol_function *function = unit ? symbol_unit_function(module, unit, address) : NULL;
    Dwarf_Die chain[SYMBOL_FRAMES_MAX - 1];
    size_t inlined = function ? inlined_chain(function, address, chain, SYMBOL_FRAMES_MAX - 1) : 0;
    struct symbol_frame *frame = ret_frames;

    *frame = (struct symbol_frame){0};
    if (unit)
        line_of(module, unit, address, frame);
    while (inlined-- > 0) {
        Dwarf_Die *call = &chain[inlined];
        frame->function = symbol_die_function(module, call);
        frame->inlined = 1;
        frame++;
        *frame = (struct symbol_frame){.file = symbol_die_file(module, call, DW_AT_call_file),
                                       .line = symbol_die_line(call, DW_AT_call_line)};
    }
    frame->function = function ? function_name(module, function) : NULL;
    if (!frame->function)
        frame->function = table_name(module, address);
    if (frame == ret_frames && !frame->function && !frame->file)
        return 0;
    return (size_t)(frame - ret_frames) + 1;
}
