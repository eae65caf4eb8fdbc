/* SPDX-License-Identifier: MIT */
/*
 * Waits that only the kernel told of: in futex calls of a program that no agent is in, or of locks that are
 * not the C library's. What the agent has told of is not told twice: a futex call inside one of its waits, or
 * on the memory of a lock of its, belongs to that.
 *
 * Who woke the thread is known, so each is a wait and the release that ended it. A futex whose words named an
 * owner is a lock; what others are for is judged as for a semaphore (idle.c).
 */
#include <errno.h>
#include <stdlib.h>

#include "model/load.h"

struct futex_wait {
    uint64_t begin, end;
    uint64_t woken; /* 0: not by a thread that is known */
    uint32_t lock, stack, owner;
    uint32_t waker, waker_stack;
    uint8_t flags;
};

/* Bytes of each in glibc (sysdeps/x86/nptl/bits/pthreadtypes-arch.h, bits/semaphore.h). */
static const uint8_t LOCK_BYTES[LOCK_CLASS_COUNT] = {
    [LOCK_CLASS_MUTEX] = 40,   [LOCK_CLASS_RWLOCK_WRITE] = 56, [LOCK_CLASS_CONDITION] = 48,
    [LOCK_CLASS_BARRIER] = 32, [LOCK_CLASS_SPIN] = 4,          [LOCK_CLASS_SEMAPHORE] = 32,
};
#define LOCK_BYTES_MAX 56U

int load_futex(struct loader *loader, uint32_t thread, const struct trace_off_cpu *row) {
    uint32_t lock = row->lock ? id_map_get(&loader->locks, row->lock) : MODEL_NONE;
    if (lock == MODEL_NONE || loader->model->locks[lock].cls != LOCK_CLASS_FUTEX)
        return 0;
    uint64_t end = row->begin + row->duration;
    struct futex_wait wait = {
        .begin = row->begin,
        .end = end,
        .lock = lock,
        .stack = id_map_get(&loader->stacks, row->stack),
        .owner = id_map_get(&loader->threads, row->owner),
        .waker = id_map_get(&loader->threads, row->waker),
        .waker_stack = id_map_get(&loader->stacks, row->waker_stack),
    };
    if (row->flags & TRACE_OFF_OPEN)
        wait.flags = MODEL_WAIT_OPEN;
    else if (row->flags & TRACE_OFF_WOKEN_BY_IRQ)
        wait.flags = WAIT_TIMED_OUT;
    else if (wait.waker != MODEL_NONE)
        wait.woken = end - row->delay;
    int rc = events_put(&loader->futexes, sizeof(wait), thread, &wait);
    return rc == -EOVERFLOW ? -EINVAL : rc;
}

struct span {
    uint64_t begin, end;
};

/* The thread's waits by the agent, in order. */
static int agent_spans(const struct event_list *waits, uint32_t thread, struct span **spans, uint32_t *room,
                       uint32_t *ret_count) {
    uint32_t count = 0;
    for (uint32_t i = waits->thread_first[thread]; i < waits->thread_first[thread + 1]; i++) {
        const struct event_run *run = &waits->runs[waits->thread_runs[i]];
        const struct model_wait *wait = run->items;
        for (uint32_t left = run->count; left > 0; left--, wait++) {
            if (array_reserve(spans, count, room, sizeof(**spans)) < 0)
                return -ENOMEM;
            (*spans)[count++] = (struct span){wait->begin, wait->end};
        }
    }
    *ret_count = count;
    return sort_by_u64(*spans, count, sizeof(**spans), offsetof(struct span, begin));
}

static bool is_inside(const struct span *spans, uint32_t count, uint64_t time) {
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (spans[middle].begin <= time)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && time < spans[low - 1].end;
}

/* A lock that the agent told of, by where it lies. */
struct place {
    uint64_t address; /* first: sorted by it */
    uint32_t process;
    uint32_t bytes;
};

struct places {
    struct place *items;
    uint32_t count;
};

static int places_find(const struct model *model, struct places *ret_places) {
    ret_places->items = malloc(((size_t)model->lock_count + 1) * sizeof(*ret_places->items));
    if (!ret_places->items)
        return -ENOMEM;
    for (uint32_t i = 0; i < model->lock_count; i++) {
        const struct model_lock *lock = &model->locks[i];
        if (lock->address && LOCK_BYTES[lock->cls])
            ret_places->items[ret_places->count++] =
                (struct place){lock->address, lock->process, LOCK_BYTES[lock->cls]};
    }
    return sort_by_u64(ret_places->items, ret_places->count, sizeof(*ret_places->items),
                       offsetof(struct place, address));
}

static bool is_in_agents_lock(const struct places *places, const struct model_lock *futex) {
    uint32_t low = 0, high = places->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (places->items[middle].address <= futex->address)
            low = middle + 1;
        else
            high = middle;
    }
    while (low-- > 0 && futex->address - places->items[low].address < LOCK_BYTES_MAX) {
        const struct place *place = &places->items[low];
        if (place->process == futex->process && futex->address - place->address < place->bytes)
            return true;
    }
    return false;
}

static int wait_add(struct model *model, uint32_t thread, const struct futex_wait *futex) {
    uint64_t life_end = model->threads[thread].end;
    bool lasts = futex->flags & MODEL_WAIT_OPEN && futex->begin < life_end;
    struct model_wait wait = {.begin = futex->begin,
                              .end = lasts ? life_end : futex->end,
                              .thread = thread,
                              .lock = futex->lock,
                              .stack = futex->stack,
                              .owner = futex->owner,
                              .owner_site = MODEL_NONE,
                              .mode = LOCK_CLASS_FUTEX,
                              .flags = futex->flags};
    struct model_release release = {.time = futex->woken,
                                    .thread = futex->waker,
                                    .lock = futex->lock,
                                    .stack = futex->waker_stack,
                                    .mode = LOCK_CLASS_FUTEX};
    if (futex->owner != MODEL_NONE)
        model->lock_extras[futex->lock].lock_like = true;
    int rc = events_put(&model->waits_read, sizeof(wait), thread, &wait);
    if (rc < 0 || futex->woken == 0)
        return rc;
    return events_put(&model->releases_read, sizeof(release), futex->waker, &release);
}

int futexes_settle(struct loader *loader) {
    struct model *model = loader->model;
    struct event_list *futexes = &loader->futexes;
    struct places places = {0};
    struct span *spans = NULL;
    uint32_t room = 0, count = 0, next = 0;
    if (futexes->count == 0)
        return 0;
    int rc = events_group(&model->waits_read, model->thread_count);
    if (rc == 0)
        rc = events_group(futexes, model->thread_count);
    if (rc == 0)
        rc = places_find(model, &places);
    /* What is added below is not looked at: only this thread's runs from before are. */
    for (uint32_t thread = 0; rc == 0 && thread < model->thread_count; thread++) {
        next = futexes->thread_first[thread];
        if (next == futexes->thread_first[thread + 1])
            continue;
        rc = agent_spans(&model->waits_read, thread, &spans, &room, &count);
        for (; rc == 0 && next < futexes->thread_first[thread + 1]; next++) {
            const struct event_run *run = &futexes->runs[futexes->thread_runs[next]];
            const struct futex_wait *futex = run->items;
            for (uint32_t left = run->count; rc == 0 && left > 0; left--, futex++)
                if (!is_inside(spans, count, futex->begin) &&
                    !is_in_agents_lock(&places, &model->locks[futex->lock]))
                    rc = wait_add(model, thread, futex);
        }
    }
    free(places.items);
    free(spans);
    events_free(futexes);
    return rc;
}
