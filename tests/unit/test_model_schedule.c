/* SPDX-License-Identifier: MIT */
/* What the scheduler tells of threads: every number worked out by hand from schedule_scene.h, in ms. */
#include "check.h"
#include "schedule_scene.h"

static void check_states(const struct model *model) {
    static const struct {
        uint32_t tid;
        /* running, runnable, lock wait, blocked, idle, unknown */
        uint64_t states[MODEL_STATE_COUNT];
    } WANTED[] = {
        /*
         * Runnable 5 + 10 + 10 + 2 + 1 + 4 + 3. Lock wait: of 200 to 300, 500 to 520, 580 to 610 what is not
         * runnable, 90 + 20 + 27. Blocked: I/O 15 + 2 + 20, futex 8 + 6, page fault 10, stopped 4, other 6
         * + 3. Idle: sleep 30, poll 9. Of the rest 7 are lost.
         */
        {101, {800 - 35 - 137 - 74 - 39 - 7, 35, 137, 74, 39, 7}},
        /* Known from 200 to 700. Runnable 20 + 1, lock wait 15 - 1, asleep 10. */
        {102, {500 - 21 - 14 - 10, 21, 14, 0, 10, 300}},
        {103, {300, 0, 0, 0, 0, 500}}, /* by its CPU time */
        {104, {40, 0, 0, 10, 0, 50}},  /* two rows are missing: not more than its CPU time */
        {105, {0, 0, 50, 0, 0, 750}},
    };
    for (size_t i = 0; i < sizeof(WANTED) / sizeof(WANTED[0]); i++) {
        const struct model_thread *thread = model_thread_with_tid(model, WANTED[i].tid);
        if (!CHECK(thread != NULL))
            continue;
        uint64_t sum = 0;
        for (unsigned state = 0; state < MODEL_STATE_COUNT; state++) {
            if (!CHECK_EQ_U64(thread->states_ns[state], WANTED[i].states[state] * MS))
                fprintf(stderr, "  state %u of thread %u\n", state, WANTED[i].tid);
            sum += thread->states_ns[state];
        }
        CHECK_EQ_U64(sum, thread->end - thread->start);
    }
    CHECK(model_thread_with_tid(model, 103)->schedule == NULL);
    CHECK(model_thread_with_tid(model, 105)->schedule == NULL);
}

static void check_off_cpu(const struct model *model) {
    static const uint64_t KINDS[MODEL_OFF_KIND_COUNT] = {37, 10, 30, 9, 14, 4, 9};
    static const struct {
        enum model_off_kind kind;
        const char *call;
        uint64_t ms, count;
    } CALLS[] = {
        {MODEL_OFF_IO, "read", 35, 2},       {MODEL_OFF_SLEEP, "nanosleep", 30, 1},
        {MODEL_OFF_FUTEX, "futex", 14, 1}, /* the one that begins in a wait counts there */
        {MODEL_OFF_PAGE_FAULT, NULL, 10, 1}, {MODEL_OFF_POLL, "epoll_wait", 9, 1},
        {MODEL_OFF_OTHER, "wait4", 6, 1},    {MODEL_OFF_STOPPED, NULL, 4, 1},
        {MODEL_OFF_OTHER, "munmap", 3, 1},   {MODEL_OFF_IO, "fsync", 2, 1},
    };
    const struct model_schedule *schedule = model_thread_with_tid(model, 101)->schedule;
    if (!CHECK(schedule != NULL))
        return;
    for (unsigned kind = 0; kind < MODEL_OFF_KIND_COUNT; kind++)
        CHECK_EQ_U64(schedule->off_cpu_ns[kind], KINDS[kind] * MS);
    CHECK_EQ_INT(schedule->call_count, 9);
    for (uint32_t i = 0; i < schedule->call_count && i < 9; i++) {
        CHECK_EQ_INT(schedule->calls[i].kind, CALLS[i].kind);
        CHECK_STR(schedule->calls[i].call, CALLS[i].call);
        CHECK_EQ_U64(schedule->calls[i].ns, CALLS[i].ms * MS);
        CHECK_EQ_U64(schedule->calls[i].count, CALLS[i].count);
    }
    CHECK_EQ_U64(schedule->voluntary, 13);
    CHECK_EQ_U64(schedule->preempted, 1);
    CHECK_EQ_U64(schedule->lost, 1);
    CHECK_EQ_U64(schedule->lost_ns, 7 * MS);
    CHECK_EQ_U64(model_thread_with_tid(model, 104)->schedule->lost, 2);
    CHECK_STR(model_off_kind_name(MODEL_OFF_IO), "I/O");
}

