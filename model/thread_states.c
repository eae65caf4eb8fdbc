/* SPDX-License-Identifier: MIT */
/*
 * Where each thread's time went. Waits of one thread may lie inside one another (a condition wait and
 * the mutex it takes again): an instant belongs to the wait that began first, so the states are a
 * union and never exceed the thread's life.
 */
#include "model/internal.h"

static enum model_state wait_state(const struct model *model, const struct model_wait *wait) {
    if (wait->idle)
        return MODEL_IDLE;
    return model->locks[wait->lock].event ? MODEL_BLOCKED : MODEL_LOCK_WAIT;
}

void thread_states_find(struct model *model) {
    for (uint32_t i = 0; i < model->thread_count; i++) {
        struct model_thread *thread = &model->threads[i];
        uint64_t done = thread->start, waited = 0;
        for (uint32_t k = model->thread_wait_first[i]; k < model->thread_wait_first[i + 1]; k++) {
            const struct model_wait *wait = &model->waits[model->thread_waits[k]];
            uint64_t begin = wait->begin > done ? wait->begin : done;
            uint64_t end = wait->end < thread->end ? wait->end : thread->end;
            if (end <= begin)
                continue;
            thread->states_ns[wait_state(model, wait)] += end - begin;
            waited += end - begin;
            done = end;
        }
        uint64_t rest = thread->end - thread->start - waited;
        thread->states_ns[MODEL_RUNNING] = thread->cpu_ns < rest ? thread->cpu_ns : rest;
        thread->states_ns[MODEL_UNKNOWN] = rest - thread->states_ns[MODEL_RUNNING];
    }
}
