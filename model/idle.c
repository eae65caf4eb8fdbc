/* SPDX-License-Identifier: MIT */
/*
 * Idle is not contention
 *
 * A pool worker that waits for work, a thread in join, a sleep: time passes, but no lock is in the
 * way. Ranked with contention such waits drown it, since an idle worker waits nearly all the time.
 * What a wait is for is not recorded; it is judged by what can be seen:
 *
 *   class               idle
 *   join, sleep, poll   always
 *   condition           when the thread waits near the bottom of its stack: at most
 *                       IDLE_FRAMES_MAX frames of the program lie between the wait and the thread's
 *                       start or main(). A worker waits for work there; a thread that waits for an
 *                       answer in the middle of its work does so deeper down.
 *   semaphore           by the same rule, but only if nobody both takes and posts it: such a
 *                       semaphore is used as a lock, and waiting for it is contention
 *   futex               by the same rule, but only if no wait of it is known to be for an owner
 *   all others          never
 *
 * Frames of the C and C++ libraries, of lock wrappers and of thread starts (frame_nature.c) do not
 * count. A stack that could not be walked to its end says nothing about depth: then only the role of
 * the thread decides, and where that is no pool worker's the wait counts as contention.
 *
 * A wait that was still open at the end and has no stack is taken for what the other waits of the
 * same lock are. If there are none, a condition or signalling semaphore is idle waiting unless it is
 * the main thread that waits: the rest of a pool that never had work.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/internal.h"

#define IDLE_FRAMES_MAX 3

enum idle_rule { IDLE_NEVER, IDLE_ALWAYS, IDLE_BY_DEPTH };

static const enum idle_rule IDLE_RULES[LOCK_CLASS_COUNT] = {
    [LOCK_CLASS_CONDITION] = IDLE_BY_DEPTH, [LOCK_CLASS_SEMAPHORE] = IDLE_BY_DEPTH,
    [LOCK_CLASS_JOIN] = IDLE_ALWAYS,        [LOCK_CLASS_SLEEP] = IDLE_ALWAYS,
    [LOCK_CLASS_POLL] = IDLE_ALWAYS,        [LOCK_CLASS_FUTEX] = IDLE_BY_DEPTH,
};

/* Threads that do nothing but wait for work and do it. */
static const char *const WORKER_ROLES[] = {"libuv-worker", "v8-platform", "v8-delayed-tasks"};

static bool is_pool_worker(const struct model_thread *thread) {
    for (size_t i = 0; i < sizeof(WORKER_ROLES) / sizeof(WORKER_ROLES[0]); i++)
        if (strcmp(thread->role, WORKER_ROLES[i]) == 0)
            return true;
    return false;
}

static bool stack_is_shallow(const struct model_stack *stack) {
    uint32_t own = 0;
    for (uint32_t i = 0; i < stack->frame_count; i++) {
        enum frame_nature nature = frame_nature(stack->frames[i]);
        if (nature == FRAME_START || nature == FRAME_MAIN)
            return true;
        if (nature == FRAME_APPLICATION && ++own > IDLE_FRAMES_MAX)
            return false;
    }
    return !(stack->flags & (STACK_TRUNCATED | STACK_INCOMPLETE));
}

static int compare_u64(const void *left, const void *right) {
    uint64_t a, b;
    memcpy(&a, left, sizeof(a));
    memcpy(&b, right, sizeof(b));
    return a < b ? -1 : a > b;
}

/* Marks the semaphores that some thread both takes and posts. */
static void lock_like_mark(struct model *model) {
    if (model->semaphore_taker_count == 0)
        return;
    qsort(model->semaphore_takers, model->semaphore_taker_count, sizeof(uint64_t), compare_u64);
    for (uint32_t i = 0; i < model->releases_read.run_count; i++) {
        const struct model_release *release = model->releases_read.runs[i].items;
        for (uint32_t left = model->releases_read.runs[i].count; left > 0; left--, release++) {
            struct lock_extra *extra = &model->lock_extras[release->lock];
            if (model->locks[release->lock].cls != LOCK_CLASS_SEMAPHORE || extra->lock_like)
                continue;
            uint64_t pair = (uint64_t)release->thread << 32 | release->lock;
            extra->lock_like = bsearch(&pair, model->semaphore_takers, model->semaphore_taker_count,
                                       sizeof(pair), compare_u64) != NULL;
        }
    }
    free(model->semaphore_takers);
    model->semaphore_takers = NULL;
    model->semaphore_taker_count = model->semaphore_taker_room = 0;
}

/* Of one lock, what a look at each of its waits needs, and what it adds up to. */
struct lock_tally {
    uint64_t total, idle, maximum, ended;
    uint32_t count, idle_count, open, had;
    uint8_t rule; /* enum idle_rule */
};

enum stack_depth { STACK_DEEP, STACK_SHALLOW, STACK_CUT };

struct idle_marker {
    struct model *model;
    struct lock_tally *locks;
    uint8_t *depths; /* by stack, enum stack_depth */
};

