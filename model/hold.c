/* SPDX-License-Identifier: MIT */
/*
 * How long locks were held. The agent times the hold of every acquisition that waited, and of the others
 * a sample: those of a thread that takes a lock often stand for more than those of one that takes it
 * rarely. So each thread's sample is scaled by that thread's own counts, and only then are threads added.
 */
#include <errno.h>
#include <stdlib.h>

#include "model/load.h"

static bool tally_equal(const void *context, uint32_t index, const void *key) {
    const struct hold_tally *have = &((const struct model *)context)->holds[index], *wanted = key;
    return have->thread == wanted->thread && have->lock == wanted->lock && have->mode == wanted->mode;
}

int hold_add(struct model *model, uint32_t thread, uint32_t lock, enum lock_mode mode,
             const struct trace_count *count) {
    struct hold_tally key = {.thread = thread, .lock = lock, .mode = mode};
    uint64_t hash = hash_mix(((uint64_t)thread << 32 | lock) + ((uint64_t)mode << 62));
    uint32_t index = hash_set_find(&model->hold_set, hash, tally_equal, model, &key);
    if (index == UINT32_MAX) {
        int rc = array_reserve(&model->holds, model->hold_count, &model->hold_room, sizeof(*model->holds));
        if (rc == 0)
            rc = hash_set_add(&model->hold_set, hash, model->hold_count);
        if (rc < 0)
            return -ENOMEM;
        index = model->hold_count++;
        model->holds[index] = key;
    }
    struct hold_tally *tally = &model->holds[index];
    tally->acquisitions += count->acquisitions;
    tally->contended += count->contended;
    tally->hold_ns += count->hold_ns;
    tally->hold_samples += count->hold_samples;
    tally->contended_hold_ns += count->contended_hold_ns;
    return 0;
}

static uint64_t sum_limited(uint64_t a, uint64_t b) {
    return a + b < a ? UINT64_MAX : a + b;
}

/* Of the acquisitions that did not wait. A sample that is all of them, or more, is not scaled. */
static uint64_t uncontended_hold(const struct hold_tally *tally) {
    uint64_t holds = tally->acquisitions > tally->contended ? tally->acquisitions - tally->contended : 0;
    if (tally->hold_samples == 0 || tally->hold_samples >= holds)
        return tally->hold_ns;
    return u64_of_double((double)tally->hold_ns * (double)holds / (double)tally->hold_samples);
}

void holds_settle(struct model *model) {
    for (uint32_t i = 0; i < model->hold_count; i++) {
        const struct hold_tally *tally = &model->holds[i];
        struct model_lock *lock = &model->locks[tally->lock];
        uint64_t total = sum_limited(uncontended_hold(tally), tally->contended_hold_ns);
        lock->hold_total = sum_limited(lock->hold_total, total);
        if (tally->hold_samples > 0 || tally->contended_hold_ns > 0)
            model->lock_extras[tally->lock].hold_timed = true;
        if (tally->hold_samples + tally->contended != tally->acquisitions)
            lock->hold_estimated = true;
    }
    free(model->holds);
    model->holds = NULL;
    model->hold_count = model->hold_room = 0;
    hash_set_free(&model->hold_set);
}
