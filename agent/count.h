/* SPDX-License-Identifier: MIT */
/*
 * A thread's table of what it did with which lock (struct lock_count, format/record.h): sets of four, a
 * lock lies in one of the four places that its hash names. Only the slot's thread uses it. The class takes
 * part in the hash: the two ways to take a rwlock are counted side by side.
 *
 * A lock that finds no place takes another's, which is written to the ring; a thread to which that happens
 * often gets the large table.
 */
#ifndef WAITSCOPE_AGENT_COUNT_H
#define WAITSCOPE_AGENT_COUNT_H

#include "agent/agent.h"
#include "agent/filter.h"

static inline struct lock_count *count_place(enum lock_class cls, uint32_t hash) {
    return &agent_thread.counts[(hash ^ (uint32_t)cls) & agent_thread.counts_mask];
}
static inline struct lock_count *count_place_of(uint64_t base, uint32_t hash) {
    return count_place((enum lock_class)lock_key_class(base), hash);
}

/* Whether this is the entry of the lock as it is known now, and not of one that lay there before. */
static inline bool count_is_good(const struct lock_count *count, uint64_t base) {
    return count->key == base && count->epoch == filter_epoch_load();
}

/* The entry of a lock wherever it is, made if there is none. site: of the acquisition to be counted. */
AGENT_SLOW struct lock_count *count_obtain(struct thread_slot *slot, uint64_t base, uint32_t hash,
                                           uint64_t site);

/*
 * Which holds are timed: a thread's first COUNT_HOLDS_ALL_TIMED of a lock, so that rarely taken locks have
 * exact holds, then one at random in agent_hold_period. The number of the next one is kept in the upper bits
 * of the entry's site, modulo 2^16.
 */
#define COUNT_HOLDS_ALL_TIMED 16U
#define COUNT_PERIOD_MAX 32768U

static inline bool count_hold_is_timed(const struct lock_count *count) {
    return (uint16_t)count->uses == (uint16_t)(count->site >> LOCK_COUNT_SITE_BITS);
}

/* The hold of this number, counted from 0, is timed: chooses the next. */
AGENT_SLOW void count_time_next(struct lock_count *count, uint64_t number);

/* Counts an acquisition; true if its hold is to be timed. */
static inline bool count_use(struct lock_count *count) {
    uint64_t number = count->uses++ & ((1ULL << LOCK_COUNT_USES_BITS) - 1);
    if (number < COUNT_HOLDS_ALL_TIMED || agent_hold_period == 1) {
        count->site += 1ULL << LOCK_COUNT_SITE_BITS;
        return true;
    }
    if ((uint16_t)number != (uint16_t)(count->site >> LOCK_COUNT_SITE_BITS))
        return false;
    count_time_next(count, number);
    return true;
}

/* Adds a hold that was timed. */
static inline void count_hold(struct lock_count *count, uint64_t ticks, bool contended) {
    if (contended) {
        count->contended_hold_ticks += ticks;
    } else {
        count->hold_ticks += ticks;
        count->hold_samples++;
    }
    uint32_t packed = lock_count_hold_pack(ticks);
    if (packed > count->hold_longest)
        count->hold_longest = packed;
}

#endif