static void tally_add(struct lock_tally *lock, const struct model_wait *wait) {
    uint64_t ns = wait->end - wait->begin;
    lock->total += ns;
    lock->maximum = ns > lock->maximum ? ns : lock->maximum;
    lock->count++;
    if (wait->idle) {
        lock->idle += ns;
        lock->idle_count++;
    }
    if (wait->flags & MODEL_WAIT_OPEN) {
        lock->open++;
        return;
    }
    lock->ended += ns;
    if (!(wait->flags & (WAIT_TIMED_OUT | WAIT_FAILED | WAIT_CANCELLED)))
        lock->had++;
}

static bool wait_is_idle(const struct idle_marker *marker, const struct model_wait *wait,
                         enum idle_rule rule) {
    if (rule != IDLE_BY_DEPTH)
        return rule == IDLE_ALWAYS;
    enum stack_depth depth =
        wait->stack == MODEL_NONE ? STACK_CUT : (enum stack_depth)marker->depths[wait->stack];
    return depth == STACK_SHALLOW ||
           (depth == STACK_CUT && is_pool_worker(&marker->model->threads[wait->thread]));
}

/* An open wait without a stack: what it is shows when all others are known. */
static bool is_undecided(const struct model_wait *wait, enum idle_rule rule) {
    return (wait->flags & MODEL_WAIT_OPEN) && wait->stack == MODEL_NONE && rule == IDLE_BY_DEPTH;
}

/* Whether some are left undecided. */
static bool mark_run(const struct idle_marker *marker, const struct event_run *run) {
    const struct model *model = marker->model;
    struct model_wait *wait = run->items;
    bool undecided = false;
    for (uint32_t left = run->count; left > 0; left--, wait++) {
        struct lock_tally *lock = &marker->locks[wait->lock];
        if (wait->stack != MODEL_NONE)
            wait->stack = model->stack_map[wait->stack];
        if (wait->owner_site != MODEL_NONE && wait->mode != LOCK_CLASS_CONDITION)
            wait->owner_site = model->site_map[wait->owner_site];
        if (is_undecided(wait, (enum idle_rule)lock->rule)) {
            undecided = true;
            continue;
        }
        wait->idle = wait_is_idle(marker, wait, (enum idle_rule)lock->rule);
        tally_add(lock, wait);
    }
    return undecided;
}

static void mark_undecided(const struct idle_marker *marker, const struct event_run *run) {
    struct model_wait *wait = run->items;
    for (uint32_t left = run->count; left > 0; left--, wait++) {
        struct lock_tally *lock = &marker->locks[wait->lock];
        if (!is_undecided(wait, (enum idle_rule)lock->rule))
            continue;
        uint32_t known = lock->count - lock->open;
        wait->idle = known > 0 ? lock->idle_count > known / 2
                               : strcmp(marker->model->threads[wait->thread].role, "main") != 0;
        tally_add(lock, wait);
    }
}

int idle_mark(struct model *model) {
    int rc = -ENOMEM;
    lock_like_mark(model);
    struct idle_marker marker = {
        .model = model,
        .locks = calloc((size_t)model->lock_count + 1, sizeof(*marker.locks)),
        .depths = malloc((size_t)model->stack_count + 1),
    };
    if (!marker.locks || !marker.depths)
        goto cleanup;
    for (uint32_t i = 0; i < model->stack_count; i++)
        marker.depths[i] = stack_is_shallow(&model->stacks[i])                             ? STACK_SHALLOW
                           : model->stacks[i].flags & (STACK_TRUNCATED | STACK_INCOMPLETE) ? STACK_CUT
                                                                                           : STACK_DEEP;
    for (uint32_t i = 0; i < model->lock_count; i++) {
        struct model_lock *lock = &model->locks[i];
        bool lock_like = model->lock_extras[i].lock_like;
        marker.locks[i].rule = lock_like ? IDLE_NEVER : (uint8_t)IDLE_RULES[lock->cls];
        lock->event = IDLE_RULES[lock->cls] != IDLE_NEVER && !lock_like;
    }
    bool undecided = false;
    for (uint32_t i = 0; i < model->waits_read.run_count; i++)
        undecided = mark_run(&marker, &model->waits_read.runs[i]) || undecided;
    for (uint32_t i = 0; undecided && i < model->waits_read.run_count; i++)
        mark_undecided(&marker, &model->waits_read.runs[i]);
    for (uint32_t i = 0; i < model->lock_count; i++) {
        const struct lock_tally *tally = &marker.locks[i];
        struct model_lock *lock = &model->locks[i];
        lock->wait_total = tally->total;
        lock->wait_idle = tally->idle;
        lock->wait_maximum = tally->maximum;
        lock->wait_count = tally->count;
        lock->open_count = tally->open;
        lock->idle = tally->total > 0 && tally->idle == tally->total;
        model->lock_extras[i].waits_had = tally->had;
        model->lock_extras[i].waits_ended_ns = tally->ended;
    }
    rc = 0;
cleanup:
    free(marker.locks);
    free(marker.depths);
    return rc;
}
