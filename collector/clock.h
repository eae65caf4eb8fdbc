/* SPDX-License-Identifier: MIT */
/*
 * From clock ticks to CLOCK_MONOTONIC nanoseconds.
 *
 * The TSC and CLOCK_MONOTONIC are read as pairs, tens of milliseconds apart. Between pairs time is
 * a straight line from node to node; past the last one it goes on at the last slope. A node lies
 * where the line before it ended, not where it was measured, and the slope after it steers back to
 * the measurement by the next pair: so what was converted once never changes, and time never runs
 * backwards. Only a pair that is off by more than CLOCK_EPOCH_NS (suspend, a migrated virtual
 * machine) breaks the line and begins a new epoch.
 */
#ifndef WAITSCOPE_COLLECTOR_CLOCK_H
#define WAITSCOPE_COLLECTOR_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define CLOCK_PAIR_INTERVAL_NS 50000000ULL /* a pair is due this long after the last one */
#define CLOCK_EPOCH_NS 1000ULL
#define CLOCK_NODES 512U   /* thinned when full: old times keep a coarser line */
#define CLOCK_MEASURED 64U /* pairs that the rate is taken over */

struct clock_pair {
    uint64_t ticks, ns;
};

struct clock_node {
    uint64_t ticks, ns;
    double rate; /* ns per tick after this node */
    bool epoch;  /* begins an epoch: the line before it does not lead here */
};

struct clock {
    struct clock_node nodes[CLOCK_NODES];
    uint32_t node_count;
    struct clock_pair measured[CLOCK_MEASURED]; /* ring, of this epoch */
    uint32_t measured_count, measured_next;
    uint32_t epochs;
    uint64_t interval_ns; /* to the next pair: short at first, while the rate is coarse */
};

/* What one thread converted last: keeps equal order within a thread even where a line was thinned
 * or an epoch was late. Zero-filled to begin with. */
struct clock_guard {
    uint64_t ticks, ns;
};

/* The best of several readings of the TSC bracketed by CLOCK_MONOTONIC. */
struct clock_pair clock_pair_read(void);
uint64_t clock_now_ns(void);

/* Empties the clock and takes its first pairs; spins for about 2 ms. */
void clock_start(struct clock *clock);
/* Feeds a first pair and the rate, for tests and for a clock whose rate is known. */
void clock_begin(struct clock *clock, struct clock_pair pair, double rate);
/* Adds a measured pair. Pairs that do not move forward are ignored. */
void clock_pair_add(struct clock *clock, struct clock_pair pair);
/* Takes a pair if one is due at now. */
void clock_tick(struct clock *clock, uint64_t now);

/* Never later than now. guard may be NULL. */
uint64_t clock_convert(const struct clock *clock, uint64_t ticks, uint64_t now, struct clock_guard *guard);
/* A length of time in ticks, by the latest rate. Capped at UINT64_MAX / 2. */
uint64_t clock_length(const struct clock *clock, uint64_t ticks);

#endif
