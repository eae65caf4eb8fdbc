/* SPDX-License-Identifier: MIT */
/* Rows that tell of something that happened, and of what recording it cost. */
#include <errno.h>
#include <stdlib.h>

#include "model/load.h"

/* The lock of an event; one without address stands in where the trace does not say. */
static int lock_get(struct loader *loader, uint64_t id, uint32_t thread, uint64_t mode, uint32_t *ret_lock) {
    uint32_t index = id_map_get(&loader->locks, id);
    if (index == MODEL_NONE) {
        uint32_t process = loader->model->threads[thread].process;
        unsigned cls = mode < LOCK_CLASS_COUNT ? (unsigned)mode : LOCK_CLASS_NONE;
        cls = cls == LOCK_CLASS_RWLOCK_READ ? LOCK_CLASS_RWLOCK_WRITE : cls;
        uint64_t key = (uint64_t)process * LOCK_CLASS_COUNT + cls + 1;
        index = id_map_get(&loader->stand_in_locks, key);
        if (index == MODEL_NONE) {
            struct model_lock lock = {.process = process, .cls = (enum lock_class)cls};
            struct lock_extra extra = {
                .init_stack = MODEL_NONE, .first_location = MODEL_NONE, .first_site = MODEL_NONE};
            index = loader->model->lock_count;
            if (loader_lock_add(loader, &lock, &extra) < 0 ||
                id_map_put(&loader->stand_in_locks, key, index) < 0)
                return -ENOMEM;
        }
    }
    *ret_lock = index;
    return 0;
}

static uint8_t mode_of(const struct loader *loader, uint64_t mode, uint32_t lock) {
    return (uint8_t)(mode > LOCK_CLASS_NONE && mode < LOCK_CLASS_COUNT ? mode
                                                                       : loader->model->locks[lock].cls);
}

static int semaphore_taken(struct model *model, uint32_t thread, uint32_t lock) {
    uint64_t pair = (uint64_t)thread << 32 | lock;
    if (model->semaphore_taker_count > 0 && model->semaphore_takers[model->semaphore_taker_count - 1] == pair)
        return 0;
    if (array_reserve(&model->semaphore_takers, model->semaphore_taker_count, &model->semaphore_taker_room,
                      sizeof(*model->semaphore_takers)) < 0)
        return -ENOMEM;
    model->semaphore_takers[model->semaphore_taker_count++] = pair;
    return 0;
}

static int wait_fill(struct loader *loader, uint32_t thread, const struct trace_wait *row,
                     struct model_wait *ret_wait) {
    uint64_t end = row->begin + row->duration;
    uint32_t lock = id_map_get(&loader->locks, row->lock);
    if (end < row->begin)
        return -EINVAL;
    if (lock == MODEL_NONE && lock_get(loader, row->lock, thread, row->mode, &lock) < 0)
        return -ENOMEM;
    uint8_t mode = mode_of(loader, row->mode, lock);
    *ret_wait = (struct model_wait){
        .begin = row->begin,
        .end = end,
        .thread = thread,
        .lock = lock,
        .stack = id_map_get(&loader->stacks, row->stack),
        .owner = id_map_get(&loader->threads, row->owner),
        .owner_site = mode == LOCK_CLASS_CONDITION ? id_map_get(&loader->locks, row->mutex)
                                                   : id_map_get(&loader->locations, row->owner_site),
        .mode = mode,
        .flags = (uint8_t)(row->flags & ~(uint64_t)MODEL_WAIT_OPEN),
    };
    return mode == LOCK_CLASS_SEMAPHORE ? semaphore_taken(loader->model, thread, lock) : 0;
}

static int release_fill(struct loader *loader, uint32_t thread, const struct trace_release *row,
                        struct model_release *ret_release) {
    uint32_t lock = id_map_get(&loader->locks, row->lock);
    if (lock == MODEL_NONE && lock_get(loader, row->lock, thread, row->mode, &lock) < 0)
        return -ENOMEM;
    *ret_release = (struct model_release){
        .time = row->time,
        .held = row->held,
        .thread = thread,
        .lock = lock,
        .stack = id_map_get(&loader->stacks, row->stack),
        .mode = mode_of(loader, row->mode, lock),
        .flags = (uint8_t)row->flags,
    };
    return 0;
}

