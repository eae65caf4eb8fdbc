/* SPDX-License-Identifier: MIT */
/*
 * From a target's addresses and hashes to ids of the trace, for each image.
 *
 * A naming (naming.c) divides the lives of locks that no call initialises: where a use's naming is not
 * the one its lock was matched with, another lock lies there.
 */
#include <stdio.h>
#include <string.h>

#include "collector/recording.h"

static uint64_t text_id(struct recording *recording, const char *text) {
    return trace_writer_string(recording->writer, text, strlen(text));
}

static void build_id_hex(const struct record_module *record, char hex[2 * BUILD_ID_BYTES_MAX + 1]) {
    uint32_t size = record->build_id_size <= BUILD_ID_BYTES_MAX ? record->build_id_size : 0;
    for (uint32_t i = 0; i < size; i++)
        snprintf(hex + 2 * (size_t)i, 3, "%02x", record->build_id[i]);
    hex[2 * (size_t)size] = '\0';
}

static void module_path(const struct record_module *record, const struct image *image,
                        char path[MODULE_PATH_MAX + 1]) {
    uint32_t size = record->header.value;
    memcpy(path, record->path, size);
    path[size] = '\0';
    if (strlen(path) > 0)
        return;
    const struct slab_header *header = &image->slabs[0]->header;
    memcpy(path, header->exe, header->exe_size);
    path[header->exe_size < MODULE_PATH_MAX ? header->exe_size : MODULE_PATH_MAX] = '\0';
    if (path[0] == '\0')
        strcpy(path, "[program]");
}

void intern_module(struct recording *recording, struct image *image, const struct record_module *record) {
    struct catalogue_module module = {
        .start = record->start, .end = record->end, .bias = record->bias, .process = image->process};
    char path[MODULE_PATH_MAX + 1];
    module_path(record, image, path);
    module.path = path;
    build_id_hex(record, module.build_id);

    bool overlaps = false;
    for (uint32_t i = image->module_count; i-- > 0;) {
        const struct catalogue_module *known = &recording->catalogue.modules[image->modules[i]];
        if (module.start >= known->end || known->start >= module.end)
            continue;
        /* One file may go by several paths: by its build-id it is the same. */
        if (!overlaps && known->start == module.start && known->end == module.end &&
            known->bias == module.bias && strcmp(known->build_id, module.build_id) == 0 &&
            (module.build_id[0] || strcmp(known->path, path) == 0))
            return;
        overlaps = true;
    }
    if (image->module_count == IMAGE_MODULES_MAX)
        return;
    uint32_t id = catalogue_module_add(&recording->catalogue, &module);
    if (!id)
        return;
    image->modules[image->module_count++] = id;
    if (overlaps || image->code_unknown) {
        /* Another object lies where one lay, or where nothing was known of: the same pc is another location
         * from now on. */
        image->modules_replaced = true;
        image->code_unknown = false;
        table_clear(&image->locations);
    }
    struct trace_module row = {
        .id = id, .process = image->process, .start = module.start, .end = module.end, .bias = module.bias};
    row.path = text_id(recording, path);
    row.build_id = text_id(recording, module.build_id);
    trace_writer_row(recording->writer, TRACE_MODULE, 0, &row);
}

uint32_t intern_location(struct recording *recording, struct image *image, uint64_t pc, bool exact) {
    if (pc == 0)
        return 0;
    /* User addresses leave the top bit free to tell a start routine from a return address. */
    uint64_t key = pc | (exact ? 1ULL << 63 : 0);
    uint32_t id = table_get(&image->locations, key);
    if (id)
        return id;
    struct catalogue_location location = {.pc = pc, .process = image->process, .exact = exact};
    uint64_t inside = exact ? pc : pc - 1;
    for (uint32_t i = image->module_count; i-- > 0 && !location.module;) {
        const struct catalogue_module *module = &recording->catalogue.modules[image->modules[i]];
        if (inside >= module->start && inside < module->end)
            location.module = image->modules[i];
    }
    id = catalogue_location_add(&recording->catalogue, &location);
    if (!id)
        return 0;
    if (table_set(&image->locations, key, id) != 0)
        return 0;
    image->code_unknown = image->code_unknown || !location.module;
    struct trace_location row = {.id = id, .process = image->process, .pc = pc, .module = location.module};
    trace_writer_row(recording->writer, TRACE_LOCATION, 0, &row);
    return id;
}

/* Whether the known stack still means these locations (its kept frames are looked at). */
static bool stack_is_same(const struct recording *recording, uint32_t stack, const uint32_t *locations,
                          uint32_t count) {
    const struct catalogue_stack *known = &recording->catalogue.stacks[stack];
    if (count < known->count)
        return false;
    return memcmp(&recording->catalogue.stack_locations[known->first], locations,
                  known->count * sizeof(*locations)) == 0;
}

