/* SPDX-License-Identifier: MIT */
/* Ticks to nanoseconds: accuracy against known clocks and the real one, order, epochs. */
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "check.h"
#include "collector/clock.h"

static uint64_t difference(uint64_t a, uint64_t b) {
    return a > b ? a - b : b - a;
}

/* A clock of a known rate whose pairs are measured with an error of up to 30 ns. */
static void known_rate(void) {
    struct clock *clock = calloc(1, sizeof(*clock));
    const double rate = 0.3846153; /* 2.6 GHz */
    uint64_t ticks = 1000000000ULL, ns = 5000000000ULL, worst = 0;
    clock_begin(clock, (struct clock_pair){ticks, ns}, rate * 1.000015);
    for (int i = 1; i <= 2000; i++) {
        uint64_t at = ticks + (uint64_t)i * 130000000ULL;
        uint64_t true_ns = ns + (uint64_t)((double)(at - ticks) * rate);
        clock_pair_add(clock, (struct clock_pair){at, true_ns + (uint64_t)(rand() % 31)});
        /* Ahead of the last pair, and back through the last seconds. */
        for (int n = 0; n < 20; n++) {
            uint64_t query = at + 130000000ULL - (uint64_t)(rand() % 1000) * 400000ULL;
            if (query < ticks + 1000000000ULL)
                continue;
            uint64_t expected = ns + (uint64_t)((double)(query - ticks) * rate);
            uint64_t off = difference(clock_convert(clock, query, UINT64_MAX, NULL), expected);
            if (off > worst)
                worst = off;
        }
    }
    printf("known rate: worst error %llu ns\n", (unsigned long long)worst);
    CHECK(worst < 200);
    CHECK_EQ_INT(clock->epochs, 1);
    CHECK(clock->node_count <= CLOCK_NODES);
    /* Long ago, where the line has been thinned. */
    uint64_t early = ticks + 130000000ULL * 7 + 12345;
    CHECK(difference(clock_convert(clock, early, UINT64_MAX, NULL),
                     ns + (uint64_t)((double)(early - ticks) * rate)) < 1000);
    free(clock);
}

static void epochs_and_order(void) {
    struct clock *clock = calloc(1, sizeof(*clock));
    clock_begin(clock, (struct clock_pair){1000000, 1000000}, 1.0);
    uint64_t jump = 0;
    for (uint64_t i = 1; i <= 400; i++) {
        if (i == 100)
            jump = 5000000000ULL; /* suspended: CLOCK_MONOTONIC stood still, the TSC did not */
        clock_pair_add(clock, (struct clock_pair){1000000 + i * 50000000 + jump, 1000000 + i * 50000000});
    }
    CHECK_EQ_INT(clock->epochs, 2);
    uint64_t now = 1000000 + 400ULL * 50000000, last = 0;
    bool ordered = true;
    struct clock_guard guard = {0};
    for (uint64_t ticks = 1000000; ticks < 30000000000ULL; ticks += 7654321) {
        uint64_t ns = clock_convert(clock, ticks, now, &guard);
        ordered = ordered && ns >= last && ns <= now;
        last = ns;
    }
    CHECK(ordered);
    /* Hostile ticks. */
    CHECK_EQ_U64(clock_convert(clock, UINT64_MAX, now, NULL), now);
    CHECK_EQ_U64(clock_convert(clock, 0, now, NULL), 0);
    CHECK(clock_length(clock, UINT64_MAX) <= UINT64_MAX / 2);
    /* A pair that goes back is not believed. */
    uint32_t nodes = clock->node_count;
    clock_pair_add(clock, (struct clock_pair){5, 5});
    CHECK_EQ_INT(clock->node_count, nodes);
    free(clock);
}

/* Random order within a thread: a guard keeps what it has said. */
static void guard_order(void) {
    struct clock clock;
    clock_begin(&clock, (struct clock_pair){1000, 1000}, 1.0);
    struct clock_guard guard = {0};
    uint64_t high = clock_convert(&clock, 5000, 4000, &guard);
    CHECK_EQ_U64(high, 4000);
    CHECK(clock_convert(&clock, 4500, 9000, &guard) <= high);
    CHECK(clock_convert(&clock, 5001, 9000, &guard) >= high);
}

static void real_clock(void) {
    struct clock *clock = calloc(1, sizeof(*clock));
    clock_start(clock);
    uint64_t worst = 0;
    int outside = 0;
    for (int i = 0; i < 300; i++) {
        clock_tick(clock, clock_now_ns());
        uint64_t before = clock_now_ns();
        uint64_t ticks = __rdtsc();
        uint64_t after = clock_now_ns();
        uint64_t ns = clock_convert(clock, ticks, UINT64_MAX, NULL);
        /* A wide bracket was interrupted: it says nothing. */
        if (after - before < 2000) {
            uint64_t off = ns < before ? before - ns : ns > after ? ns - after : 0;
            if (off > worst)
                worst = off;
            outside += off > 1000;
        }
        usleep(2000);
    }
    printf("real clock: worst error %llu ns, %u epochs, %u nodes\n", (unsigned long long)worst, clock->epochs,
           clock->node_count);
    CHECK(outside <= 3);
    CHECK(clock->epochs <= 3);
    free(clock);
}

int main(void) {
    known_rate();
    epochs_and_order();
    guard_order();
    real_clock();
    return check_summary();
}