static void check_run_queue(const struct model *model) {
    static const struct {
        const char *name;
        uint64_t ms, count;
    } RAN[] = {{"b", 5 + 10 + 1 + 3, 4}, {"cc1", 10 + 4, 2}, {"[idle]", 2, 1}};
    const struct model_schedule *schedule = model_thread_with_tid(model, 101)->schedule;
    uint32_t count;
    const struct model_thread *threads = model_threads(model, &count);
    CHECK_EQ_U64(schedule->delay_ns, 35 * MS);
    CHECK_EQ_U64(schedule->delay_maximum, 10 * MS);
    CHECK_EQ_INT(schedule->ran_count, 3);
    for (uint32_t i = 0; i < schedule->ran_count && i < 3; i++) {
        CHECK_STR(schedule->ran[i].name, RAN[i].name);
        CHECK_EQ_U64(schedule->ran[i].ns, RAN[i].ms * MS);
        CHECK_EQ_U64(schedule->ran[i].count, RAN[i].count);
    }
    CHECK_EQ_INT(threads[schedule->ran[0].thread].tid, 102);
    CHECK(schedule->ran[1].thread == MODEL_NONE);
}

static void check_wakers(const struct model *model) {
    static const struct {
        enum model_waker_kind kind;
        const char *name, *from;
        uint64_t ms, count;
    } WAKERS[] = {
        {MODEL_WAKER_THREAD, "b", "give", 70 + 9 + 24, 3},
        {MODEL_WAKER_INTERRUPT, "[interrupt]", NULL, 15 + 30 + 10, 3},
        {MODEL_WAKER_OTHER, "[another process]", NULL, 8 + 4 + 2 + 3 + 16, 5},
        {MODEL_WAKER_THREAD, "b", NULL, 6, 1},
    };
    const struct model_schedule *schedule = model_thread_with_tid(model, 101)->schedule;
    uint32_t count;
    const struct model_stack *stacks = model_stacks(model, &count);
    CHECK_EQ_INT(schedule->waker_count, 4);
    for (uint32_t i = 0; i < schedule->waker_count && i < 4; i++) {
        const struct model_waker *waker = &schedule->wakers[i];
        CHECK_EQ_INT(waker->kind, WAKERS[i].kind);
        CHECK_STR(waker->name, WAKERS[i].name);
        CHECK_STR(waker->stack == MODEL_NONE ? NULL : stacks[waker->stack].frames[0]->function,
                  WAKERS[i].from);
        CHECK_EQ_U64(waker->ns, WAKERS[i].ms * MS);
        CHECK_EQ_U64(waker->count, WAKERS[i].count);
    }
}