void intern_stack_define(struct recording *recording, struct image *image,
                         const struct record_stack *record) {
    uint32_t known = table_get(&image->stacks, record->hash);
    if (record->hash == 0 || (known && !image->modules_replaced))
        return;
    uint32_t ids[STACK_FRAMES_MAX], count = record->header.value;
    uint64_t items[STACK_FRAMES_MAX];
    for (uint32_t i = 0; i < count; i++)
        items[i] = ids[i] = intern_location(recording, image, record->frames[i], false);
    if (known && stack_is_same(recording, known, ids, count))
        return;
    uint32_t id = catalogue_stack_add(&recording->catalogue, ids, count);
    if (!id || table_set(&image->stacks, record->hash, id) != 0)
        return;
    struct trace_stack row = {
        .id = id, .flags = record->header.flags & STACK_FLAGS, .locations = {items, count}};
    trace_writer_row(recording->writer, TRACE_STACK, 0, &row);
}

uint32_t intern_stack(const struct image *image, uint64_t hash) {
    return hash ? table_get(&image->stacks, hash) : 0;
}

bool intern_key_is_lock(uint64_t key) {
    unsigned cls = lock_key_class(key);
    return cls > LOCK_CLASS_NONE && cls < LOCK_CLASS_COUNT;
}

static uint64_t key_normal(uint64_t key) {
    if (lock_key_class(key) != LOCK_CLASS_RWLOCK_READ)
        return key;
    return lock_key_make(lock_key_address(key), lock_key_generation(key), LOCK_CLASS_RWLOCK_WRITE);
}

uint64_t intern_key_place(uint64_t key) {
    return lock_key_make(lock_key_address(key), 0, (enum lock_class)lock_key_class(key));
}

uint32_t intern_generations_since(uint64_t key, uint64_t former) {
    return (lock_key_generation(key) - lock_key_generation(former)) & (INTERN_GENERATIONS - 1);
}

/* Nobody saw it made: the stack that is kept is of a first use. */
static bool lock_is_futex(const struct catalogue_lock *lock) {
    return lock_key_class(lock->key) == LOCK_CLASS_FUTEX;
}

static uint32_t lock_add(struct recording *recording, struct image *image, struct catalogue_lock *lock,
                         uint64_t created, uint32_t initial) {
    lock->process = image->process;
    uint32_t id = catalogue_lock_add(&recording->catalogue, lock);
    if (!id || lock_chain_add(recording, image, id, created != 0) != 0)
        return 0;
    struct trace_lock row = {.id = id,
                             .process = image->process,
                             .address = lock_key_address(lock->key),
                             .generation = lock_key_generation(lock->key),
                             .cls = lock_key_class(lock->key),
                             .created = created,
                             .init_stack = lock_is_futex(lock) ? 0 : lock->init_stack,
                             .first_site = lock->first_site,
                             .initial = initial};
    trace_writer_row(recording->writer, TRACE_LOCK, 0, &row);
    if (lock->naming)
        naming_tell(recording, id);
    return id;
}

uint32_t intern_lock(struct recording *recording, struct image *image, uint64_t key, uint64_t site) {
    key = key_normal(key);
    uint32_t found = lock_chain_find(recording, image, key), naming = naming_find(recording, image, key);
    if (found && naming_fits(recording, found, naming)) {
        struct catalogue_lock *lock = &recording->catalogue.locks[found];
        if (!lock->first_site && site)
            lock->first_site = intern_location(recording, image, site, false);
        return found;
    }
    struct catalogue_lock lock = {.key = key,
                                  .inferred = !naming || recording->catalogue.namings[naming].older == 0,
                                  .first_site = intern_location(recording, image, site, false),
                                  .naming = naming};
    if (found)
        lock.inferred = 0;
    if (naming) {
        uint32_t generation = lock_key_generation(recording->catalogue.namings[naming].key);
        lock.key = lock_key_make(lock_key_address(key), generation, (enum lock_class)lock_key_class(key));
    } else {
        lock.naming = naming_oldest(recording, image, key); /* used before it was named */
    }
    return lock_add(recording, image, &lock, 0, 0);
}

uint32_t intern_lock_init(struct recording *recording, struct image *image,
                          const struct record_lock_init *record, uint64_t created) {
    struct catalogue_lock lock = {.key = key_normal(record->key),
                                  .init_stack = intern_stack(image, record->stack)};
    return lock_add(recording, image, &lock, created, record->header.value);
}

uint32_t intern_futex(struct recording *recording, struct image *image, uint64_t key, uint32_t stack) {
    uint32_t found = table_get(&image->locks, intern_key_place(key));
    if (found)
        return found;
    struct catalogue_lock lock = {.key = key, .inferred = 1, .init_stack = stack};
    return lock_add(recording, image, &lock, 0, 0);
}

void intern_clear(struct image *image) {
    table_clear(&image->locations);
    table_clear(&image->stacks);
    table_clear(&image->locks);
    table_clear(&image->lock_strides);
    table_clear(&image->names);
    table_clear(&image->namings);
    table_clear(&image->threads);
}
