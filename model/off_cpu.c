/* SPDX-License-Identifier: MIT */
/*
 * What is left out, and counted as bad: a stretch outside of its thread's life, and one that begins before
 * another of the same thread has ended. One that reaches past an end of the life, or of what the schedule
 * tells of, is cut there.
 */
#include "model/off_cpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/internal.h"
#include "model/syscall.h"

static bool origin_equal(const void *context, uint32_t index, const void *key) {
    const struct off_origin *have = &((const struct off_cpu *)context)->origins[index], *wanted = key;
    return have->thread == wanted->thread && have->stack == wanted->stack && have->waker == wanted->waker &&
           have->waker_stack == wanted->waker_stack && have->syscall == wanted->syscall &&
           have->cause == wanted->cause && have->flags == wanted->flags;
}

static uint64_t pair_hash(uint64_t seed, uint32_t left, uint32_t right) {
    return hash_mix(seed ^ ((uint64_t)left << 32 | right));
}

int off_origin_get(struct model *model, const struct off_origin *key, uint32_t *ret_index) {
    struct off_cpu *off_cpu = &model->off_cpu;
    uint64_t hash = pair_hash(pair_hash(0, key->thread, key->stack), key->waker, key->waker_stack);
    hash = pair_hash(hash, key->syscall, (uint32_t)key->cause << 8 | key->flags);
    uint32_t index = hash_set_find(&off_cpu->origin_set, hash, origin_equal, off_cpu, key);
    if (index == UINT32_MAX) {
        index = off_cpu->origin_count;
        if (array_reserve(&off_cpu->origins, index, &off_cpu->origin_room, sizeof(*off_cpu->origins)) < 0 ||
            hash_set_add(&off_cpu->origin_set, hash, index) < 0)
            return -ENOMEM;
        off_cpu->origins[off_cpu->origin_count++] = (struct off_origin){
            .thread = key->thread,
            .stack = key->stack,
            .waker = key->waker,
            .waker_stack = key->waker_stack,
            .syscall = key->syscall,
            .cause = key->cause,
            .flags = key->flags,
            .kind = key->kind,
        };
    }
    *ret_index = index;
    return 0;
}

static bool sample_equal(const void *context, uint32_t index, const void *key) {
    const struct off_sample *have = &((const struct off_cpu *)context)->samples[index], *wanted = key;
    return have->thread == wanted->thread && have->stack == wanted->stack &&
           have->kernel_stack == wanted->kernel_stack;
}

int off_sample_get(struct model *model, const struct off_sample *key, uint32_t *ret_index) {
    struct off_cpu *off_cpu = &model->off_cpu;
    uint64_t hash = pair_hash(pair_hash(1, key->thread, key->stack), key->kernel_stack, 0);
    uint32_t index = hash_set_find(&off_cpu->sample_set, hash, sample_equal, off_cpu, key);
    if (index == UINT32_MAX) {
        index = off_cpu->sample_count;
        if (array_reserve(&off_cpu->samples, index, &off_cpu->sample_room, sizeof(*off_cpu->samples)) < 0 ||
            hash_set_add(&off_cpu->sample_set, hash, index) < 0)
            return -ENOMEM;
        off_cpu->samples[off_cpu->sample_count++] = (struct off_sample){
            .thread = key->thread, .stack = key->stack, .kernel_stack = key->kernel_stack};
    }
    *ret_index = index;
    return 0;
}

static enum model_off_kind origin_kind(const struct off_origin *origin) {
    switch (origin->cause) {
    case TRACE_OFF_IO:
        return MODEL_OFF_IO;
    case TRACE_OFF_FAULT:
        return MODEL_OFF_PAGE_FAULT;
    case TRACE_OFF_STOPPED:
        return MODEL_OFF_STOPPED;
    default:
        return origin->syscall ? syscall_kind(origin->syscall - 1U) : MODEL_OFF_OTHER;
    }
}

static uint32_t stack_mapped(const struct model *model, uint32_t stack) {
    return stack == MODEL_NONE ? MODEL_NONE : model->stack_map[stack];
}

/* Fits a stretch into what is known of its thread, from `from` to `to`; false: nothing of it is in there. */
static bool stretch_cut(struct off_stretch *stretch, uint64_t from, uint64_t to) {
    uint64_t begin = stretch->begin, end = begin + stretch->duration, ready = end - stretch->delay;
    if (end < from || begin > to)
        return false;
    begin = begin > from ? begin : from;
    end = end < to ? end : to;
    ready = ready > begin ? ready : begin;
    stretch->begin = begin;
    stretch->duration = end - begin;
    stretch->delay = end > ready ? end - ready : 0;
    return true;
}

