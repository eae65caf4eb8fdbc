/* SPDX-License-Identifier: MIT */
/*
 * Which compilation unit an address lies in (by a pass over the units' own ranges: .debug_aranges
 * is missing in clang's output), which function of the unit (by a walk over its entries when its
 * first address is asked for), and the variables with a fixed address of all units (by one walk
 * over everything when the first variable is asked for).
 */
#include "collector/symbol_internal.h"

#include <dwarf.h>
#include <stdlib.h>
#include <string.h>

#define BACKWARD_MAX 512

struct walk {
    struct symbol_module *module;
    struct symbol_walked *found;
    bool variables; /* else functions */
    bool failed;    /* out of memory */
    uint64_t budget;
};

bool symbol_reserve(void *array_pointer, size_t count, size_t *capacity, size_t item_size) {
    if (count < *capacity)
        return true;
    size_t larger = *capacity ? 2 * *capacity : 16;
    void *array;
    memcpy(&array, array_pointer, sizeof array);
    array = reallocarray(array, larger, item_size);
    if (!array)
        return false;
    memcpy(array_pointer, &array, sizeof array);
    *capacity = larger;
    return true;
}

static void walked_free(struct symbol_walked *walked) {
    free(walked->scopes);
    free(walked->functions);
    free(walked->scoped);
    free(walked->variables);
}

/* --- the walk over the entries of a unit ------------------------------------------------------- */

static int32_t push_scope(struct walk *walk, const Dwarf_Die *die, int32_t parent) {
    struct symbol_walked *found = walk->found;
    if (found->scope_count >= INT32_MAX ||
        !symbol_reserve(&found->scopes, found->scope_count, &found->scope_capacity, sizeof *found->scopes)) {
        walk->failed = true;
        return parent;
    }
    found->scopes[found->scope_count] = (struct symbol_scope){.die = *die, .parent = parent};
    return (int32_t)found->scope_count++;
}

static void add_function(struct walk *walk, Dwarf_Die *die, int32_t scope) {
    struct symbol_walked *found = walk->found;
    ptrdiff_t offset = 0;
    Dwarf_Addr base, low, high;
    while (walk->budget > 0 && (offset = dwarf_ranges(die, offset, &base, &low, &high)) > 0) {
        walk->budget--;
        /* Code that the linker dropped keeps its entries, at address 0 or another tombstone. */
        if (low >= high || !symbol_image_executable(walk->module->image, low))
            continue;
        if (!symbol_reserve(&found->functions, found->function_count, &found->function_capacity,
                            sizeof *found->functions)) {
            walk->failed = true;
            return;
        }
        found->functions[found->function_count++] =
            (struct symbol_function){.low = low, .high = high, .die = *die};
    }
    if (scope < 0)
        return;
    if (!symbol_reserve(&found->scoped, found->scoped_count, &found->scoped_capacity,
                        sizeof *found->scoped)) {
        walk->failed = true;
        return;
    }
    found->scoped[found->scoped_count++] =
        (struct symbol_scoped){.offset = dwarf_dieoffset(die), .scope = scope};
}

/* Whether the location is one fixed address and nothing else. */
static bool fixed_address(Dwarf_Die *die, uint64_t *ret_address) {
    Dwarf_Attribute attribute, address;
    Dwarf_Block block;
    if (!dwarf_attr(die, DW_AT_location, &attribute) || dwarf_formblock(&attribute, &block) != 0 ||
        block.length == 0)
        return false;
    if (block.data[0] == DW_OP_addr && block.length == 1 + sizeof *ret_address) {
        memcpy(ret_address, block.data + 1, sizeof *ret_address);
        return true;
    }
    if (block.data[0] != DW_OP_addrx && block.data[0] != DW_OP_GNU_addr_index)
        return false;
    Dwarf_Op *operations;
    size_t count;
    return dwarf_getlocation(&attribute, &operations, &count) == 0 && count == 1 &&
           dwarf_getlocation_attr(&attribute, operations, &address) == 0 &&
           dwarf_formaddr(&address, ret_address) == 0;
}

static void add_variable(struct walk *walk, Dwarf_Die *die, int32_t scope) {
    struct symbol_walked *found = walk->found;
    uint64_t address;
    if (!fixed_address(die, &address) || !symbol_image_section(walk->module->image, address))
        return;
    if (!symbol_reserve(&found->variables, found->variable_count, &found->variable_capacity,
                        sizeof *found->variables)) {
        walk->failed = true;
        return;
    }
    found->variables[found->variable_count++] =
        (struct symbol_variable){.address = address, .die = *die, .scope = scope};
}

static size_t found_count(const struct walk *walk) {
    return walk->found->scoped_count + walk->found->variable_count;
}

