/* SPDX-License-Identifier: MIT */
/*
 * A hundred thousand threads made and ended: memory and descriptors of agent and collector stay as they
 * were after the first tenth, and every thread is in the trace.
 */
#include "load.h"

struct churn_look {
    struct load_descriptors descriptors;
    uint64_t rss_kib;
};

#define BATCH "16"
#define SLABS_BYTES (48U << 20)
#define COLLECTOR_KIB (96U << 10) /* rows in buffers, 32 MiB at most, among it */

static void churn_run(const char *trace, const char *threads, struct load_best *best,
                      struct churn_look looks[2]) {
    char figures[128];
    struct load_run run;
    if (!load_start(&run, trace, NULL, (const char *const[]){"churn", threads, BATCH, NULL}))
        return;
    for (int i = 0; i < 2; i++) {
        if (!load_hear(&run, i == 0 ? "early" : "late", NULL, 0))
            break;
        looks[i].descriptors = load_descriptors(run.pid);
        looks[i].rss_kib = load_status_kib(run.pid, "RssAnon");
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
    struct churn_look looks[2] = {0};
    unsigned long count = load_size(10000, 100000), rounds = load_size(1, 3);
    if (!load_begin())
        return check_summary();
    snprintf(threads, sizeof(threads), "%lu", count);
    for (unsigned long round = 0; round < rounds; round++) {
        churn_run(NULL, threads, &bare, looks);
        churn_run(load_file("trace"), threads, &recorded, looks);
        for (int i = 0; i < 2; i++)
            printf("after %s: %llu slabs, %.1f MiB of shared memory; collector %.1f MiB, %llu descriptors\n",
                   i == 0 ? "a tenth" : "all", (unsigned long long)looks[i].descriptors.slabs,
                   (double)looks[i].descriptors.slab_bytes / 1048576, (double)looks[i].rss_kib / 1024,
                   (unsigned long long)looks[i].descriptors.count);
        /* Without reuse it would be 8 KiB for each. A collector that is kept waiting finds more slots in use.
         */
        CHECK(looks[1].descriptors.slabs > 0 && looks[1].descriptors.slab_bytes <= SLABS_BYTES);
        CHECK(looks[1].rss_kib <= COLLECTOR_KIB);
        if (load_trace_read(load_file("trace"), &trace, NULL, NULL)) {
            CHECK(trace.state == TRACE_COMPLETE && !trace.damaged);
            CHECK_EQ_U64(trace.rows[TRACE_THREAD], count + 1);
            CHECK_EQ_U64(trace.rows[TRACE_THREAD_END], count + 1);
            CHECK_EQ_U64(trace.acquisitions, 2 * count); /* the lock, and the join */
            CHECK_EQ_U64(trace.emitted, trace.stored + trace.loss_total);
            load_trace_lossless(&trace);
        }
        unlink(load_file("trace"));
    }
    printf("%lu threads made and ended: %.0f ms bare, %.0f ms recorded: %.2f x; processor time %.2f x\n",
           count, bare.wall / 1e6, recorded.wall / 1e6, recorded.wall / bare.wall, recorded.cpu / bare.cpu);
    return load_end();
}
