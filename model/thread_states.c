/* SPDX-License-Identifier: MIT */
/*
 * Where each thread's time went. Waits of one thread may lie inside one another (a condition wait and
 * the mutex it takes again): an instant belongs to the wait that began first, so the states are a
 * union and never exceed the thread's life.
 *
 * With a schedule the life is told instant by instant (timeline.h). Stretches that were lost look like
 * running there: so much of it is unknown. Where rows are missing and their length with them, what is more
 * than the thread's CPU time is unknown too.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/timeline.h"

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
            ret_spans[count++] = (struct thread_span){.begin = wait->begin,
                                                      .end = wait->end,
                                                      .lock = wait->lock & ((1U << SPAN_LOCK_BITS) - 1),
                                                      .state = wait_state(model, wait),
                                                      .stack = wait->stack};
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

/* Adds a piece in the kernel that no wait of the agent's tells of. */
static void origin_add(struct off_cpu *off_cpu, const struct timeline_piece *piece) {
    struct off_origin *origin = &off_cpu->origins[piece->stretch->origin];
    uint64_t ns = piece->end - piece->begin;
    if (piece->state == MODEL_RUNNABLE)
        return;
    if (piece->state == MODEL_IDLE)
        origin->idle += ns;
    if (piece->span)
        return;
    origin->outside += ns;
    /* A stretch counts where it begins. */
    origin->outside_count += piece->begin == piece->stretch->begin;
}

/* Without a schedule there may still be stretches: of a trace that was cut short. */
static void life_sum(struct model *model, uint32_t index, const struct thread_span *spans, uint32_t count) {
    struct model_thread *thread = &model->threads[index];
    const struct off_known *known = &model->thread_extras[index].known;
    struct timeline line = timeline_of(model, index, spans, count);
    struct timeline_cursor cursor = timeline_seek(&line, 0);
    struct timeline_piece piece;
    uint64_t states_ns[MODEL_STATE_COUNT] = {0};
    while (timeline_next(&cursor, &piece)) {
        states_ns[piece.state] += piece.end - piece.begin;
        if (piece.stretch)
            origin_add(&model->off_cpu, &piece);
    }
    if (known->end == 0) {
        states_sum(thread, spans, count);
        return;
    }
    memcpy(thread->states_ns, states_ns, sizeof(states_ns));
    uint64_t running = thread->states_ns[MODEL_RUNNING];
    uint64_t lost = known->lost_ns < running ? known->lost_ns : running;
    if (known->stretches > line.stretch_count && thread->cpu_ns > 0 && thread->cpu_ns < running - lost)
        lost = running - thread->cpu_ns;
    thread->states_ns[MODEL_RUNNING] -= lost;
    thread->states_ns[MODEL_UNKNOWN] += lost;
}

/* Where spans are to be kept: room for all of them, side by side. */
static int spans_allot(struct model *model, uint64_t waits) {
    struct off_cpu *off_cpu = &model->off_cpu;
    if (!off_cpu->known)
        return 0;
    if (waits >= UINT32_MAX)
        return -ENOMEM;
    off_cpu->span_room = (uint32_t)waits;
    off_cpu->spans = big_alloc(waits * sizeof(*off_cpu->spans));
    off_cpu->span_first = calloc((size_t)model->thread_count + 1, sizeof(*off_cpu->span_first));
    return off_cpu->spans && off_cpu->span_first ? 0 : -ENOMEM;
}

int thread_states_find(struct model *model) {
    struct off_cpu *off_cpu = &model->off_cpu;
    uint64_t most = 0, waits = 0;
    for (uint32_t i = 0; i < model->thread_count; i++) {
        uint64_t count = thread_wait_count(model, i);
        most = count > most ? count : most;
        waits += count;
    }
    struct thread_span *spans = malloc((most + 1) * sizeof(*spans));
    int rc = spans ? spans_allot(model, waits) : -ENOMEM;
    for (uint32_t i = 0; rc == 0 && i < model->thread_count; i++) {
        uint32_t count;
        rc = thread_spans_find(model, i, spans, &count);
        if (rc == 0)
            rc = off_cpu_join(model, i, spans, count);
        if (rc < 0)
            break;
        if (model->thread_extras[i].known.end > 0 || off_cpu->thread_first[i + 1] > off_cpu->thread_first[i])
            life_sum(model, i, spans, count);
        else
            states_sum(&model->threads[i], spans, count);
        if (!off_cpu->known)
            continue;
        memcpy(off_cpu->spans + off_cpu->span_count, spans, count * sizeof(*spans));
        off_cpu->span_count += count;
        off_cpu->span_first[i + 1] = off_cpu->span_count;
    }
    free(spans);
    return rc;
}
