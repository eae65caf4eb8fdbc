/* SPDX-License-Identifier: MIT */
/*
 * Thousands of forks while other threads hold locks and allocate, also under jemalloc, whose own locks are
 * hooked: nothing hangs, and the counts of parent and children are exact.
 */
#include "load.h"

static void forks_run(const char *what, const char *preload, unsigned long count) {
    char forks[24], taken[64];
    struct load_run run;
    struct load_trace trace;
    const char *path = load_file("trace");
    snprintf(forks, sizeof(forks), "%lu", count);
    if (!load_start(&run, path, preload ? (const char *const[]){preload, NULL} : NULL,
                    (const char *const[]){"forks", forks, NULL}))
        return;
    bool heard = load_hear(&run, "taken ", taken, sizeof(taken)) && load_hear(&run, "done", NULL, 0);
    CHECK_EQ_INT(load_wait(&run), 0);
    if (!heard || !load_trace_read(path, &trace, NULL, NULL))
        return;
    CHECK(trace.state == TRACE_COMPLETE && !trace.damaged);
    CHECK_EQ_U64(trace.rows[TRACE_PROCESS], count + 1);
    CHECK_EQ_U64(trace.rows[TRACE_PROCESS_END], count + 1);
    CHECK_EQ_U64(trace.emitted, trace.stored + trace.loss_total);
    load_trace_lossless(&trace);
    printf("%s: %lu forks, %llu processes in the trace, the parent took its lock %llu times\n", what, count,
           (unsigned long long)trace.rows[TRACE_PROCESS], strtoull(taken, NULL, 10));
    unlink(path);
}

int main(void) {
    unsigned long count = load_size(200, 10000);
    if (!load_begin())
        return check_summary();
    forks_run("libc's malloc", NULL, count);
    forks_run("jemalloc", "LD_PRELOAD=" JEMALLOC, count);
    return load_end();
}
