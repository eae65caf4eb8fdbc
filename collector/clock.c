/* SPDX-License-Identifier: MIT */
#include "collector/clock.h"

#include <string.h>
#include <time.h>
#include <x86intrin.h>

#define BRACKETS 24U
#define START_SPIN_NS 2000000ULL
#define STEER_NS 100000000.0 /* an error is steered away over this much time */
#define NS_LIMIT 9.0e18

uint64_t clock_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

struct clock_pair clock_pair_read(void) {
    struct clock_pair best = {0, 0};
    uint64_t narrowest = UINT64_MAX;
    for (unsigned i = 0; i < BRACKETS; i++) {
        unsigned cpu;
        uint64_t before = __rdtscp(&cpu);
        uint64_t ns = clock_now_ns();
        uint64_t after = __rdtscp(&cpu);
        if (after >= before && after - before < narrowest) {
            narrowest = after - before;
            best = (struct clock_pair){before + narrowest / 2, ns};
        }
    }
    return best;
}

static void clock_measured_push(struct clock *clock, struct clock_pair pair) {
    clock->measured[clock->measured_next] = pair;
    clock->measured_next = (clock->measured_next + 1) % CLOCK_MEASURED;
    if (clock->measured_count < CLOCK_MEASURED)
        clock->measured_count++;
}

static const struct clock_pair *clock_measured_oldest(const struct clock *clock) {
    return &clock->measured[(clock->measured_next + CLOCK_MEASURED - clock->measured_count) % CLOCK_MEASURED];
}

void clock_begin(struct clock *clock, struct clock_pair pair, double rate) {
    memset(clock, 0, sizeof(*clock));
    clock->nodes[0] = (struct clock_node){pair.ticks, pair.ns, rate, true};
    clock->node_count = 1;
    clock->epochs = 1;
    clock->interval_ns = START_SPIN_NS;
    clock_measured_push(clock, pair);
}

void clock_start(struct clock *clock) {
    struct clock_pair first = clock_pair_read(), second;
    do
        second = clock_pair_read();
    while (second.ns - first.ns < START_SPIN_NS || second.ticks <= first.ticks);
    clock_begin(clock, first, (double)(second.ns - first.ns) / (double)(second.ticks - first.ticks));
    clock_pair_add(clock, second);
}

/* Halves the resolution of the older half; epochs' beginnings go last. */
static void clock_thin(struct clock *clock) {
    uint32_t kept = 1, half = CLOCK_NODES / 2;
    for (uint32_t i = 1; i < clock->node_count; i++) {
        const struct clock_node *node = &clock->nodes[i];
        bool before_epoch = i + 1 < clock->node_count && node[1].epoch;
        if (i >= half || i % 2 == 0 || node->epoch || before_epoch)
            clock->nodes[kept++] = *node;
    }
    if (kept == CLOCK_NODES) {
        memmove(&clock->nodes[0], &clock->nodes[1], (CLOCK_NODES - 1) * sizeof(clock->nodes[0]));
        kept--;
    }
    clock->node_count = kept;
}

/* base + delta * rate, held within what 64 bits of nanoseconds can say. */
static uint64_t line_forward(uint64_t base, uint64_t delta, double rate) {
    double length = (double)delta * rate;
    if (!(length >= 0.0))
        return base;
    if (length > NS_LIMIT)
        length = NS_LIMIT;
    uint64_t sum;
    return __builtin_add_overflow(base, (uint64_t)length, &sum) ? UINT64_MAX : sum;
}

static uint64_t node_predict(const struct clock_node *node, uint64_t ticks) {
    return line_forward(node->ns, ticks - node->ticks, node->rate);
}

void clock_pair_add(struct clock *clock, struct clock_pair pair) {
    const struct clock_node *last = &clock->nodes[clock->node_count - 1];
    if (pair.ticks <= last->ticks || pair.ns <= last->ns)
        return;
    uint64_t predicted = node_predict(last, pair.ticks);
    uint64_t error = predicted > pair.ns ? predicted - pair.ns : pair.ns - predicted;
    struct clock_node next = {pair.ticks, predicted, last->rate, false};
    if (error > CLOCK_EPOCH_NS) {
        next.ns = pair.ns;
        next.epoch = true;
        clock->epochs++;
        clock->measured_count = 0;
        clock_measured_push(clock, pair);
    } else {
        clock_measured_push(clock, pair);
        const struct clock_pair *oldest = clock_measured_oldest(clock);
        double rate = (double)(pair.ns - oldest->ns) / (double)(pair.ticks - oldest->ticks);
        double off = (double)(int64_t)(pair.ns - predicted);
        next.rate = rate * (1.0 + off / STEER_NS);
    }
    if (clock->node_count == CLOCK_NODES)
        clock_thin(clock);
    clock->nodes[clock->node_count++] = next;
}

void clock_tick(struct clock *clock, uint64_t now) {
    const struct clock_pair *newest =
        &clock->measured[(clock->measured_next + CLOCK_MEASURED - 1) % CLOCK_MEASURED];
    if (now < newest->ns || now - newest->ns < clock->interval_ns)
        return;
    clock->interval_ns =
        clock->interval_ns * 2 < CLOCK_PAIR_INTERVAL_NS ? clock->interval_ns * 2 : CLOCK_PAIR_INTERVAL_NS;
    clock_pair_add(clock, clock_pair_read());
}

static uint64_t clock_line(const struct clock *clock, uint64_t ticks) {
    const struct clock_node *first = &clock->nodes[0];
    if (ticks < first->ticks) {
        uint64_t back = line_forward(0, first->ticks - ticks, first->rate);
        return back >= first->ns ? 0 : first->ns - back;
    }
    /* The last node at or before ticks: nearly always one of the newest. */
    uint32_t low = 0, high = clock->node_count;
    if (ticks >= clock->nodes[high - 1].ticks) {
        low = high - 1;
    } else {
        while (high - low > 1) {
            uint32_t middle = low + (high - low) / 2;
            if (clock->nodes[middle].ticks <= ticks)
                low = middle;
            else
                high = middle;
        }
    }
    const struct clock_node *node = &clock->nodes[low];
    if (low + 1 == clock->node_count)
        return node_predict(node, ticks);
    const struct clock_node *next = node + 1;
    uint64_t ns;
    if (next->epoch)
        ns = node_predict(node, ticks);
    else
        ns = line_forward(node->ns, ticks - node->ticks,
                          (double)(next->ns - node->ns) / (double)(next->ticks - node->ticks));
    return ns < next->ns ? ns : next->ns;
}

uint64_t clock_convert(const struct clock *clock, uint64_t ticks, uint64_t now, struct clock_guard *guard) {
    uint64_t ns = clock_line(clock, ticks);
    if (ns > now)
        ns = now;
    if (!guard)
        return ns;
    if (ticks >= guard->ticks) {
        if (ns < guard->ns)
            ns = guard->ns;
        guard->ticks = ticks;
        guard->ns = ns;
    } else if (ns > guard->ns) {
        ns = guard->ns;
    }
    return ns;
}

uint64_t clock_length(const struct clock *clock, uint64_t ticks) {
    uint64_t ns = line_forward(0, ticks, clock->nodes[clock->node_count - 1].rate);
    return ns < UINT64_MAX / 2 ? ns : UINT64_MAX / 2;
}
