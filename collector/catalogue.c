/* SPDX-License-Identifier: MIT */
#include "collector/catalogue.h"

#include <stdlib.h>
#include <string.h>

/* The array with room for the entry at last + 1, or NULL if there is none to be had. */
static void *room_make(void *array, size_t item_bytes, uint32_t last, uint32_t *room, uint32_t maximum) {
    if (last >= maximum)
        return NULL;
    if (*room > last + 1)
        return array;
    uint32_t next = *room ? *room + *room / 2 : 64;
    void *grown = realloc(array, next * item_bytes);
    if (grown)
        *room = next;
    return grown;
}

uint32_t catalogue_process_add(struct catalogue *catalogue, const struct catalogue_process *process) {
    struct catalogue_process *processes =
        room_make(catalogue->processes, sizeof(*processes), catalogue->process_count,
                  &catalogue->process_room, CATALOGUE_PROCESSES_MAX);
    if (!processes)
        return 0;
    catalogue->processes = processes;
    processes[++catalogue->process_count] = *process;
    return catalogue->process_count;
}

uint32_t catalogue_module_add(struct catalogue *catalogue, const struct catalogue_module *module) {
    struct catalogue_module *modules =
        room_make(catalogue->modules, sizeof(*modules), catalogue->module_count, &catalogue->module_room,
                  CATALOGUE_MODULES_MAX);
    if (!modules)
        return 0;
    catalogue->modules = modules;
    struct catalogue_module *added = &modules[catalogue->module_count + 1];
    *added = *module;
    added->path = strdup(module->path);
    return added->path ? ++catalogue->module_count : 0;
}

uint32_t catalogue_location_add(struct catalogue *catalogue, const struct catalogue_location *location) {
    struct catalogue_location *locations =
        room_make(catalogue->locations, sizeof(*locations), catalogue->location_count,
                  &catalogue->location_room, CATALOGUE_LOCATIONS_MAX);
    if (!locations)
        return 0;
    catalogue->locations = locations;
    locations[++catalogue->location_count] = *location;
    return catalogue->location_count;
}

uint32_t catalogue_stack_add(struct catalogue *catalogue, const uint32_t *locations, uint32_t count) {
    if (count > CATALOGUE_STACK_FRAMES)
        count = CATALOGUE_STACK_FRAMES;
    struct catalogue_stack *stacks = room_make(catalogue->stacks, sizeof(*stacks), catalogue->stack_count,
                                               &catalogue->stack_room, CATALOGUE_STACKS_MAX);
    if (!stacks)
        return 0;
    catalogue->stacks = stacks;
    uint32_t first = catalogue->stack_location_count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t *kept =
            room_make(catalogue->stack_locations, sizeof(*kept), first + i, &catalogue->stack_location_room,
                      CATALOGUE_STACKS_MAX * CATALOGUE_STACK_FRAMES);
        if (!kept)
            return 0;
        catalogue->stack_locations = kept;
        kept[first + i] = locations[i];
    }
    catalogue->stack_location_count = first + count;
    stacks[++catalogue->stack_count] = (struct catalogue_stack){first, count};
    return catalogue->stack_count;
}

uint32_t catalogue_lock_add(struct catalogue *catalogue, const struct catalogue_lock *lock) {
    struct catalogue_lock *locks = room_make(catalogue->locks, sizeof(*locks), catalogue->lock_count,
                                             &catalogue->lock_room, CATALOGUE_LOCKS_MAX);
    if (!locks)
        return 0;
    catalogue->locks = locks;
    locks[++catalogue->lock_count] = *lock;
    return catalogue->lock_count;
}

uint32_t catalogue_naming_add(struct catalogue *catalogue, const struct catalogue_naming *naming) {
    struct catalogue_naming *namings =
        room_make(catalogue->namings, sizeof(*namings), catalogue->naming_count, &catalogue->naming_room,
                  CATALOGUE_NAMINGS_MAX);
    if (!namings)
        return 0;
    catalogue->namings = namings;
    namings[++catalogue->naming_count] = *naming;
    return catalogue->naming_count;
}

void catalogue_clear(struct catalogue *catalogue) {
    for (uint32_t i = 1; i <= catalogue->module_count; i++)
        free(catalogue->modules[i].path);
    free(catalogue->processes);
    free(catalogue->modules);
    free(catalogue->locations);
    free(catalogue->stacks);
    free(catalogue->locks);
    free(catalogue->namings);
    free(catalogue->stack_locations);
    memset(catalogue, 0, sizeof(*catalogue));
}
