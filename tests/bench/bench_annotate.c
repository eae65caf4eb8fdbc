/* SPDX-License-Identifier: MIT */
/*
 * What include/waitscope.h costs a program: a marked region, begin and end, without an agent and with one.
 * Batches of a bare loop and of the loop with a region in turn; the difference is told. With the agent each
 * batch fits into the ring, and a pause lets it be drained.
 *
 *     bench_annotate
 */
#include "tests/bench/bench.h"

#include "include/waitscope.h"

#define ROUNDS 61
#define BATCH 4000
#define DRAIN_US 10000

static double loop_ns(bool regions) {
    double begin = bench_clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (int i = 0; i < BATCH; i++) {
        if (regions)
            waitscope_region_begin("a request");
        __asm__ volatile("" ::: "memory");
        if (regions)
            waitscope_region_end();
    }
    return (bench_clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin) / BATCH;
}

static void region_measure(const char *what) {
    static double bare[ROUNDS], marked[ROUNDS];
    for (int round = -1; round < ROUNDS; round++) { /* the first fills the ring's pages */
        double without = loop_ns(false), with = loop_ns(true);
        if (round >= 0) {
            bare[round] = without;
            marked[round] = with - without;
        }
        usleep(DRAIN_US);
    }
    double median = bench_median(marked, ROUNDS);
    printf("%-28s %8.2f %8.2f   (empty loop %.2f)\n", what, median, marked[0], bench_median(bare, ROUNDS));
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--recorded") == 0) {
        region_measure("with the agent");
        return 0;
    }
    printf("ns a region, begin and end, %d rounds of %d\n%-28s %8s %8s\n", ROUNDS, BATCH, "", "median",
           "least");
    region_measure("without an agent");
    return bench_record_end(bench_record_start(NULL, "--recorded", "", -1));
}
