/* SPDX-License-Identifier: MIT */
/*
 * A recording with what the scheduler tells, whose numbers can be worked out by hand: "shop", with threads a,
 * that does a bit of everything, b, which holds what a waits for, c, of which the scheduler tells nothing, d,
 * of which rows are missing, and e, which waits behind a. Times in ms.
 */
#ifndef WAITSCOPE_TESTS_UNIT_SCHEDULE_SCENE_H
#define WAITSCOPE_TESTS_UNIT_SCHEDULE_SCENE_H

#include "model_trace.h"

/* Numbers of arch/x86/entry/syscalls/syscall_64.tbl, as the trace has them. */
enum {
    IN_NONE = 0,
    IN_READ = 1 + 0,
    IN_MUNMAP = 1 + 11,
    IN_NANOSLEEP = 1 + 35,
    IN_WAIT4 = 1 + 61,
    IN_FSYNC = 1 + 74,
    IN_FUTEX = 1 + 202,
    IN_EPOLL_WAIT = 1 + 232,
};
#define SCENE_BAD_ROWS 9

struct schedule_scene {
    struct model_trace trace;
    uint64_t a, b, c, d, e;                      /* thread ids */
    uint64_t taking, reading, waking, in_kernel; /* stacks */
    uint64_t cc1;                                /* string */
};

#define SCENE_OFF(thread, from, to, ...)                                                                     \
    MODEL_TRACE_OFF_CPU(&scene->trace, (thread), .begin = (from)*MS, .duration = ((to) - (from)) * MS,       \
                        __VA_ARGS__)

/* What a does off a CPU: not in order, as it may come from several buffers. */
static inline void schedule_scene_a(struct schedule_scene *scene) {
    uint64_t a = scene->a, b = scene->b;
    SCENE_OFF(a, 110, 130, .delay = 5 * MS, .cause = TRACE_OFF_IO, .syscall = IN_READ, .ran = b,
              .flags = TRACE_OFF_WOKEN_BY_IRQ, .stack = scene->reading);
    SCENE_OFF(a, 150, 160, .delay = 10 * MS, .cause = TRACE_OFF_PREEMPTED, .ran_name = scene->cc1,
              .stack = scene->reading);
    SCENE_OFF(a, 310, 340, .cause = TRACE_OFF_ASLEEP, .syscall = IN_NANOSLEEP,
              .flags = TRACE_OFF_WOKEN_BY_IRQ, .stack = scene->reading);
    /* In the agent's wait of 200 to 300, and without a stack of its own. */
    SCENE_OFF(a, 210, 290, .delay = 10 * MS, .cause = TRACE_OFF_ASLEEP, .syscall = IN_FUTEX, .waker = b,
              .waker_stack = scene->waking, .ran = b);
    SCENE_OFF(a, 350, 360, .delay = 2 * MS, .cause = TRACE_OFF_ASLEEP, .syscall = IN_FUTEX);
    SCENE_OFF(a, 370, 380, .cause = TRACE_OFF_FAULT, .flags = TRACE_OFF_WOKEN_BY_IRQ);
    SCENE_OFF(a, 390, 400, .delay = 1 * MS, .cause = TRACE_OFF_ASLEEP, .syscall = IN_EPOLL_WAIT, .waker = b,
              .waker_stack = scene->waking, .ran = b, .stack = scene->reading);
    SCENE_OFF(a, 410, 414, .cause = TRACE_OFF_STOPPED);
    SCENE_OFF(a, 420, 426, .cause = TRACE_OFF_ASLEEP, .syscall = IN_WAIT4, .waker = b);
    SCENE_OFF(a, 430, 432, .cause = TRACE_OFF_HELD, .syscall = IN_FSYNC);
    SCENE_OFF(a, 440, 443, .cause = TRACE_OFF_HELD, .syscall = IN_MUNMAP);
    /* Begins in the wait of 500 to 520 and ends after it. */
    SCENE_OFF(a, 510, 530, .delay = 4 * MS, .cause = TRACE_OFF_ASLEEP, .syscall = IN_FUTEX,
              .ran_name = scene->cc1);
    SCENE_OFF(a, 581, 608, .delay = 3 * MS, .cause = TRACE_OFF_ASLEEP, .syscall = IN_FUTEX, .waker = b,
              .waker_stack = scene->waking, .ran = b);
    SCENE_OFF(a, 880, 900, .cause = TRACE_OFF_ASLEEP, .syscall = IN_READ, .flags = TRACE_OFF_OPEN,
              .stack = scene->reading);
    MODEL_TRACE_SCHEDULE(&scene->trace, .thread = a, .begin = 100 * MS, .end = 900 * MS, .stretches = 14,
                         .lost = 1, .lost_ns = 7 * MS);
    for (unsigned i = 0; i < 2; i++)
        MODEL_TRACE_SAMPLE(&scene->trace, a, .time = (105 + i) * MS, .weight = 10 * MS,
                           .stack = scene->reading, .kernel_stack = scene->in_kernel);
    MODEL_TRACE_SAMPLE(&scene->trace, scene->b, .time = 300 * MS, .weight = 10 * MS, .stack = scene->waking);
}

