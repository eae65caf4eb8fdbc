/* SPDX-License-Identifier: MIT */
/*
 * Ten thousand threads at once, each of which has waited once and is idle: what a thread costs in shared
 * memory and in the collector, and what they cost in time.
 */
#include "load.h"

#include "format/slab.h"

#define SLOT_BYTES_IDLE 8192U /* two pages: the slot's first and its ring's first */
#define SLOT_BYTES_MAIN                                                                                      \
    (SLOT_RING_OFFSET + RING_BYTES_DEFAULT) /* the main thread tells of every semaphore                      \
                                             */

static void crowd_run(const char *trace, const char *threads, struct load_best *best) {
    char figures[128];
    struct load_run run;
    if (!load_start(&run, trace, NULL, (const char *const[]){"crowd", threads, NULL}))
        return;
    double count = strtod(threads, NULL);
    for (int look = 0; look < 2; look++) {
        if (!load_hear(&run, look == 0 ? "born" : "idle", NULL, 0))
            break;
        if (trace) {
            struct load_descriptors had = load_descriptors(run.pid);
            printf(
                "%s: %.0f bytes of shared memory a thread in %llu slabs; collector %.0f bytes a thread, %llu "
                "descriptors\n",
                look == 0 ? "born, in their first wait" : "idle after a wait", (double)had.slab_bytes / count,
                (unsigned long long)had.slabs, (double)load_status_kib(run.pid, "RssAnon") * 1024 / count,
                (unsigned long long)had.count);
            CHECK(had.slab_bytes > 0);
            CHECK((double)had.slab_bytes <=
                  count * SLOT_BYTES_IDLE + SLOT_BYTES_MAIN + (double)had.slabs * SLAB_HEADER_BYTES);
        }
        load_go(&run);
    }
    if (load_hear(&run, "done", figures, sizeof(figures)))
        load_best_take(best, figures);
    CHECK_EQ_INT(load_wait(&run), 0);
}

int main(void) {
    char threads[24];
    struct load_best bare = {0}, recorded = {0};
    struct load_trace trace;
    unsigned long count = load_size(2000, 10000), rounds = load_size(1, 3);
    if (!load_begin())
        return check_summary();
    snprintf(threads, sizeof(threads), "%lu", count);
    for (unsigned long round = 0; round < rounds; round++) {
        crowd_run(NULL, threads, &bare);
        crowd_run(load_file("trace"), threads, &recorded);
        if (load_trace_read(load_file("trace"), &trace, NULL, NULL)) {
            CHECK(trace.state == TRACE_COMPLETE && !trace.damaged);
            CHECK_EQ_U64(trace.rows[TRACE_THREAD], count + 1);
            CHECK_EQ_U64(trace.rows[TRACE_THREAD_END], count + 1);
            CHECK_EQ_U64(trace.losses[LOSS_NO_SLOT], 0);
            CHECK_EQ_U64(trace.emitted, trace.stored + trace.loss_total);
        }
        unlink(load_file("trace"));
    }
    printf("%lu threads at once: %.0f ms bare, %.0f ms recorded: %.2f x; processor time %.2f x\n", count,
           bare.wall / 1e6, recorded.wall / 1e6, recorded.wall / bare.wall, recorded.cpu / bare.cpu);
    return load_end();
}
