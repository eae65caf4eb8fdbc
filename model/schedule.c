/* SPDX-License-Identifier: MIT */
/*
 * Of each thread, what blocked it in the kernel, who woke it and what had the CPU when it was ready to run.
 * The first two are sums over origins (off_cpu.h); for the last the stretches are looked at.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/internal.h"
#include "model/syscall.h"

static const char *const KIND_NAMES[MODEL_OFF_KIND_COUNT] = {
    [MODEL_OFF_IO] = "I/O",     [MODEL_OFF_PAGE_FAULT] = "page fault", [MODEL_OFF_SLEEP] = "sleep",
    [MODEL_OFF_POLL] = "poll",  [MODEL_OFF_FUTEX] = "futex",           [MODEL_OFF_STOPPED] = "stopped",
    [MODEL_OFF_OTHER] = "other"};

const char *model_off_kind_name(enum model_off_kind kind) {
    return KIND_NAMES[kind];
}

/* Lists of one thread after the other; the pointers into them are set when they no longer move. */
struct schedule_lists {
    struct model_off_call *calls;
    struct model_ran *ran;
    struct model_waker *wakers;
    uint32_t call_count, call_room, ran_count, ran_room, waker_count, waker_room;
};

static int compare_number(uint64_t left, uint64_t right) {
    return left < right ? -1 : left > right;
}

static int compare_calls(const void *left, const void *right) {
    const struct model_off_call *a = left, *b = right;
    int kinds = compare_number(a->kind, b->kind);
    return kinds ? kinds : strcmp(a->call ? a->call : "", b->call ? b->call : "");
}

static int compare_calls_worst(const void *left, const void *right) {
    int ns =
        compare_number(((const struct model_off_call *)right)->ns, ((const struct model_off_call *)left)->ns);
    return ns ? ns : compare_calls(left, right);
}

static int compare_wakers(const void *left, const void *right) {
    const struct model_waker *a = left, *b = right;
    int order = compare_number(a->kind, b->kind);
    if (order == 0)
        order = compare_number(a->thread, b->thread);
    return order ? order : compare_number(a->stack, b->stack);
}

static int compare_wakers_worst(const void *left, const void *right) {
    int ns = compare_number(((const struct model_waker *)right)->ns, ((const struct model_waker *)left)->ns);
    return ns ? ns : compare_wakers(left, right);
}

static int compare_ran_worst(const void *left, const void *right) {
    const struct model_ran *a = left, *b = right;
    int ns = compare_number(b->ns, a->ns);
    return ns ? ns : strcmp(a->name, b->name);
}

/* Sorts the calls from first on, those that are equal made one, and the worst put first. */
static void calls_merge(struct schedule_lists *lists, uint32_t first) {
    struct model_off_call *calls = lists->calls + first;
    uint32_t count = lists->call_count - first, kept = 0;
    if (count == 0)
        return;
    qsort(calls, count, sizeof(*calls), compare_calls);
    for (uint32_t i = 1; i < count; i++) {
        if (compare_calls(&calls[kept], &calls[i]) != 0) {
            calls[++kept] = calls[i];
            continue;
        }
        calls[kept].ns += calls[i].ns;
        calls[kept].count += calls[i].count;
    }
    qsort(calls, kept + 1, sizeof(*calls), compare_calls_worst);
    lists->call_count = first + kept + 1;
}

static void wakers_merge(struct schedule_lists *lists, uint32_t first) {
    struct model_waker *wakers = lists->wakers + first;
    uint32_t count = lists->waker_count - first, kept = 0;
    if (count == 0)
        return;
    qsort(wakers, count, sizeof(*wakers), compare_wakers);
    for (uint32_t i = 1; i < count; i++) {
        if (compare_wakers(&wakers[kept], &wakers[i]) != 0) {
            wakers[++kept] = wakers[i];
            continue;
        }
        wakers[kept].ns += wakers[i].ns;
        wakers[kept].count += wakers[i].count;
    }
    qsort(wakers, kept + 1, sizeof(*wakers), compare_wakers_worst);
    lists->waker_count = first + kept + 1;
}

