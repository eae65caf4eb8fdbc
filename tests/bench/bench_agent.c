/* SPDX-License-Identifier: MIT */
/*
 * An event, timed part by part: the clock is read and a record appended, between entering and leaving the
 * agent. The ring is emptied between batches.
 *
 *     bench_agent
 */
#include "tests/bench/bench_agent.h"

#define ROUNDS 101
#define BATCH 4000

static struct record_wait sample = {.key = 0x5000, .begin = 1, .end = 2, .stack = 3};
static volatile uint64_t sink;

static void clock_batch(struct thread_slot *slot) {
    (void)slot;
    for (int i = 0; i < BATCH; i++)
        sink = agent_ticks();
}

static void append_batch(struct thread_slot *slot) {
    for (int i = 0; i < BATCH; i++)
        agent_record_wait(slot, &sample);
}

static void wait_batch(struct thread_slot *slot) {
    for (int i = 0; i < BATCH; i++) {
        agent_busy_enter();
        sample.end = agent_ticks();
        agent_record_wait(slot, &sample);
        agent_busy_leave();
    }
}

static void release_batch(struct thread_slot *slot) {
    for (int i = 0; i < BATCH; i++) {
        agent_busy_enter();
        agent_record_release(slot, 0x5000, agent_ticks(), 0, 3, 0, 1);
        agent_busy_leave();
    }
}

static const struct part {
    const char *what;
    void (*batch)(struct thread_slot *slot);
    double goal; /* 0: none */
} PARTS[] = {
    {"the clock alone", clock_batch, 0},
    {"a wait record appended, no clock", append_batch, 0},
    {"an event (wait), clock included", wait_batch, 11},
    {"an event (release), clock included", release_batch, 11},
};
#define PART_COUNT (sizeof(PARTS) / sizeof(PARTS[0]))

static int parts_run(void) {
    struct thread_slot *slot = agent_thread.slot;
    static double values[PART_COUNT][ROUNDS];
    uint64_t lost = atomic_load_explicit(&slot->lost[LOSS_RING_FULL], memory_order_relaxed);
    for (int round = -1; round < ROUNDS; round++) { /* the first fills the ring's pages */
        for (size_t i = 0; i < PART_COUNT; i++) {
            double begin = bench_clock_ns(CLOCK_THREAD_CPUTIME_ID);
            PARTS[i].batch(slot);
            if (round >= 0)
                values[i][round] = (bench_clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin) / BATCH;
            bench_ring_empty(slot);
        }
    }
    printf("ns, %d rounds of %d in turn\n%-40s %8s %8s   %4s\n", ROUNDS, BATCH, "", "median", "least",
           "goal");
    for (size_t i = 0; i < PART_COUNT; i++) {
        qsort(values[i], ROUNDS, sizeof(double), bench_compare);
        printf("%-40s %8.2f %8.2f", PARTS[i].what, values[i][ROUNDS / 2], values[i][0]);
        printf(PARTS[i].goal > 0 ? "   %4.0f\n" : "      -\n", PARTS[i].goal);
    }
    if (atomic_load_explicit(&slot->lost[LOSS_RING_FULL], memory_order_relaxed) != lost)
        printf("records were lost: these figures are not of events written\n");
    return 0;
}

int main(int argc, char **argv) {
    return bench_agent_main(argc, argv, parts_run);
}
