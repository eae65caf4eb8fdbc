/* SPDX-License-Identifier: MIT */
/* Every number of a small recording, worked out by hand from model_scene.h. */
#include "check.h"
#include "model_scene.h"

static void check_locks(const struct model *model) {
    uint32_t count;
    const struct model_lock *locks = model_locks(model, &count);
    CHECK_EQ_INT(count, 5);
    const struct model_lock *lock = &locks[0];
    CHECK_STR(lock->name, "ledger_lock");
    CHECK_STR(lock->file, "/src/bank/ledger.c");
    CHECK_EQ_INT(lock->line, 12);
    CHECK_EQ_U64(lock->acquisitions, 35);
    CHECK_EQ_U64(lock->contended, 2);
    CHECK_EQ_U64(lock->wait_total, 220 * MS);
    CHECK_EQ_U64(lock->wait_maximum, 100 * MS);
    CHECK_EQ_U64(lock->wait_p50, 100 * MS);
    CHECK_EQ_U64(lock->wait_p99, 100 * MS);
    CHECK_EQ_U64(lock->wait_count, 3);
    CHECK_EQ_U64(lock->wait_counted, 200 * MS);
    CHECK_EQ_U64(lock->wait_idle, 0);
    /* main: all 10 timed. teller-1: 50 ms, and 2 ms in 2 of the 19 that did not wait. teller-2: 30 ms,
     * and 4 that are not known. */
    CHECK_EQ_U64(lock->hold_total, 160 * MS + 50 * MS + 19 * MS + 30 * MS);
    CHECK(lock->hold_estimated);
    CHECK_EQ_U64(lock->hold_maximum, 150 * MS);
    CHECK_EQ_INT(lock->waiter_count, 1); /* two stacks of equal frames, one with the agent in it */
    CHECK_STR(model_site_function(model, &lock->waiters[0]), "deposit");
    CHECK_EQ_U64(lock->waiters[0].ns, 220 * MS);
    CHECK_EQ_U64(lock->waiters[0].count, 3);
    /* main until 400: 100 + 50 ms; teller-1 until 450: 50 ms; nobody known for the last 20. */
    CHECK_EQ_INT(lock->holder_count, 3);
    CHECK_STR(model_site_function(model, &lock->holders[0]), "audit");
    CHECK_EQ_U64(lock->holders[0].ns, 150 * MS);
    CHECK_EQ_U64(lock->holders[0].count, 2);
    CHECK_STR(model_site_function(model, &lock->holders[1]), "deposit");
    CHECK_EQ_U64(lock->holders[1].ns, 50 * MS);
    CHECK_STR(model_site_function(model, &lock->holders[2]), "[holder unknown]");
    CHECK_EQ_U64(lock->holders[2].ns, 20 * MS);

    lock = &locks[1];
    CHECK_STR(lock->name, "table.lock");
    CHECK_EQ_U64(lock->acquisitions, 5);
    CHECK_EQ_U64(lock->read_acquisitions, 4);
    CHECK_EQ_U64(lock->read_contended, 1);
    CHECK_EQ_U64(lock->hold_total, 5 * MS);
    CHECK(!lock->hold_estimated);
    uint32_t stack_count;
    const struct model_stack *stack = &model_stacks(model, &stack_count)[lock->waiters[0].stack];
    CHECK_EQ_INT(stack->frame_count, 5);
    CHECK_STR(stack->frames[0]->function, "bank+0x70");
    CHECK_STR(stack->frames[1]->function, "na\xef\xbf\xbdme\xef\xbf\xbd[31m");

    lock = &locks[2];
    CHECK_STR(lock->name, "pool.work");
    CHECK(lock->idle && lock->event);
    CHECK_EQ_U64(lock->wait_total, 490 * MS + 290 * MS);
    CHECK_EQ_U64(lock->open_count, 1);
    CHECK_EQ_INT(lock->holder_count, 2);
    CHECK_STR(model_site_function(model, &lock->holders[0]), "audit");

    CHECK_EQ_INT(locks[3].cls, LOCK_CLASS_JOIN);
    CHECK(locks[3].idle);
    CHECK_STR(locks[4].name, "mutex from main");
    CHECK_EQ_INT(locks[4].line, 30);
    CHECK_EQ_U64(locks[4].acquisitions, 1234567);
}