struct model_waker off_origin_waker(const struct model *model, const struct off_origin *origin) {
    struct model_waker waker = {.kind = MODEL_WAKER_OTHER,
                                .thread = MODEL_NONE,
                                .name = "[another process]",
                                .stack = origin->waker_stack,
                                .ns = origin->ns - origin->delay,
                                .count = origin->count};
    if (origin->flags & TRACE_OFF_WOKEN_BY_IRQ) {
        waker.kind = MODEL_WAKER_INTERRUPT;
        waker.name = "[interrupt]";
    } else if (origin->waker != MODEL_NONE) {
        waker.kind = MODEL_WAKER_THREAD;
        waker.thread = origin->waker;
        waker.name = model->threads[origin->waker].label;
    }
    return waker;
}

static int origin_take(const struct model *model, const struct off_origin *origin,
                       struct schedule_lists *lists, struct model_schedule *schedule) {
    if (origin->cause == TRACE_OFF_PREEMPTED)
        schedule->preempted += origin->count;
    else
        schedule->voluntary += origin->count;
    schedule->delay_ns += origin->delay;
    schedule->off_cpu_ns[origin->kind] += origin->outside;
    if (origin->outside > 0) {
        if (array_reserve(&lists->calls, lists->call_count, &lists->call_room, sizeof(*lists->calls)) < 0)
            return -ENOMEM;
        lists->calls[lists->call_count++] = (struct model_off_call){
            .kind = (enum model_off_kind)origin->kind,
            .call = origin->syscall ? syscall_name(origin->syscall - 1U) : NULL,
            .ns = origin->outside,
            .count = origin->outside_count,
        };
    }
    if (off_origin_was_woken(origin)) {
        if (array_reserve(&lists->wakers, lists->waker_count, &lists->waker_room, sizeof(*lists->wakers)) < 0)
            return -ENOMEM;
        lists->wakers[lists->waker_count++] = off_origin_waker(model, origin);
    }
    return 0;
}

/* Time by who ran: threads, then names, then nobody. */
struct ran_tally {
    uint64_t *ns, *counts;
    uint32_t *touched;
    uint32_t touched_count;
};

static uint32_t ran_place(const struct model *model, uint32_t ran) {
    if (ran == MODEL_NONE)
        return model->thread_count + model->off_cpu.name_count;
    return ran & OFF_RAN_NAME ? model->thread_count + (ran & ~OFF_RAN_NAME) : ran;
}

static int ran_take(const struct model *model, uint32_t thread, struct ran_tally *tally,
                    struct schedule_lists *lists, struct model_schedule *schedule) {
    const struct off_cpu *off_cpu = &model->off_cpu;
    for (uint32_t i = off_cpu->thread_first[thread]; i < off_cpu->thread_first[thread + 1]; i++) {
        const struct off_stretch *stretch = &off_cpu->stretches[i];
        if (stretch->delay == 0)
            continue;
        if (stretch->delay > schedule->delay_maximum)
            schedule->delay_maximum = stretch->delay;
        uint32_t place = ran_place(model, stretch->ran);
        if (tally->counts[place]++ == 0)
            tally->touched[tally->touched_count++] = place;
        tally->ns[place] += stretch->delay;
    }
    uint32_t first = lists->ran_count;
    for (uint32_t i = 0; i < tally->touched_count; i++) {
        uint32_t place = tally->touched[i], name = place - model->thread_count;
        if (array_reserve(&lists->ran, lists->ran_count, &lists->ran_room, sizeof(*lists->ran)) < 0)
            return -ENOMEM;
        bool is_thread = place < model->thread_count;
        lists->ran[lists->ran_count++] = (struct model_ran){
            .thread = is_thread ? place : MODEL_NONE,
            .name = is_thread                    ? model->threads[place].label
                    : name < off_cpu->name_count ? off_cpu->names[name]
                                                 : "[idle]",
            .ns = tally->ns[place],
            .count = tally->counts[place],
        };
        tally->ns[place] = tally->counts[place] = 0;
    }
    tally->touched_count = 0;
    schedule->ran_count = lists->ran_count - first;
    if (schedule->ran_count > 1)
        qsort(lists->ran + first, schedule->ran_count, sizeof(*lists->ran), compare_ran_worst);
    return 0;
}

