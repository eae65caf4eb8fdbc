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
 *   all others          never
 *
 * Frames of the C and C++ libraries, of lock wrappers and of thread starts (frame_nature.c) do not
 * count. A stack that could not be walked to its end says nothing about depth: then only the role of
 * the thread decides, and where that is no pool worker's the wait counts as contention.
 *
 * A wait that was still open at the end has no stack. It is taken for what the other waits of the
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
    [LOCK_CLASS_POLL] = IDLE_ALWAYS,
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

bool model_wait_is_idle(const struct model *model, const struct model_wait *wait) {
    enum lock_class cls = model->locks[wait->lock].cls;
    if (IDLE_RULES[cls] != IDLE_BY_DEPTH)
        return IDLE_RULES[cls] == IDLE_ALWAYS;
    if (model->lock_extras[wait->lock].lock_like)
        return false;
    if (wait->stack != MODEL_NONE && stack_is_shallow(&model->stacks[wait->stack]))
        return true;
    bool whole = wait->stack != MODEL_NONE &&
                 !(model->stacks[wait->stack].flags & (STACK_TRUNCATED | STACK_INCOMPLETE));
    return !whole && is_pool_worker(&model->threads[wait->thread]);
}

static int compare_u64(const void *left, const void *right) {
    uint64_t a, b;
    memcpy(&a, left, sizeof(a));
    memcpy(&b, right, sizeof(b));
    return a < b ? -1 : a > b;
}

/* Marks the semaphores that some thread both takes and posts. */
static int lock_like_mark(struct model *model) {
    for (uint32_t i = 0; i < model->wait_count; i++) {
        const struct model_wait *wait = &model->waits[i];
        if (model->locks[wait->lock].cls != LOCK_CLASS_SEMAPHORE)
            continue;
        uint64_t pair = (uint64_t)wait->thread << 32 | wait->lock;
        if (model->semaphore_taker_count > 0 &&
            model->semaphore_takers[model->semaphore_taker_count - 1] == pair)
            continue;
        int rc = array_reserve(&model->semaphore_takers, model->semaphore_taker_count,
                               &model->semaphore_taker_room, sizeof(pair));
        if (rc < 0)
            return rc;
        model->semaphore_takers[model->semaphore_taker_count++] = pair;
    }
    if (model->semaphore_taker_count == 0)
        return 0;
    qsort(model->semaphore_takers, model->semaphore_taker_count, sizeof(uint64_t), compare_u64);
    for (uint32_t i = 0; i < model->release_count; i++) {
        const struct model_release *release = &model->releases[i];
        struct lock_extra *extra = &model->lock_extras[release->lock];
        if (model->locks[release->lock].cls != LOCK_CLASS_SEMAPHORE || extra->lock_like)
            continue;
        uint64_t pair = (uint64_t)release->thread << 32 | release->lock;
        if (bsearch(&pair, model->semaphore_takers, model->semaphore_taker_count, sizeof(pair), compare_u64))
            extra->lock_like = true;
    }
    free(model->semaphore_takers);
    model->semaphore_takers = NULL;
    model->semaphore_taker_count = model->semaphore_taker_room = 0;
    return 0;
}

int idle_mark(struct model *model) {
    int rc = lock_like_mark(model);
    if (rc < 0)
        return rc;
    /* For open waits: how many waits of their lock were idle, less how many were not. */
    int64_t *balance = calloc((size_t)model->lock_count + 1, sizeof(*balance));
    bool *seen = calloc((size_t)model->lock_count + 1, sizeof(*seen));
    if (!balance || !seen) {
        free(balance);
        free(seen);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < model->wait_count; i++) {
        struct model_wait *wait = &model->waits[i];
        wait->idle = model_wait_is_idle(model, wait);
        if (wait->flags & MODEL_WAIT_OPEN)
            continue;
        balance[wait->lock] += wait->idle ? 1 : -1;
        seen[wait->lock] = true;
    }
    for (uint32_t i = 0; i < model->wait_count; i++) {
        struct model_wait *wait = &model->waits[i];
        if (!(wait->flags & MODEL_WAIT_OPEN) || IDLE_RULES[model->locks[wait->lock].cls] != IDLE_BY_DEPTH ||
            model->lock_extras[wait->lock].lock_like)
            continue;
        if (seen[wait->lock])
            wait->idle = balance[wait->lock] > 0;
        else
            wait->idle = strcmp(model->threads[wait->thread].role, "main") != 0;
    }
    free(balance);
    free(seen);
    return 0;
}
