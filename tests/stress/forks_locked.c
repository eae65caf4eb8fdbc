/* SPDX-License-Identifier: MIT */
/*
 * Thousands of forks while other threads hold locks and allocate, also under jemalloc, whose own locks are
 * hooked: nothing hangs, and the counts of parent and children are exact.
 */
#include "load.h"

struct found {
    uint64_t busy, child;                         /* addresses */
    uint64_t busy_taken, child_taken, child_less; /* child_less: children that did not take it three times */
    uint8_t kind[1U << 24];                       /* by lock id: 1 busy, 2 child */
};

static void found_block(void *context, const struct trace_reader_block *block) {
    struct found *found = context;
    for (uint32_t i = 0; i < block->row_count; i++) {
        if (block->kind == TRACE_LOCK) {
            const struct trace_lock *row = (const struct trace_lock *)block->rows + i;
            if (row->id < 1U << 24)
                found->kind[row->id] = row->address == found->busy ? 1 : row->address == found->child ? 2 : 0;
        } else if (block->kind == TRACE_COUNT) {
            const struct trace_count *row = (const struct trace_count *)block->rows + i;
            unsigned kind = row->lock < 1U << 24 ? found->kind[row->lock] : 0;
            found->busy_taken += kind == 1 ? row->acquisitions : 0;
            found->child_taken += kind == 2 ? row->acquisitions : 0;
            found->child_less += kind == 2 && row->acquisitions != 3;
        }
    }
}

static void forks_run(const char *what, const char *preload, unsigned long count) {
    static struct found found;
    char forks[24], taken[128];
    unsigned long long taken_busy = 0, busy = 0, child = 0;
    struct load_run run;
    struct load_trace trace;
    const char *path = load_file("trace");
    snprintf(forks, sizeof(forks), "%lu", count);
    if (!load_start(&run, path, preload ? (const char *const[]){preload, NULL} : NULL,
                    (const char *const[]){"forks", forks, NULL}))
        return;
    bool heard = load_hear(&run, "taken ", taken, sizeof(taken)) && load_hear(&run, "done", NULL, 0);
    CHECK_EQ_INT(load_wait(&run), 0);
    if (!heard || !CHECK(sscanf(taken, "%llu %llx %llx", &taken_busy, &busy, &child) == 3))
        return;
    memset(&found, 0, sizeof(found));
    found.busy = busy;
    found.child = child;
    if (!load_trace_read(path, &trace, found_block, &found))
        return;
    CHECK_EQ_U64(found.busy_taken, taken_busy);
    CHECK_EQ_U64(found.child_taken, 3 * count);
    CHECK_EQ_U64(found.child_less, 0);
    CHECK(trace.state == TRACE_COMPLETE && !trace.damaged);
    CHECK_EQ_U64(trace.rows[TRACE_PROCESS], count + 1);
    CHECK_EQ_U64(trace.rows[TRACE_PROCESS_END], count + 1);
    CHECK_EQ_U64(trace.emitted, trace.stored + trace.loss_total);
    load_trace_lossless(&trace);
    printf("%s: %lu forks, %llu processes in the trace, the parent took its lock %llu times\n", what, count,
           (unsigned long long)trace.rows[TRACE_PROCESS], taken_busy);
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