static void known_take(struct model *model, uint32_t thread, struct model_schedule *schedule) {
    const struct off_known *known = &model->thread_extras[thread].known;
    const struct off_cpu *off_cpu = &model->off_cpu;
    uint64_t here = off_cpu->thread_first[thread + 1] - off_cpu->thread_first[thread];
    schedule->begin = known->begin;
    schedule->end = known->end;
    schedule->lost_ns = known->lost_ns;
    schedule->lost = known->lost + (known->stretches > here ? known->stretches - here : 0);
    model->info.stretches_lost += schedule->lost;
}

static int thread_take(struct model *model, uint32_t thread, const uint32_t *members, uint32_t count,
                       struct ran_tally *tally, struct schedule_lists *lists) {
    struct model_schedule *schedule = &model->off_cpu.schedules[thread];
    uint32_t calls = lists->call_count, wakers = lists->waker_count;
    int rc = 0;
    known_take(model, thread, schedule);
    for (uint32_t i = 0; rc == 0 && i < count; i++)
        rc = origin_take(model, &model->off_cpu.origins[members[i]], lists, schedule);
    if (rc < 0)
        return rc;
    calls_merge(lists, calls);
    wakers_merge(lists, wakers);
    schedule->call_count = lists->call_count - calls;
    schedule->waker_count = lists->waker_count - wakers;
    return ran_take(model, thread, tally, lists, schedule);
}

static void pointers_set(struct model *model) {
    struct off_cpu *off_cpu = &model->off_cpu;
    const struct model_off_call *call = off_cpu->calls;
    const struct model_ran *ran = off_cpu->ran;
    const struct model_waker *waker = off_cpu->wakers;
    for (uint32_t i = 0; i < model->thread_count; i++) {
        struct model_schedule *schedule = &off_cpu->schedules[i];
        schedule->calls = schedule->call_count ? call : NULL;
        schedule->ran = schedule->ran_count ? ran : NULL;
        schedule->wakers = schedule->waker_count ? waker : NULL;
        call += schedule->call_count;
        ran += schedule->ran_count;
        waker += schedule->waker_count;
        if (schedule->end > 0 || schedule->voluntary + schedule->preempted > 0)
            model->threads[i].schedule = schedule;
    }
}

int schedules_find(struct model *model) {
    struct off_cpu *off_cpu = &model->off_cpu;
    struct schedule_lists lists = {.calls = NULL};
    uint32_t *first = NULL, *members = NULL;
    size_t places = (size_t)model->thread_count + off_cpu->name_count + 1;
    if (!off_cpu->known && off_cpu->count == 0)
        return 0;
    struct ran_tally tally = {.ns = calloc(places, sizeof(*tally.ns)),
                              .counts = calloc(places, sizeof(*tally.counts)),
                              .touched = malloc(places * sizeof(*tally.touched))};
    off_cpu->schedules = calloc((size_t)model->thread_count + 1, sizeof(*off_cpu->schedules));
    int rc = tally.ns && tally.counts && tally.touched && off_cpu->schedules ? 0 : -ENOMEM;
    if (rc == 0)
        rc = group_by_u32(off_cpu->origins, off_cpu->origin_count, sizeof(*off_cpu->origins),
                          offsetof(struct off_origin, thread), model->thread_count, &first, &members);
    for (uint32_t i = 0; rc == 0 && i < model->thread_count; i++)
        rc = thread_take(model, i, members + first[i], first[i + 1] - first[i], &tally, &lists);
    off_cpu->calls = lists.calls;
    off_cpu->ran = lists.ran;
    off_cpu->wakers = lists.wakers;
    if (rc == 0)
        pointers_set(model);
    free(tally.ns);
    free(tally.counts);
    free(tally.touched);
    free(first);
    free(members);
    return rc;
}
