/* SPDX-License-Identifier: MIT */
/* How long a lock was held: each thread's sample is scaled by its own counts, rows are added up first. */
#include "check.h"
#include "model_trace.h"

static const struct hold_case {
    const char *name;
    enum lock_class cls;
    struct {
        unsigned thread; /* 0 or 1 */
        struct trace_count count;
    } rows[4];
    uint64_t total;
    bool estimated;
} CASES[] = {
    {.name = "all timed",
     .cls = LOCK_CLASS_MUTEX,
     .rows =
         {{0, {.acquisitions = 3, .contended = 1, .hold_ns = 4, .hold_samples = 2, .contended_hold_ns = 10}}},
     .total = 14},
    {.name = "all timed, over several rows",
     .cls = LOCK_CLASS_MUTEX,
     .rows = {{0, {.acquisitions = 3, .contended = 1, .hold_ns = 4, .hold_samples = 1}},
              {0, {.acquisitions = 1, .hold_ns = 5, .hold_samples = 2, .contended_hold_ns = 10}}},
     .total = 19},
    /* Pooled it would be (16000 + 1600) / 32 * 320016. */
    {.name = "an auditor's long holds are not a teller's",
     .cls = LOCK_CLASS_MUTEX,
     .rows = {{0, {.acquisitions = 16, .hold_ns = 16000, .hold_samples = 16}},
              {1, {.acquisitions = 320000, .hold_ns = 1600, .hold_samples = 16}}},
     .total = 16000 + 32000000,
     .estimated = true},
    {.name = "waiting holds are not scaled",
     .cls = LOCK_CLASS_MUTEX,
     .rows = {{0,
               {.acquisitions = 110,
                .contended = 10,
                .hold_ns = 20,
                .hold_samples = 10,
                .contended_hold_ns = 5000}}},
     .total = 5200,
     .estimated = true},
    {.name = "no sample",
     .cls = LOCK_CLASS_SPIN,
     .rows = {{0, {.acquisitions = 10, .contended = 2, .contended_hold_ns = 70}},
              {1, {.acquisitions = 1, .hold_ns = 5, .hold_samples = 1}}},
     .total = 75,
     .estimated = true},
    {.name = "reading and writing are scaled apart",
     .cls = LOCK_CLASS_RWLOCK_WRITE,
     .rows = {{0, {.mode = LOCK_CLASS_RWLOCK_READ, .acquisitions = 100, .hold_ns = 10, .hold_samples = 10}},
              {0, {.mode = LOCK_CLASS_RWLOCK_WRITE, .acquisitions = 2, .hold_ns = 2000, .hold_samples = 2}}},
     .total = 2100,
     .estimated = true},
    {.name = "more timed than taken",
     .cls = LOCK_CLASS_MUTEX,
     .rows = {{0, {.acquisitions = 1, .contended = 9, .hold_ns = 30, .hold_samples = 3}}},
     .total = 30,
     .estimated = true},
};
#define CASE_COUNT (sizeof(CASES) / sizeof(CASES[0]))

int main(void) {
    struct model_trace trace;
    model_trace_begin(&trace);
    uint64_t process = model_trace_process(&trace, 7, 1000, 0, "prog");
    uint64_t threads[2];
    for (unsigned i = 0; i < 2; i++)
        threads[i] = model_trace_thread(&trace, process, 7 + i, 1000, 0, NULL);
    for (size_t i = 0; i < CASE_COUNT; i++) {
        uint64_t lock = model_trace_lock(&trace, process, CASES[i].cls, CASES[i].name, NULL, 0);
        for (size_t k = 0; k < 4; k++) {
            struct trace_count count = CASES[i].rows[k].count;
            count.lock = lock;
            count.mode = count.mode ? count.mode : CASES[i].cls;
            if (count.acquisitions > 0)
                model_trace_count(&trace, threads[CASES[i].rows[k].thread], &count);
        }
    }
    model_trace_end(&trace, 10 * MS);
    struct model *model = model_trace_open(&trace);
    if (!CHECK(model != NULL))
        return check_summary();
    for (size_t i = 0; i < CASE_COUNT; i++) {
        const struct model_lock *lock = model_lock_named(model, CASES[i].name);
        if (!CHECK(lock != NULL))
            continue;
        CHECK_EQ_U64(lock->hold_total, CASES[i].total);
        CHECK_EQ_INT(lock->hold_estimated, CASES[i].estimated);
    }
    model_free(model);
    return check_summary();
}