static void check_threads(const struct model *model) {
    static const struct {
        uint32_t tid;
        const char *name, *role;
        uint64_t states[MODEL_STATE_COUNT];
    } WANTED[] = {
        {100, "main", "main", {0, 0, 10 * MS, 0, 100 * MS, 1000 * MS - 1000 - 110 * MS}},
        {101, "teller-1", "teller", {250 * MS, 0, 100 * MS, 0, 0, 450 * MS}},
        {102, "teller-2", "teller", {680 * MS, 0, 120 * MS, 0, 0, 0}}, /* CPU time past its life is cut */
        {103, "pool_main", "pool_main", {0, 0, 0, 0, 780 * MS, 20 * MS}},
    };
    for (size_t i = 0; i < sizeof(WANTED) / sizeof(WANTED[0]); i++) {
        const struct model_thread *thread = model_thread_with_tid(model, WANTED[i].tid);
        if (!CHECK(thread != NULL))
            continue;
        uint64_t sum = 0;
        CHECK_STR(thread->name, WANTED[i].name);
        CHECK_STR(thread->role, WANTED[i].role);
        for (unsigned state = 0; state < MODEL_STATE_COUNT; state++) {
            CHECK_EQ_U64(thread->states_ns[state], WANTED[i].states[state]);
            sum += thread->states_ns[state];
        }
        CHECK_EQ_U64(sum, thread->end - thread->start);
    }
    CHECK_EQ_U64(model_thread_with_tid(model, 101)->lost, 3);
}

static void check_run(const struct model *model) {
    const struct model_info *info = model_info(model);
    uint32_t count;
    const char *value = NULL;
    CHECK_EQ_INT(info->state, TRACE_COMPLETE);
    CHECK_EQ_U64(info->begin, 1000);
    CHECK_EQ_U64(info->end, 1000 * MS);
    CHECK_EQ_U64(info->bad_rows, 2);
    CHECK_EQ_U64(info->events, 9);
    CHECK_EQ_U64(model_loss(model)->dropped[LOSS_RING_FULL], 3);
    CHECK_EQ_U64(model_cost(model)->agent_ns, 200000);
    CHECK_EQ_U64(model_cost(model)->target_cpu_ns, 2500 * MS);
    CHECK_EQ_INT(model_target(model), 0);
    CHECK_EQ_INT(model_processes(model, &count)[0].value, 3);
    CHECK_STR(model_environment(model, 0, &value), "kernel");
    CHECK_STR(value, "6.1.0-test");
    CHECK_STR(model_environment(model, 1, &value), NULL);
    char verdict[512], shorter[20];
    model_verdict(model, verdict, sizeof(verdict));
    CHECK_STR(verdict,
              "ledger_lock (ledger.c:12) is waited for most: 220 ms in 3 waits, 95.7 % of all lock waiting. "
              "2 threads wait, teller-2 longest (54.5 %), in deposit (ledger.c:42). Mostly main holds it, "
              "released in audit (ledger.c:77). A hold takes 7.4 ms on average, 150 ms at most.");
    model_verdict(model, shorter, sizeof(shorter));
    CHECK_STR(shorter, "ledger_lock (ledger");
    const struct model_wait *waits = model_waits(model, &count);
    for (uint32_t i = 1; i < count; i++)
        CHECK(waits[i - 1].begin <= waits[i].begin);
}

