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

int load_wait(struct loader *loader, uint32_t thread, const void *row) {
    const struct trace_wait *wait = row;
    struct model *model = loader->model;
    uint64_t end = wait->begin + wait->duration;
    uint32_t lock;
    if (thread == MODEL_NONE || end < wait->begin)
        return -EINVAL;
    uint32_t room = model->wait_room;
    int rc = array_reserve(&model->waits, model->wait_count, &room, sizeof(*model->waits));
    if (rc < 0)
        return rc == -ENOMEM ? rc : -EINVAL;
    if (room != model->wait_room) {
        uint32_t *grown = reallocarray(loader->owner_sites, room, sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        loader->owner_sites = grown;
        model->wait_room = room;
    }
    if (lock_get(loader, wait->lock, thread, wait->mode, &lock) < 0)
        return -ENOMEM;
    model->waits[model->wait_count] = (struct model_wait){
        .begin = wait->begin,
        .end = end,
        .thread = thread,
        .lock = lock,
        .stack = id_map_get(&loader->stacks, wait->stack),
        .owner = id_map_get(&loader->threads, wait->owner),
        .mutex = id_map_get(&loader->locks, wait->mutex),
        .mode = mode_of(loader, wait->mode, lock),
        .flags = (uint8_t)(wait->flags & ~(uint64_t)MODEL_WAIT_OPEN),
    };
    loader->owner_sites[model->wait_count++] = id_map_get(&loader->locations, wait->owner_site);
    if (end > model->thread_extras[thread].last_event)
        model->thread_extras[thread].last_event = end;
    loader_saw_time(loader, end);
    return 0;
}

int load_release(struct loader *loader, uint32_t thread, const void *row) {
    const struct trace_release *release = row;
    struct model *model = loader->model;
    uint32_t lock;
    if (thread == MODEL_NONE)
        return -EINVAL;
    int rc =
        array_reserve(&model->releases, model->release_count, &model->release_room, sizeof(*model->releases));
    if (rc < 0)
        return rc == -ENOMEM ? rc : -EINVAL;
    if (lock_get(loader, release->lock, thread, release->mode, &lock) < 0)
        return -ENOMEM;
    model->releases[model->release_count++] = (struct model_release){
        .time = release->time,
        .held = release->held,
        .thread = thread,
        .lock = lock,
        .stack = id_map_get(&loader->stacks, release->stack),
        .mode = mode_of(loader, release->mode, lock),
        .flags = (uint8_t)release->flags,
    };
    if (release->time > model->thread_extras[thread].last_event)
        model->thread_extras[thread].last_event = release->time;
    loader_saw_time(loader, release->time);
    return 0;
}

static int semaphore_taken(struct model *model, uint32_t thread, uint32_t lock) {
    if (array_reserve(&model->semaphore_takers, model->semaphore_taker_count, &model->semaphore_taker_room,
                      sizeof(*model->semaphore_takers)) < 0)
        return -ENOMEM;
    model->semaphore_takers[model->semaphore_taker_count++] = (uint64_t)thread << 32 | lock;
    return 0;
}

int load_count(struct loader *loader, uint32_t thread, const void *row) {
    const struct trace_count *count = row;
    uint32_t lock;
    if (thread == MODEL_NONE)
        return -EINVAL;
    if (lock_get(loader, count->lock, thread, count->mode, &lock) < 0)
        return -ENOMEM;
    struct lock_extra *extra = &loader->model->lock_extras[lock];
    unsigned mode = count->mode == LOCK_CLASS_RWLOCK_READ ? LOCK_MODE_READ : LOCK_MODE_OTHER;
    extra->counts[mode].acquisitions += count->acquisitions;
    extra->counts[mode].contended += count->contended;
    extra->counts[mode].hold_ns += count->hold_ns;
    extra->counts[mode].hold_samples += count->hold_samples;
    if (count->hold_maximum > extra->hold_maximum)
        extra->hold_maximum = count->hold_maximum;
    extra->wait_ns += count->wait_ns;
    return loader->model->locks[lock].cls == LOCK_CLASS_SEMAPHORE && count->acquisitions > 0
               ? semaphore_taken(loader->model, thread, lock)
               : 0;
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
    if (lock_get(loader, snapshot->lock, thread, LOCK_CLASS_NONE, &lock) < 0)
        return -ENOMEM;
    *last = (struct trace_snapshot){
        .time = snapshot->time,
        .thread = thread,
        .lock = lock,
        .since = snapshot->since,
        .owner = id_map_get(&loader->threads, snapshot->owner),
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
