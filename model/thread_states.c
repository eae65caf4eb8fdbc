/* SPDX-License-Identifier: MIT */
/*
 * Where each thread's time went. Waits of one thread may lie inside one another (a condition wait and
 * the mutex it takes again): an instant belongs to the wait that began first, so the states are a
 * union and never exceed the thread's life.
 */
#include <errno.h>
#include <stdlib.h>

#include "model/internal.h"

struct span {
    uint64_t begin, end;
    enum model_state state;
};

static enum model_state wait_state(const struct model *model, const struct model_wait *wait) {
    if (wait->idle)
        return MODEL_IDLE;
    return model->locks[wait->lock].event ? MODEL_BLOCKED : MODEL_LOCK_WAIT;
}

/* Copies the thread's waits, as they came; returns how many. */
static uint32_t spans_get(const struct model *model, uint32_t thread, struct span *ret_spans) {
    const struct event_list *list = &model->waits_read;
    uint32_t count = 0;
    for (uint32_t i = list->thread_first[thread]; i < list->thread_first[thread + 1]; i++) {
        const struct event_run *run = &list->runs[list->thread_runs[i]];
        const struct model_wait *wait = run->items;
        for (uint32_t left = run->count; left > 0; left--, wait++)
            ret_spans[count++] = (struct span){wait->begin, wait->end, wait_state(model, wait)};
    }
    return count;
}

static void states_sum(struct model_thread *thread, const struct span *spans, uint32_t count) {
    uint64_t done = thread->start, waited = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t begin = spans[i].begin > done ? spans[i].begin : done;
        uint64_t end = spans[i].end < thread->end ? spans[i].end : thread->end;
        if (end <= begin)
            continue;
        thread->states_ns[spans[i].state] += end - begin;
        waited += end - begin;
        done = end;
    }
    uint64_t rest = thread->end - thread->start - waited;
    thread->states_ns[MODEL_RUNNING] = thread->cpu_ns < rest ? thread->cpu_ns : rest;
    thread->states_ns[MODEL_UNKNOWN] = rest - thread->states_ns[MODEL_RUNNING];
}

int thread_states_find(struct model *model) {
    const struct event_list *list = &model->waits_read;
    uint64_t most = 0;
    for (uint32_t i = 0; i < model->thread_count; i++) {
        uint64_t count = 0;
        for (uint32_t k = list->thread_first[i]; k < list->thread_first[i + 1]; k++)
            count += list->runs[list->thread_runs[k]].count;
        most = count > most ? count : most;
    }
    struct span *spans = malloc((most + 1) * sizeof(*spans));
    int rc = spans ? 0 : -ENOMEM;
    for (uint32_t i = 0; rc == 0 && i < model->thread_count; i++) {
        uint32_t count = spans_get(model, i, spans);
        rc = sort_by_u64(spans, count, sizeof(*spans), offsetof(struct span, begin));
        if (rc == 0)
            states_sum(&model->threads[i], spans, count);
    }
    free(spans);
    return rc;
}