static void walk_children(struct walk *walk, Dwarf_Die *parent, int32_t scope, unsigned depth);

static void walk_scope(struct walk *walk, Dwarf_Die *die, int32_t scope, unsigned depth) {
    size_t before = found_count(walk);
    size_t index = walk->found->scope_count;
    int32_t inner = push_scope(walk, die, scope);
    walk_children(walk, die, inner, depth);
    /* Most functions hold nothing that needs their name. */
    if (!walk->failed && found_count(walk) == before)
        walk->found->scope_count = index;
}

static void walk_children(struct walk *walk, Dwarf_Die *parent, int32_t scope, unsigned depth) {
    Dwarf_Die die;
    if (depth >= SYMBOL_DEPTH_MAX || dwarf_child(parent, &die) != 0)
        return;
    do {
        if (walk->failed || walk->budget == 0)
            return;
        walk->budget--;
        switch (dwarf_tag(&die)) {
        case DW_TAG_namespace:
        case DW_TAG_module:
            walk_scope(walk, &die, scope, depth + 1);
            break;
        case DW_TAG_class_type:
        case DW_TAG_structure_type:
        case DW_TAG_union_type:
            /* Static members have their address in a definition outside of the class. */
            if (!walk->variables)
                walk_scope(walk, &die, scope, depth + 1);
            break;
        case DW_TAG_subprogram:
            if (!walk->variables)
                add_function(walk, &die, scope);
            walk_scope(walk, &die, scope, depth + 1);
            break;
        case DW_TAG_lexical_block:
        case DW_TAG_try_block:
        case DW_TAG_catch_block:
            walk_children(walk, &die, scope, depth + 1);
            break;
        case DW_TAG_variable:
            if (walk->variables)
                add_variable(walk, &die, scope);
            break;
        default:
            break;
        }
    } while (dwarf_siblingof(&die, &die) == 0);
}

static int compare_functions(const void *left, const void *right) {
    const struct symbol_function *a = left, *b = right;
    if (a->low != b->low)
        return a->low < b->low ? -1 : 1;
    return a->high > b->high ? -1 : a->high < b->high; /* the inner one last */
}