/* Two threads that hold what the other one wants: seen from snapshots alone. */
static void check_deadlock(uint64_t since, const char *expected) {
    struct model_trace trace;
    char verdict[512];
    model_trace_begin(&trace);
    uint64_t process = model_trace_process(&trace, 7, 1000, 0, "stuck");
    uint64_t left = model_trace_thread(&trace, process, 8, 1000, 0, "left");
    uint64_t right = model_trace_thread(&trace, process, 9, 1000, 0, "right");
    uint64_t a = model_trace_lock(&trace, process, LOCK_CLASS_MUTEX, "a", "x.c", 1);
    uint64_t b = model_trace_lock(&trace, process, LOCK_CLASS_MUTEX, "b", "x.c", 2);
    uint64_t module = model_trace_module(&trace, process, "/bin/stuck");
    uint64_t take = model_trace_location(&trace, process, module, "take", "x.c", 20);
    uint64_t go = model_trace_location(&trace, process, module, "go", "x.c", 30);
    uint64_t stack = MODEL_TRACE_STACK(&trace, take, go);
    struct trace_snapshot waits[] = {
        {.time = 950 * MS,
         .thread = left,
         .lock = b,
         .since = 100 * MS,
         .owner = right,
         .stack = stack,
         .owner_site = go,
         .mode = LOCK_CLASS_MUTEX},
        {.time = 950 * MS, .thread = right, .lock = a, .since = since, .owner = left}};
    model_trace_row(&trace, TRACE_SNAPSHOT, 0, &waits[0]);
    model_trace_row(&trace, TRACE_SNAPSHOT, 0, &waits[1]);
    model_trace_end(&trace, 1000 * MS);
    struct model *model = model_trace_open(&trace);
    model_verdict(model, verdict, sizeof(verdict));
    CHECK_STR(verdict, expected);
    uint32_t count;
    const struct model_wait *wait = model_waits(model, &count);
    CHECK_EQ_INT(count, 2);
    CHECK_EQ_INT(wait->flags, MODEL_WAIT_OPEN);
    CHECK_EQ_INT(wait->mode, LOCK_CLASS_MUTEX);
    CHECK_STR(model_stacks(model, &count)[wait->stack].frames[0]->function, "take");
    CHECK_STR(model_stacks(model, &count)[wait->owner_site].frames[0]->function, "go");
    CHECK_EQ_U64(model_lock_named(model, "b")->wait_total, 900 * MS);
    CHECK_STR(model_site_function(model, &model_lock_named(model, "b")->holders[0]), "[still held by right]");
    CHECK_EQ_U64(model_thread_with_tid(model, 8)->states_ns[MODEL_LOCK_WAIT], 900 * MS);
    model_free(model);
}

static void check_nothing(void) {
    struct model_trace trace;
    char verdict[512];
    model_trace_begin(&trace);
    uint64_t process = model_trace_process(&trace, 7, 1000, 0, "calm");
    uint64_t thread = model_trace_thread(&trace, process, 7, 1000, 0, NULL);
    for (unsigned i = 0; i < 12; i++) {
        uint64_t lock = model_trace_lock(&trace, process, LOCK_CLASS_MUTEX, NULL, NULL, 0);
        MODEL_TRACE_COUNT(&trace, thread, .lock = lock, .mode = LOCK_CLASS_MUTEX, .acquisitions = 1000);
    }
    model_trace_end(&trace, 1000 * MS);
    struct model *model = model_trace_open(&trace);
    model_verdict(model, verdict, sizeof(verdict));
    CHECK_STR(verdict, "No thread waited for a lock: 12 locks were taken 12 000 times without contention.");
    model_free(model);

    model_trace_begin(&trace);
    model = model_trace_open(&trace);
    model_verdict(model, verdict, sizeof(verdict));
    CHECK_STR(verdict, "Nothing was recorded: no thread reported.");
    CHECK_EQ_INT(model_target(model), MODEL_NONE);
    model_free(model);
}

static void check_failures(void) {
    struct model *model = NULL;
    char why[128] = "";
    CHECK_EQ_INT(model_open("/nonexistent/trace", &model, why, sizeof(why)), -2);
    CHECK_STR(why, "cannot be opened: No such file or directory");
    CHECK_EQ_INT(model_open("/proc/self/exe", &model, why, sizeof(why)), -8);
    CHECK_STR(why, "not a waitscope trace");
    CHECK(model == NULL);
}

int main(void) {
    struct model *model = model_scene_open();
    if (!CHECK(model != NULL))
        return check_summary();
    check_locks(model);
    check_threads(model);
    check_run(model);
    model_free(model);
    check_deadlock(300 * MS,
                   "Deadlock suspected: left waits in take (x.c:20) for b (x.c:2), which right took in go "
                   "(x.c:30); and right waits for a (x.c:1), which left took.");
    check_deadlock(900 * MS,
                   "b (x.c:2) is waited for most: 900 ms in 1 wait, 90.0 % of all lock waiting. Only left "
                   "waits, in take (x.c:20). right still held it at the end.");
    check_nothing();
    check_failures();
    return check_summary();
}
