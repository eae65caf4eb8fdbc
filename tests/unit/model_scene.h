/* SPDX-License-Identifier: MIT */
/*
 * One small recording with a bit of everything, whose numbers can be worked out by hand: a program
 * "bank" with main, two tellers that fight for ledger_lock, and a pool worker without work.
 * Times in ms: recorded from 0.001 to 1000.
 */
#ifndef WAITSCOPE_TESTS_UNIT_MODEL_SCENE_H
#define WAITSCOPE_TESTS_UNIT_MODEL_SCENE_H

#include "model_trace.h"

static inline struct model *model_scene_open(void) {
    struct model_trace scene, *trace = &scene;
    model_trace_begin(trace);
    struct trace_environment kernel = {.key = model_trace_text(trace, "kernel"),
                                       .value = model_trace_text(trace, "6.1.0-test")};
    model_trace_row(trace, TRACE_ENVIRONMENT, 0, &kernel);
    uint64_t process = model_trace_process(trace, 100, 1000, 0, "./bank --tellers 2");
    uint64_t bank = model_trace_module(trace, process, "/usr/bin/bank");
    uint64_t libc = model_trace_module(trace, process, "/lib/x86_64-linux-gnu/libc.so.6");
    uint64_t agent = model_trace_module(trace, process, "/opt/lib/libwaitscope-agent.so");

    uint64_t deposit = model_trace_location(trace, process, bank, "deposit", "/src/bank/ledger.c", 42);
    uint64_t audit = model_trace_location(trace, process, bank, "audit", "/src/bank/ledger.c", 77);
    uint64_t teller = model_trace_location(trace, process, bank, "teller", "/src/bank/teller.c", 12);
    uint64_t in_main = model_trace_location(trace, process, bank, "main", "/src/bank/main.c", 30);
    uint64_t take_work = model_trace_location(trace, process, bank, "take_work", "/src/bank/pool.c", 9);
    uint64_t pool_main = model_trace_location(trace, process, bank, "pool_main", "/src/bank/pool.c", 20);
    uint64_t nameless = model_trace_location(trace, process, bank, NULL, NULL, 0);
    uint64_t hook = model_trace_location(trace, process, agent, "agent_hook", NULL, 0);
    uint64_t started = model_trace_location(trace, process, libc, "start_thread", NULL, 0);
    uint64_t cloned = model_trace_location(trace, process, libc, "__clone3", NULL, 0);
    uint64_t libc_main = model_trace_location(trace, process, libc, "__libc_start_call_main", NULL, 0);
    uint64_t bad_utf8 = model_trace_location(trace, process, bank, "na\xffme\x1b[31m", NULL, 0);

    uint64_t depositing = MODEL_TRACE_STACK(trace, hook, deposit, teller, started, cloned);
    uint64_t depositing_again = MODEL_TRACE_STACK(trace, deposit, teller, started, cloned); /* equal frames */
    uint64_t auditing = MODEL_TRACE_STACK(trace, audit, in_main, libc_main);
    uint64_t idling = MODEL_TRACE_STACK(trace, take_work, pool_main, started, cloned);
    uint64_t odd = MODEL_TRACE_STACK(trace, nameless, bad_utf8, audit, in_main, libc_main);
    uint64_t joining = MODEL_TRACE_STACK(trace, in_main, libc_main);

    uint64_t main_thread = model_trace_thread(trace, process, 100, 1000, 0, NULL);
    uint64_t teller1 = model_trace_thread(trace, process, 101, 100 * MS, teller, "teller-1");
    uint64_t teller2 = model_trace_thread(trace, process, 102, 100 * MS, teller, "teller-2");
    uint64_t worker = model_trace_thread(trace, process, 103, 200 * MS, pool_main, NULL);

    uint64_t ledger =
        model_trace_lock(trace, process, LOCK_CLASS_MUTEX, "ledger_lock", "/src/bank/ledger.c", 12);
    uint64_t table = model_trace_lock(trace, process, LOCK_CLASS_RWLOCK_WRITE, "table.lock", NULL, 0);
    uint64_t work = model_trace_lock(trace, process, LOCK_CLASS_CONDITION, "pool.work", NULL, 0);
    uint64_t join = model_trace_lock(trace, process, LOCK_CLASS_JOIN, NULL, NULL, 0);
    struct trace_lock quiet = {.id = ++trace->locks,
                               .process = process,
                               .address = 0x5000,
                               .cls = LOCK_CLASS_MUTEX,
                               .init_stack = joining};
    model_trace_row(trace, TRACE_LOCK, 0, &quiet);

    /* teller-1 waits 300-400 ms, teller-2 350-450 and 500-520, all for the ledger. */
    MODEL_TRACE_WAIT(trace, teller1, .begin = 300 * MS, .duration = 100 * MS, .lock = ledger,
                     .mode = LOCK_CLASS_MUTEX, .stack = depositing, .owner = main_thread,
                     .owner_site = audit);
    MODEL_TRACE_WAIT(trace, teller2, .begin = 350 * MS, .duration = 100 * MS, .lock = ledger,
                     .mode = LOCK_CLASS_MUTEX, .stack = depositing_again, .owner = main_thread);
    MODEL_TRACE_WAIT(trace, teller2, .begin = 500 * MS, .duration = 20 * MS, .lock = ledger,
                     .mode = LOCK_CLASS_MUTEX, .stack = depositing, .flags = WAIT_TIMED | WAIT_TIMED_OUT);
    MODEL_TRACE_RELEASE(trace, main_thread, .time = 400 * MS, .held = 150 * MS, .lock = ledger,
                        .mode = LOCK_CLASS_MUTEX, .stack = auditing, .waiters = 2);
    MODEL_TRACE_RELEASE(trace, teller1, .time = 450 * MS, .held = 50 * MS, .lock = ledger,
                        .mode = LOCK_CLASS_MUTEX, .stack = depositing, .waiters = 1);
    MODEL_TRACE_COUNT(trace, main_thread, .lock = ledger, .mode = LOCK_CLASS_MUTEX, .acquisitions = 10,
                      .hold_ns = 160 * MS, .hold_samples = 10, .hold_maximum = 150 * MS);
    MODEL_TRACE_COUNT(trace, teller1, .lock = ledger, .mode = LOCK_CLASS_MUTEX, .acquisitions = 20,
                      .contended = 1, .hold_ns = 2 * MS, .hold_samples = 2, .hold_maximum = 50 * MS,
                      .wait_ns = 100 * MS, .contended_hold_ns = 50 * MS);
    MODEL_TRACE_COUNT(trace, teller2, .lock = ledger, .mode = LOCK_CLASS_MUTEX, .acquisitions = 5,
                      .contended = 1, .wait_ns = 100 * MS, .contended_hold_ns = 30 * MS);

    /* The rwlock: a reader waits 10 ms from an odd stack. Held times are exact. */
    MODEL_TRACE_WAIT(trace, main_thread, .begin = 600 * MS, .duration = 10 * MS, .lock = table,
                     .mode = LOCK_CLASS_RWLOCK_READ, .stack = odd);
    MODEL_TRACE_COUNT(trace, main_thread, .lock = table, .mode = LOCK_CLASS_RWLOCK_READ, .acquisitions = 4,
                      .contended = 1, .hold_ns = 3 * MS, .hold_samples = 3, .hold_maximum = 2 * MS,
                      .wait_ns = 10 * MS, .contended_hold_ns = 1 * MS);
    MODEL_TRACE_COUNT(trace, teller1, .lock = table, .mode = LOCK_CLASS_RWLOCK_WRITE, .acquisitions = 1,
                      .hold_ns = 1 * MS, .hold_samples = 1, .hold_maximum = 1 * MS);

    /* The worker idles from 210 to 700; its next wait has not ended. Main joins. */
    MODEL_TRACE_WAIT(trace, worker, .begin = 210 * MS, .duration = 490 * MS, .lock = work,
                     .mode = LOCK_CLASS_CONDITION, .stack = idling, .mutex = quiet.id);
    MODEL_TRACE_RELEASE(trace, main_thread, .time = 699 * MS, .lock = work, .mode = LOCK_CLASS_CONDITION,
                        .stack = auditing, .flags = 0, .waiters = 1);
    struct trace_snapshot open = {.time = 990 * MS, .thread = worker, .lock = work, .since = 710 * MS};
    model_trace_row(trace, TRACE_SNAPSHOT, 0, &open);
    MODEL_TRACE_WAIT(trace, main_thread, .begin = 800 * MS, .duration = 100 * MS, .lock = join,
                     .mode = LOCK_CLASS_JOIN, .stack = joining);
    MODEL_TRACE_COUNT(trace, main_thread, .lock = quiet.id, .mode = LOCK_CLASS_MUTEX,
                      .acquisitions = 1234567);

    /* The tellers mark what they do: teller-1 a day with one transfer in it, teller-2 three transfers. */
    uint64_t day = model_trace_text(trace, "day"), transfer = model_trace_text(trace, "transfer");
    MODEL_TRACE_REGION(trace, teller1, .begin = 290 * MS, .duration = 120 * MS, .name = transfer, .depth = 1);
    MODEL_TRACE_REGION(trace, teller1, .begin = 150 * MS, .duration = 600 * MS, .name = day, .flags = 1);
    MODEL_TRACE_REGION(trace, teller2, .begin = 200 * MS, .duration = 10 * MS, .name = transfer);
    MODEL_TRACE_REGION(trace, teller2, .begin = 400 * MS, .duration = 110 * MS, .name = transfer);
    MODEL_TRACE_REGION(trace, teller2, .begin = 510 * MS, .duration = 20 * MS, .name = transfer);

    /* Rows that make no sense: an unknown thread, an end past the end of time. */
    MODEL_TRACE_WAIT(trace, 99, .begin = 1, .duration = 1, .lock = ledger);
    MODEL_TRACE_WAIT(trace, teller1, .begin = 2, .duration = UINT64_MAX, .lock = ledger);

    struct trace_loss loss = {
        .time = 500 * MS, .process = process, .thread = teller1, .reason = LOSS_RING_FULL, .count = 3};
    model_trace_row(trace, TRACE_LOSS, 0, &loss);
    struct trace_cost cost = {
        .thread = teller1, .emitted = 50, .slow_paths = 100, .cost_samples = 10, .cost_ns = 20000};
    model_trace_row(trace, TRACE_COST, 0, &cost);
    model_trace_thread_end(trace, teller1, 900 * MS, 250 * MS);
    model_trace_thread_end(trace, teller2, 900 * MS, 2000 * MS);
    struct trace_process_end end = {
        .process = process, .time = 1000 * MS, .exit = TRACE_EXIT_CODE, .value = 3, .cpu_ns = 2500 * MS};
    model_trace_row(trace, TRACE_PROCESS_END, 0, &end);
    struct trace_end all = {.time = 1000 * MS, .emitted = 1000, .stored = 997, .collector_cpu_ns = 5 * MS};
    model_trace_row(trace, TRACE_END, 0, &all);
    return model_trace_open(trace);
}

#endif