/* The body of a function that takes one block of events. */
#define LOAD_EVENTS(list, row_type, item_type, fill, time)                                                   \
    const row_type *row = rows;                                                                              \
    uint64_t last = 0;                                                                                       \
    for (uint32_t done = 0; done < row_count;) {                                                             \
        item_type *items;                                                                                    \
        uint32_t room, filled = 0;                                                                           \
        void *free_items;                                                                                    \
        int rc = events_room((list), sizeof(*items), &free_items, &room);                                    \
        if (rc == -EOVERFLOW) {                                                                              \
            loader->model->info.bad_rows += row_count - done;                                                \
            break;                                                                                           \
        }                                                                                                    \
        if (rc < 0)                                                                                          \
            return rc;                                                                                       \
        for (items = free_items; done < row_count && filled < room; done++) {                                \
            rc = fill(loader, thread, &row[done], &items[filled]);                                           \
            if (rc == -ENOMEM)                                                                               \
                return rc;                                                                                   \
            if (rc < 0) {                                                                                    \
                loader->model->info.bad_rows++;                                                              \
                continue;                                                                                    \
            }                                                                                                \
            last = items[filled].time > last ? items[filled].time : last;                                    \
            filled++;                                                                                        \
        }                                                                                                    \
        if ((rc = events_add((list), sizeof(*items), thread, filled)) < 0)                                   \
            return rc;                                                                                       \
    }                                                                                                        \
    struct thread_extra *extra = &loader->model->thread_extras[thread];                                      \
    extra->last_event = last > extra->last_event ? last : extra->last_event;                                 \
    loader_saw_time(loader, last);                                                                           \
    return 0

int load_waits(struct loader *loader, uint32_t thread, const void *rows, uint32_t row_count) {
    LOAD_EVENTS(&loader->model->waits_read, struct trace_wait, struct model_wait, wait_fill, end);
}

int load_releases(struct loader *loader, uint32_t thread, const void *rows, uint32_t row_count) {
    LOAD_EVENTS(&loader->model->releases_read, struct trace_release, struct model_release, release_fill,
                time);
}

int load_count(struct loader *loader, uint32_t thread, const void *row) {
    const struct trace_count *count = row;
    uint32_t lock;
    if (thread == MODEL_NONE)
        return -EINVAL;
    if (lock_get(loader, count->lock, thread, count->mode, &lock) < 0)
        return -ENOMEM;
    struct lock_extra *extra = &loader->model->lock_extras[lock];
    enum lock_mode mode = count->mode == LOCK_CLASS_RWLOCK_READ ? LOCK_MODE_READ : LOCK_MODE_OTHER;
    extra->counts[mode].acquisitions += count->acquisitions;
    extra->counts[mode].contended += count->contended;
    if (count->hold_maximum > extra->hold_maximum)
        extra->hold_maximum = count->hold_maximum;
    extra->wait_ns += count->wait_ns;
    if (hold_add(loader->model, thread, lock, mode, count) < 0)
        return -ENOMEM;
    return loader->model->locks[lock].cls == LOCK_CLASS_SEMAPHORE && count->acquisitions > 0
               ? semaphore_taken(loader->model, thread, lock)
               : 0;
}