/* Moves what is good of a thread's stretches to `place`, and returns how many they are. */
static uint32_t thread_settle(struct model *model, uint32_t thread, struct off_stretch *stretches,
                              uint32_t count, struct off_stretch *place) {
    const struct off_known *known = &model->thread_extras[thread].known;
    uint64_t from = model->threads[thread].start, to = model->threads[thread].end, done = 0;
    uint32_t kept = 0;
    if (known->end > 0) {
        from = known->begin > from ? known->begin : from;
        to = known->end < to ? known->end : to;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct off_stretch stretch = stretches[i];
        if (!stretch_cut(&stretch, from, to) || stretch.begin < done) {
            model->info.bad_rows++;
            continue;
        }
        done = stretch.begin + stretch.duration;
        struct off_origin *origin = &model->off_cpu.origins[stretch.origin];
        origin->count++;
        origin->ns += stretch.duration;
        origin->delay += stretch.delay;
        place[kept++] = stretch;
    }
    return kept;
}

int off_cpu_settle(struct model *model) {
    struct off_cpu *off_cpu = &model->off_cpu;
    uint32_t kept = 0;
    model->info.stretches = 0;
    for (uint32_t i = 0; i < off_cpu->origin_count; i++) {
        struct off_origin *origin = &off_cpu->origins[i];
        origin->stack = stack_mapped(model, origin->stack);
        origin->waker_stack = stack_mapped(model, origin->waker_stack);
        origin->kind = (uint8_t)origin_kind(origin);
    }
    for (uint32_t i = 0; i < off_cpu->sample_count; i++) {
        struct off_sample *sample = &off_cpu->samples[i];
        sample->stack = stack_mapped(model, sample->stack);
        sample->kernel_stack = stack_mapped(model, sample->kernel_stack);
    }
    off_cpu->allotted = off_cpu->read.count;
    int rc = events_gather(&off_cpu->read, sizeof(*off_cpu->stretches), model->thread_count,
                           &off_cpu->thread_first, (void **)&off_cpu->stretches);
    /* Keys of the stacks are others now: a look-up finds what is made from here on only. */
    hash_set_free(&off_cpu->origin_set);
    hash_set_free(&off_cpu->sample_set);
    off_cpu->origin_set = off_cpu->sample_set = (struct hash_set){0};
    for (uint32_t i = 0; rc == 0 && i < model->thread_count; i++) {
        uint32_t first = off_cpu->thread_first[i], count = off_cpu->thread_first[i + 1] - first;
        rc = sort_by_u64(off_cpu->stretches + first, count, sizeof(*off_cpu->stretches),
                         offsetof(struct off_stretch, begin));
        off_cpu->thread_first[i] = kept;
        if (rc == 0)
            kept += thread_settle(model, i, off_cpu->stretches + first, count, off_cpu->stretches + kept);
    }
    if (rc == 0)
        off_cpu->thread_first[model->thread_count] = kept;
    off_cpu->count = kept;
    model->info.stretches = kept;
    return rc;
}

static bool stack_is_short(const struct model *model, uint32_t stack) {
    return stack == MODEL_NONE || (model->stacks[stack].flags & (STACK_INCOMPLETE | STACK_TRUNCATED));
}

int off_cpu_join(struct model *model, uint32_t thread, const struct thread_span *spans, uint32_t count) {
    struct off_cpu *off_cpu = &model->off_cpu;
    uint32_t span = 0;
    for (uint32_t i = off_cpu->thread_first[thread]; i < off_cpu->thread_first[thread + 1]; i++) {
        struct off_stretch *stretch = &off_cpu->stretches[i];
        struct off_origin key = off_cpu->origins[stretch->origin];
        while (span < count && spans[span].end <= stretch->begin)
            span++;
        if (span == count || spans[span].begin > stretch->begin || spans[span].stack == MODEL_NONE ||
            spans[span].stack == key.stack || !stack_is_short(model, key.stack))
            continue;
        struct off_origin *from = &off_cpu->origins[stretch->origin];
        from->count--;
        from->ns -= stretch->duration;
        from->delay -= stretch->delay;
        key.stack = spans[span].stack;
        if (off_origin_get(model, &key, &stretch->origin) < 0)
            return -ENOMEM;
        struct off_origin *to = &off_cpu->origins[stretch->origin];
        to->count++;
        to->ns += stretch->duration;
        to->delay += stretch->delay;
    }
    return 0;
}

void off_cpu_free(struct off_cpu *off_cpu) {
    events_free(&off_cpu->read);
    big_free(off_cpu->stretches, off_cpu->allotted * sizeof(*off_cpu->stretches));
    hash_set_free(&off_cpu->origin_set);
    hash_set_free(&off_cpu->sample_set);
    big_free(off_cpu->spans, off_cpu->span_room * sizeof(*off_cpu->spans));
    void *const pieces[] = {off_cpu->thread_first,  off_cpu->origins,    off_cpu->samples,
                            (void *)off_cpu->names, off_cpu->span_first, off_cpu->schedules,
                            off_cpu->calls,         off_cpu->ran,        off_cpu->wakers};
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
        free(pieces[i]);
}