static int compare_scoped(const void *left, const void *right) {
    const struct symbol_scoped *a = left, *b = right;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static int compare_variables(const void *left, const void *right) {
    const struct symbol_variable *a = left, *b = right;
    if (a->address != b->address)
        return a->address < b->address ? -1 : 1;
    uintptr_t entry_a = (uintptr_t)a->die.addr, entry_b = (uintptr_t)b->die.addr;
    return entry_a < entry_b ? -1 : entry_a > entry_b;
}

static void unit_walk(struct symbol_module *module, struct symbol_unit *unit) {
    if (unit->walked)
        return;
    unit->walked = true;
    struct symbol_walked *found = &unit->found;
    struct walk walk = {.module = module, .found = found, .budget = unit->bytes};
    walk_children(&walk, &unit->die, -1, 0);
    if (found->function_count > 0)
        qsort(found->functions, found->function_count, sizeof *found->functions, compare_functions);
    if (found->scoped_count > 0)
        qsort(found->scoped, found->scoped_count, sizeof *found->scoped, compare_scoped);
    uint64_t reach = 0;
    for (size_t i = 0; i < found->function_count; i++) {
        if (found->functions[i].high > reach)
            reach = found->functions[i].high;
        found->functions[i].reach = reach;
    }
}

static void data_walk(struct symbol_module *module) {
    struct symbol_units *units = &module->units;
    if (units->data_walked)
        return;
    units->data_walked = true;
    for (size_t i = 0; i < units->unit_count; i++) {
        struct walk walk = {
            .module = module, .found = &units->data, .variables = true, .budget = units->units[i].bytes};
        walk_children(&walk, &units->units[i].die, -1, 0);
    }
    if (units->data.variable_count > 0)
        qsort(units->data.variables, units->data.variable_count, sizeof *units->data.variables,
              compare_variables);
}

/* --- units by address -------------------------------------------------------------------------- */

static bool add_range(struct symbol_module *module, uint64_t low, uint64_t high, size_t unit) {
    struct symbol_units *units = &module->units;
    if (low >= high || !symbol_image_executable(module->image, low))
        return true;
    if (!symbol_reserve(&units->ranges, units->range_count, &units->range_capacity, sizeof *units->ranges))
        return false;
    units->ranges[units->range_count++] = (struct symbol_unit_range){.low = low, .high = high, .unit = unit};
    return true;
}

static bool add_unit_ranges(struct symbol_module *module, size_t index) {
    struct symbol_unit *unit = &module->units.units[index];
    bool any = false;
    ptrdiff_t offset = 0;
    Dwarf_Addr base, low, high;
    while ((offset = dwarf_ranges(&unit->die, offset, &base, &low, &high)) > 0) {
        any = true;
        if (!add_range(module, low, high, index))
            return false;
    }
    if (any)
        return true;
    /* A unit need not say where it is: then its functions do. */
    unit_walk(module, unit);
    for (size_t i = 0; i < unit->found.function_count; i++)
        if (!add_range(module, unit->found.functions[i].low, unit->found.functions[i].high, index))
            return false;
    return true;
}

static int compare_ranges(const void *left, const void *right) {
    const struct symbol_unit_range *a = left, *b = right;
    if (a->low != b->low)
        return a->low < b->low ? -1 : 1;
    return a->unit < b->unit ? -1 : a->unit > b->unit;
}

int symbol_units_build(struct symbol_module *module) {
    struct symbol_units *units = &module->units;
    Dwarf_Off offset = 0, next;
    size_t header_size;
    while (dwarf_nextcu(module->dwarf, offset, &next, &header_size, NULL, NULL, NULL) == 0) {
        Dwarf_Die die;
        if (dwarf_offdie(module->dwarf, offset + header_size, &die) &&
            (dwarf_tag(&die) == DW_TAG_compile_unit || dwarf_tag(&die) == DW_TAG_skeleton_unit)) {
            if (!symbol_reserve(&units->units, units->unit_count, &units->unit_capacity,
                                sizeof *units->units))
                return -1;
            units->units[units->unit_count++] =
                (struct symbol_unit){.die = die, .offset = dwarf_dieoffset(&die), .bytes = next - offset};
        }
        if (next <= offset)
            break;
        offset = next;
    }
    for (size_t i = 0; i < units->unit_count; i++)
        if (!add_unit_ranges(module, i))
            return -1;
    if (units->range_count > 0)
        qsort(units->ranges, units->range_count, sizeof *units->ranges, compare_ranges);
    uint64_t reach = 0;
    for (size_t i = 0; i < units->range_count; i++) {
        if (units->ranges[i].high > reach)
            reach = units->ranges[i].high;
        units->ranges[i].reach = reach;
    }
    return 0;
}

void symbol_units_free(struct symbol_units *units) {
    for (size_t i = 0; i < units->unit_count; i++)
        walked_free(&units->units[i].found);
    free(units->units);
    free(units->ranges);
    walked_free(&units->data);
}

struct symbol_unit *symbol_unit_at(struct symbol_module *module, uint64_t address) {
    const struct symbol_unit_range *ranges = module->units.ranges;
    size_t low = 0, high = module->units.range_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ranges[middle].low <= address)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t i = low; i-- > 0 && low - i <= BACKWARD_MAX && ranges[i].reach > address;)
        if (address < ranges[i].high)
            return &module->units.units[ranges[i].unit];
    return NULL;
}

struct symbol_unit *symbol_unit_of(struct symbol_module *module, Dwarf_Die *die) {
    Dwarf_Die unit_die;
    if (!dwarf_diecu(die, &unit_die, NULL, NULL))
        return NULL;
    uint64_t offset = dwarf_dieoffset(&unit_die);
    size_t low = 0, high = module->units.unit_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (module->units.units[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == module->units.unit_count || module->units.units[low].die.addr != unit_die.addr)
        return NULL;
    unit_walk(module, &module->units.units[low]);
    return &module->units.units[low];
}

const struct symbol_function *symbol_unit_function(struct symbol_module *module, struct symbol_unit *unit,
                                                   uint64_t address) {
    unit_walk(module, unit);
    const struct symbol_function *functions = unit->found.functions;
    size_t low = 0, high = unit->found.function_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (functions[middle].low <= address)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t i = low; i-- > 0 && low - i <= BACKWARD_MAX && functions[i].reach > address;)
        if (address < functions[i].high)
            return &functions[i];
    return NULL;
}

const struct symbol_variable *symbol_unit_variable(struct symbol_module *module, uint64_t address) {
    data_walk(module);
    const struct symbol_variable *variables = module->units.data.variables;
    size_t low = 0, high = module->units.data.variable_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (variables[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    /* Of several with one address the first by place: the answer must not depend on the sort. */
    while (low > 1 && variables[low - 2].address == variables[low - 1].address)
        low--;
    return &variables[low - 1];
}

bool symbol_die_covers(Dwarf_Die *die, uint64_t address, uint64_t *budget) {
    ptrdiff_t offset = 0;
    Dwarf_Addr base, low, high;
    while (*budget > 0 && (offset = dwarf_ranges(die, offset, &base, &low, &high)) > 0) {
        --*budget;
        if (low <= address && address < high)
            return true;
    }
    return false;
}