static void check_holders(const struct model *model) {
    const struct model_lock *till = model_lock_named(model, "till"), *safe = model_lock_named(model, "safe"),
                            *door = model_lock_named(model, "door");
    uint32_t count;
    const struct model_lock *locks = model_locks(model, &count);
    /* b from 200 to 300: no CPU for 20 + 1, asleep 10, waiting for the safe 14; then on a CPU, to 515. */
    static const uint64_t TILL[MODEL_STATE_COUNT] = {55 + 15, 21, 14, 0, 10, 0};
    CHECK(till->holders_known);
    CHECK_EQ_U64(till->wait_total, 120 * MS);
    for (unsigned state = 0; state < MODEL_STATE_COUNT; state++)
        CHECK_EQ_U64(till->holder_states_ns[state], TILL[state] * MS);
    CHECK_EQ_U64(till->handing_over_ns, 5 * MS); /* from 515 to 520 */
    if (CHECK_EQ_INT(till->holding_count, 3)) {
        CHECK_EQ_INT(till->holdings[0].state, MODEL_RUNNABLE);
        CHECK_EQ_U64(till->holdings[0].ns, 21 * MS);
        CHECK_EQ_INT(till->holdings[1].state, MODEL_LOCK_WAIT);
        CHECK_STR(locks[till->holdings[1].lock].name, "safe");
        CHECK_EQ_U64(till->holdings[1].ns, 14 * MS);
        CHECK_EQ_INT(till->holdings[2].state, MODEL_IDLE);
        CHECK_EQ_INT(till->holdings[2].kind, MODEL_OFF_SLEEP);
        CHECK_STR(till->holdings[2].call, "nanosleep");
    }
    /* Nobody is known to have held it. */
    CHECK_EQ_U64(safe->holder_states_ns[MODEL_UNKNOWN], 15 * MS);
    /* a waits 30, for 20 of which b runs; e waits 50, while b runs for 10, a comes for 10, runs for 20, and
     * for 10 e itself comes. */
    CHECK_EQ_U64(door->wait_total, 80 * MS);
    CHECK_EQ_U64(door->holder_states_ns[MODEL_RUNNING], (20 + 10 + 20) * MS);
    CHECK_EQ_U64(door->handing_over_ns, (10 + 10 + 10) * MS);
    CHECK_EQ_U64(door->holder_states_ns[MODEL_LOCK_WAIT], 0);
    CHECK_EQ_U64(door->holder_states_ns[MODEL_RUNNABLE], 0);
}

/* From 100 to 220 a is 15 in storage, 5 + 10 without a CPU, and waits from 200 on. */
static void check_region(const struct model *model) {
    uint32_t count;
    const struct model_region *region = model_regions(model, &count);
    if (!CHECK_EQ_INT(count, 1))
        return;
    CHECK_EQ_U64(region->states_ns[MODEL_BLOCKED], 15 * MS);
    CHECK_EQ_U64(region->states_ns[MODEL_RUNNABLE], 15 * MS);
    CHECK_EQ_U64(region->states_ns[MODEL_LOCK_WAIT], 20 * MS);
    CHECK_EQ_U64(region->states_ns[MODEL_UNKNOWN], 70 * MS);
}

static void check_stacks(const struct model *model) {
    /* Of a: five of its own, three that are its waits', six without; of b: one from its wait; two without, as
     * of d one. Three samples. */
    CHECK_EQ_U64(model_kernel_stack_ends(model, MODEL_STACK_COMPLETE), 5 + 3 + 1 + 3);
    CHECK_EQ_U64(model_kernel_stack_ends(model, MODEL_STACK_UNKNOWN), 6 + 2 + 1);
}

/* Cut short, there is no word on what is complete: states are by the agent, the rest is told all the same. */
static void check_cut_short(void) {
    struct schedule_scene made, *scene = &made;
    model_trace_begin(&scene->trace);
    uint64_t process = model_trace_process(&scene->trace, 100, 1000, 0, "./shop");
    uint64_t thread = model_trace_thread(&scene->trace, process, 101, 100 * MS, 0, "a");
    SCENE_OFF(thread, 110, 130, .cause = TRACE_OFF_IO, .delay = 5 * MS);
    model_trace_thread_end(&scene->trace, thread, 200 * MS, 30 * MS);
    model_trace_end(&scene->trace, 1000 * MS);
    struct model *model = model_trace_open(&scene->trace);
    const struct model_thread *seen = model_thread_with_tid(model, 101);
    CHECK_EQ_U64(seen->states_ns[MODEL_RUNNING], 30 * MS);
    CHECK_EQ_U64(seen->states_ns[MODEL_UNKNOWN], 70 * MS);
    if (CHECK(seen->schedule != NULL)) {
        CHECK_EQ_U64(seen->schedule->end, 0);
        CHECK_EQ_U64(seen->schedule->off_cpu_ns[MODEL_OFF_IO], 15 * MS);
    }
    model_free(model);
}

