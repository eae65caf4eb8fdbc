/* SPDX-License-Identifier: MIT */
/*
 * When a lock was let go
 *
 * An agent that has read the clock when a wait ended does not read it again before the unlock: it stamps
 * the release after the real call. By then the next holder may have woken and even preempted the releaser,
 * so the stamp can be late by a time slice, and what others waited in between would be charged to the wrong
 * thread. But the next holder's wait has ended with a stamp of its own, and nobody has an exclusive lock
 * before its holder lets it go:
 *
 *     release = min(stamp, first end of another thread's wait after the holder itself had the lock)
 *
 * The holder's own acquisition is known in just those cases. Readers of a rwlock hold it together: their
 * releases stay as they are.
 */
#include <errno.h>
#include <stdlib.h>

#include "model/internal.h"
#include "model/store.h"

#define HAD_NOTHING (WAIT_TIMED_OUT | WAIT_FAILED | WAIT_CANCELLED | MODEL_WAIT_OPEN)

struct acquisition {
    uint64_t time;
    uint32_t thread;
};

static bool lock_is_exclusive(const struct model_lock *lock) {
    return lock->cls == LOCK_CLASS_MUTEX || lock->cls == LOCK_CLASS_SPIN ||
           lock->cls == LOCK_CLASS_RWLOCK_WRITE;
}

static void release_bound(struct model_release *release, const struct acquisition *had, uint32_t count) {
    if (release->held == 0 || release->held > release->time || release->mode == LOCK_CLASS_RWLOCK_READ)
        return;
    uint64_t since = release->time - release->held;
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (had[middle].time <= since)
            low = middle + 1;
        else
            high = middle;
    }
    while (low < count && had[low].thread == release->thread)
        low++;
    if (low < count && had[low].time < release->time) {
        release->time = had[low].time;
        release->held = release->time - since;
    }
}

int hand_off_bound(struct model *model) {
    struct acquisition *had = NULL;
    uint32_t room = 0;
    int rc = 0;
    for (uint32_t lock = 0; rc == 0 && lock < model->lock_count; lock++) {
        uint32_t first = model->lock_wait_first[lock], end = model->lock_wait_first[lock + 1], count = 0;
        uint32_t release = model->lock_release_first[lock], release_end = model->lock_release_first[lock + 1];
        if (first == end || release == release_end || !lock_is_exclusive(&model->locks[lock]))
            continue;
        if (end - first > room) {
            free(had);
            room = end - first;
            if (!(had = malloc((size_t)room * sizeof(*had))))
                return -ENOMEM;
        }
        for (uint32_t i = first; i < end; i++)
            if (!(model->waits[i].flags & HAD_NOTHING))
                had[count++] = (struct acquisition){model->waits[i].end, model->waits[i].thread};
        rc = sort_by_u64(had, count, sizeof(*had), offsetof(struct acquisition, time));
        for (; rc == 0 && release < release_end; release++)
            release_bound(&model->releases[release], had, count);
    }
    free(had);
    return rc;
}