/* The kind of a region's name, made if it is new. */
static int region_kind_get(struct loader *loader, uint64_t name, uint32_t *ret_kind) {
    struct model *model = loader->model;
    uint32_t string = id_map_get(&loader->strings, name);
    uint64_t key = string == MODEL_NONE ? 1 : (uint64_t)string + 2;
    *ret_kind = id_map_get(&loader->region_kinds, key);
    if (*ret_kind != MODEL_NONE)
        return 0;
    const char *text = string == MODEL_NONE ? "" : loader->string_of[string];
    if (!text[0] && !(text = intern_format(model, "[unnamed]")))
        return -ENOMEM;
    if (array_reserve(&model->region_kinds, model->region_kind_count, &model->region_kind_room,
                      sizeof(*model->region_kinds)) < 0 ||
        id_map_put(&loader->region_kinds, key, model->region_kind_count) < 0)
        return -ENOMEM;
    *ret_kind = model->region_kind_count;
    model->region_kinds[model->region_kind_count++] = (struct model_region_kind){.name = text};
    return 0;
}

int load_region(struct loader *loader, uint32_t thread, const void *row) {
    const struct trace_region *region = row;
    struct model *model = loader->model;
    uint64_t end = region->begin + region->duration;
    uint32_t kind;
    if (thread == MODEL_NONE || end < region->begin)
        return -EINVAL;
    int rc =
        array_reserve(&model->regions, model->region_count, &model->region_room, sizeof(*model->regions));
    if (rc == -EOVERFLOW)
        return -EINVAL;
    if (rc < 0 || region_kind_get(loader, region->name, &kind) < 0)
        return -ENOMEM;
    model->regions[model->region_count++] = (struct model_region){
        .begin = region->begin,
        .end = end,
        .thread = thread,
        .kind = kind,
        .depth = region->depth < UINT32_MAX ? (uint32_t)region->depth : UINT32_MAX,
        .open = region->flags & REGION_OPEN,
    };
    loader_saw_time(loader, end);
    return 0;
}

int load_snapshot(struct loader *loader, uint32_t block_thread, const void *row) {
    const struct trace_snapshot *snapshot = row;
    (void)block_thread;
    uint32_t thread = id_map_get(&loader->threads, snapshot->thread), lock;
    if (thread == MODEL_NONE || snapshot->since > snapshot->time)
        return -EINVAL;
    loader_saw_time(loader, snapshot->time);
    struct trace_snapshot *last = &loader->model->thread_extras[thread].snapshot;
    if (snapshot->time < last->time)
        return 0;
    if (lock_get(loader, snapshot->lock, thread, snapshot->mode, &lock) < 0)
        return -ENOMEM;
    *last = (struct trace_snapshot){
        .time = snapshot->time,
        .thread = thread,
        .lock = lock,
        .since = snapshot->since,
        .owner = id_map_get(&loader->threads, snapshot->owner),
        .stack = id_map_get(&loader->stacks, snapshot->stack),
        .owner_site = id_map_get(&loader->locations, snapshot->owner_site),
        .mode = mode_of(loader, snapshot->mode, lock),
    };
    return 0;
}

int load_loss(struct loader *loader, uint32_t block_thread, const void *row) {
    const struct trace_loss *loss = row;
    (void)block_thread;
    if (loss->reason >= LOSS_REASON_COUNT)
        return -EINVAL;
    loader->model->loss.dropped[loss->reason] += loss->count;
    uint32_t thread = id_map_get(&loader->threads, loss->thread);
    if (thread != MODEL_NONE)
        loader->model->threads[thread].lost += loss->count;
    return 0;
}

int load_cost(struct loader *loader, uint32_t block_thread, const void *row) {
    const struct trace_cost *cost = row;
    (void)block_thread;
    uint32_t thread = id_map_get(&loader->threads, cost->thread);
    if (thread == MODEL_NONE)
        return -EINVAL;
    struct thread_extra *extra = &loader->model->thread_extras[thread];
    extra->emitted = cost->emitted;
    extra->slow_paths = cost->slow_paths;
    extra->cost_samples = cost->cost_samples;
    extra->cost_ns = cost->cost_ns;
    return 0;
}

int load_end(struct loader *loader, uint32_t thread, const void *row) {
    (void)thread;
    loader->end = *(const struct trace_end *)row;
    loader->ended = true;
    loader_saw_time(loader, loader->end.time);
    return 0;
}