/* Rows that make no sense: SCENE_BAD_ROWS. */
static inline void schedule_scene_bad(struct schedule_scene *scene) {
    uint64_t a = scene->a;
    SCENE_OFF(a, 112, 115, .cause = TRACE_OFF_IO);                  /* inside another */
    SCENE_OFF(a, 50, 60, .cause = TRACE_OFF_IO);                    /* before its thread */
    SCENE_OFF(a, 700, 701, .cause = TRACE_OFF_IO, .delay = 2 * MS); /* longer ready than away */
    SCENE_OFF(a, 710, 711, .cause = 0);
    SCENE_OFF(a, 720, 721, .cause = TRACE_OFF_CAUSES);
    SCENE_OFF(99, 730, 731, .cause = TRACE_OFF_IO);
    MODEL_TRACE_OFF_CPU(&scene->trace, a, .begin = 2, .duration = UINT64_MAX, .cause = TRACE_OFF_IO);
    MODEL_TRACE_SCHEDULE(&scene->trace, .thread = a, .begin = 2, .end = 1);
    MODEL_TRACE_SAMPLE(&scene->trace, a, .time = 1, .weight = UINT64_MAX);
}

static inline struct model *schedule_scene_open(void) {
    struct schedule_scene made, *scene = &made;
    struct model_trace *trace = &scene->trace;
    model_trace_begin(trace);
    uint64_t process = model_trace_process(trace, 100, 1000, 0, "./shop");
    uint64_t shop = model_trace_module(trace, process, "/usr/bin/shop");
    uint64_t kernel = model_trace_module(trace, process, "[kernel]");
    uint64_t take = model_trace_location(trace, process, shop, "take", "/src/shop.c", 10);
    uint64_t read_all = model_trace_location(trace, process, shop, "read_all", "/src/shop.c", 20);
    uint64_t give = model_trace_location(trace, process, shop, "give", "/src/shop.c", 30);
    uint64_t serve = model_trace_location(trace, process, shop, "serve", "/src/shop.c", 40);
    uint64_t vfs_read = model_trace_location(trace, process, kernel, "vfs_read", NULL, 0);
    uint64_t entry = model_trace_location(trace, process, kernel, "do_syscall_64", NULL, 0);
    scene->taking = MODEL_TRACE_STACK(trace, take, serve);
    scene->reading = MODEL_TRACE_STACK(trace, read_all, serve);
    scene->waking = MODEL_TRACE_STACK(trace, give, serve);
    scene->in_kernel = MODEL_TRACE_STACK(trace, vfs_read, entry);
    scene->cc1 = model_trace_text(trace, "cc1");
    uint64_t *threads[] = {&scene->a, &scene->b, &scene->c, &scene->d, &scene->e};
    static const char *const NAMES[] = {"a", "b", "c", "d", "e"};
    for (unsigned i = 0; i < 5; i++)
        *threads[i] = model_trace_thread(trace, process, 101 + i, 100 * MS, 0, NAMES[i]);
    uint64_t lock = model_trace_lock(trace, process, LOCK_CLASS_MUTEX, "till", NULL, 0);
    uint64_t other = model_trace_lock(trace, process, LOCK_CLASS_MUTEX, "safe", NULL, 0);
    uint64_t door = model_trace_lock(trace, process, LOCK_CLASS_MUTEX, "door", NULL, 0);

    /* b holds the till until 300, and from 415 to 515. */
    MODEL_TRACE_WAIT(trace, scene->a, .begin = 200 * MS, .duration = 100 * MS, .lock = lock,
                     .stack = scene->taking, .owner = scene->b);
    MODEL_TRACE_WAIT(trace, scene->a, .begin = 500 * MS, .duration = 20 * MS, .lock = lock,
                     .stack = scene->taking);
    MODEL_TRACE_RELEASE(trace, scene->b, .time = 300 * MS, .held = 150 * MS, .lock = lock,
                        .stack = scene->waking);
    MODEL_TRACE_RELEASE(trace, scene->b, .time = 515 * MS, .held = 100 * MS, .lock = lock,
                        .stack = scene->waking);
    /* What b does meanwhile; nothing is known of it before 200 and after 700. */
    MODEL_TRACE_WAIT(trace, scene->b, .begin = 265 * MS, .duration = 15 * MS, .lock = other,
                     .stack = scene->taking);
    SCENE_OFF(scene->b, 220, 240, .delay = 20 * MS, .cause = TRACE_OFF_PREEMPTED, .ran_name = scene->cc1);
    SCENE_OFF(scene->b, 250, 260, .cause = TRACE_OFF_ASLEEP, .syscall = IN_NANOSLEEP);
    SCENE_OFF(scene->b, 266, 279, .delay = 1 * MS, .cause = TRACE_OFF_ASLEEP, .syscall = IN_FUTEX);
    MODEL_TRACE_SCHEDULE(trace, .thread = scene->b, .begin = 200 * MS, .end = 700 * MS, .stretches = 3);
    /* The door: b until 600, then a from 610 to 630. */
    MODEL_TRACE_WAIT(trace, scene->a, .begin = 580 * MS, .duration = 30 * MS, .lock = door,
                     .stack = scene->taking, .owner = scene->b);
    MODEL_TRACE_WAIT(trace, scene->e, .begin = 590 * MS, .duration = 50 * MS, .lock = door,
                     .stack = scene->taking, .owner = scene->b);
    MODEL_TRACE_RELEASE(trace, scene->b, .time = 600 * MS, .held = 50 * MS, .lock = door,
                        .stack = scene->waking);
    MODEL_TRACE_RELEASE(trace, scene->a, .time = 630 * MS, .held = 20 * MS, .lock = door,
                        .stack = scene->taking);
    uint64_t region = model_trace_text(trace, "sale");
    MODEL_TRACE_REGION(trace, scene->a, .begin = 100 * MS, .duration = 120 * MS, .name = region);

    schedule_scene_a(scene);
    schedule_scene_bad(scene);
    SCENE_OFF(scene->d, 110, 120, .cause = TRACE_OFF_IO);
    MODEL_TRACE_SCHEDULE(trace, .thread = scene->d, .begin = 100 * MS, .end = 200 * MS, .stretches = 3);
    model_trace_thread_end(trace, scene->a, 900 * MS, 0);
    model_trace_thread_end(trace, scene->b, 900 * MS, 0);
    model_trace_thread_end(trace, scene->c, 900 * MS, 300 * MS);
    model_trace_thread_end(trace, scene->d, 200 * MS, 40 * MS);
    model_trace_thread_end(trace, scene->e, 900 * MS, 0);
    model_trace_end(trace, 1000 * MS);
    return model_trace_open(trace);
}

#endif