/* a waits 100 for what b holds, and b is off its CPU for 63 of them. */
static void check_verdict(enum trace_off_cause cause, uint64_t syscall, uint64_t let_go,
                          const char *expected) {
    struct schedule_scene made, *scene = &made;
    struct model_trace *trace = &scene->trace;
    char verdict[1024];
    model_trace_begin(trace);
    uint64_t process = model_trace_process(trace, 100, 1000, 0, "./shop");
    uint64_t a = model_trace_thread(trace, process, 101, 100 * MS, 0, "a");
    uint64_t b = model_trace_thread(trace, process, 102, 100 * MS, 0, "b");
    uint64_t lock = model_trace_lock(trace, process, LOCK_CLASS_MUTEX, "till", NULL, 0);
    MODEL_TRACE_WAIT(trace, a, .begin = 200 * MS, .duration = 100 * MS, .lock = lock);
    MODEL_TRACE_RELEASE(trace, b, .time = let_go * MS, .held = 100 * MS, .lock = lock);
    SCENE_OFF(b, 210, 273, .cause = cause, .syscall = syscall);
    MODEL_TRACE_SCHEDULE(trace, .thread = b, .begin = 100 * MS, .end = 900 * MS, .stretches = 1);
    model_trace_end(trace, 1000 * MS);
    struct model *model = model_trace_open(trace);
    model_verdict(model, verdict, sizeof(verdict));
    if (!CHECK(strstr(verdict, expected) != NULL))
        fprintf(stderr, "  %s\n", verdict);
    model_free(model);
}

static void check_verdicts(void) {
    check_verdict(TRACE_OFF_ASLEEP, IN_NANOSLEEP, 300,
                  "Its holder was asleep in nanosleep for 63.0 % of that time.");
    check_verdict(TRACE_OFF_PREEMPTED, IN_NONE, 300,
                  "Its holder was waiting for a CPU for 63.0 % of that time.");
    check_verdict(TRACE_OFF_ASLEEP, IN_FSYNC, 300, "Its holder was in fsync (I/O) for 63.0 % of that time.");
    check_verdict(TRACE_OFF_HELD, IN_MUNMAP, 300,
                  "Its holder was blocked in munmap for 63.0 % of that time.");
    check_verdict(TRACE_OFF_FAULT, IN_NONE, 300, "Its holder was in a page fault for 63.0 % of that time.");
    check_verdict(TRACE_OFF_IO, IN_NONE, 300, "Its holder was waiting for storage for 63.0 % of that time.");
    check_verdict(TRACE_OFF_ASLEEP, IN_FUTEX, 260, "For 40.0 % of that time nobody held it");
}

int main(void) {
    struct model *model = schedule_scene_open();
    if (!CHECK(model != NULL))
        return check_summary();
    CHECK_EQ_U64(model_info(model)->bad_rows, SCENE_BAD_ROWS);
    CHECK_EQ_U64(model_info(model)->stretches, 14 + 3 + 1);
    CHECK_EQ_U64(model_info(model)->stretches_lost, 1 + 2);
    CHECK_EQ_U64(model_info(model)->samples, 3);
    check_states(model);
    check_off_cpu(model);
    check_run_queue(model);
    check_wakers(model);
    check_holders(model);
    check_region(model);
    check_stacks(model);
    model_free(model);
    check_cut_short();
    check_verdicts();
    return check_summary();
}
