/* SPDX-License-Identifier: MIT */
/*
 * Where each thread's time went. Waits of one thread may lie inside one another (a condition wait and
 * the mutex it takes again): an instant belongs to the wait that began first, so the states are a
 * union and never exceed the thread's life.
 */
#include <errno.h>
#include <stdlib.h>

#include "model/internal.h"

static enum model_state wait_state(const struct model *model, const struct model_wait *wait) {
    if (wait->idle)
        return MODEL_IDLE;
    return model->locks[wait->lock].event ? MODEL_BLOCKED : MODEL_LOCK_WAIT;
}

/* Copies the thread's waits, as they came; returns how many. */
static uint32_t spans_get(const struct model *model, uint32_t thread, struct thread_span *ret_spans) {
    const struct event_list *list = &model->waits_read;
    uint32_t count = 0;
    for (uint32_t i = list->thread_first[thread]; i < list->thread_first[thread + 1]; i++) {
        const struct event_run *run = &list->runs[list->thread_runs[i]];
        const struct model_wait *wait = run->items;
        for (uint32_t left = run->count; left > 0; left--, wait++)
            ret_spans[count++] = (struct thread_span){wait->begin, wait->end, wait_state(model, wait)};
    }
    return count;
}

uint64_t thread_wait_count(const struct model *model, uint32_t thread) {
    const struct event_list *list = &model->waits_read;
    uint64_t count = 0;
    for (uint32_t i = list->thread_first[thread]; i < list->thread_first[thread + 1]; i++)
        count += list->runs[list->thread_runs[i]].count;
    return count;
}

int thread_spans_find(const struct model *model, uint32_t thread, struct thread_span *spans,
                      uint32_t *ret_count) {
    uint64_t done = model->threads[thread].start, life_end = model->threads[thread].end;
    uint32_t count = spans_get(model, thread, spans), kept = 0;
    int rc = sort_by_u64(spans, count, sizeof(*spans), offsetof(struct thread_span, begin));
    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < count; i++) {
        struct thread_span span = spans[i];
        span.begin = span.begin > done ? span.begin : done;
        span.end = span.end < life_end ? span.end : life_end;
        if (span.end <= span.begin)
            continue;
        done = span.end;
        spans[kept++] = span;
    }
    *ret_count = kept;
    return 0;
}

static void states_sum(struct model_thread *thread, const struct thread_span *spans, uint32_t count) {
    uint64_t waited = 0;
    for (uint32_t i = 0; i < count; i++) {
        thread->states_ns[spans[i].state] += spans[i].end - spans[i].begin;
        waited += spans[i].end - spans[i].begin;
    }
    uint64_t rest = thread->end - thread->start - waited;
    thread->states_ns[MODEL_RUNNING] = thread->cpu_ns < rest ? thread->cpu_ns : rest;
    thread->states_ns[MODEL_UNKNOWN] = rest - thread->states_ns[MODEL_RUNNING];
}

int thread_states_find(struct model *model) {
    uint64_t most = 0;
    for (uint32_t i = 0; i < model->thread_count; i++) {
        uint64_t count = thread_wait_count(model, i);
        most = count > most ? count : most;
    }
    struct thread_span *spans = malloc((most + 1) * sizeof(*spans));
    int rc = spans ? 0 : -ENOMEM;
    for (uint32_t i = 0; rc == 0 && i < model->thread_count; i++) {
        uint32_t count;
        rc = thread_spans_find(model, i, spans, &count);
        if (rc == 0)
            states_sum(&model->threads[i], spans, count);
    }
    free(spans);
    return rc;
}
