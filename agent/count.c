/* SPDX-License-Identifier: MIT */
#include "agent/count.h"

#include <string.h>

#define COUNT_SET 4U
#define EVICTIONS_BEFORE_GROWTH 32U

static void count_evict(struct thread_slot *slot, struct lock_count *place) {
    bool waited = place->wait_ticks != 0 || place->contended != 0;
    uint32_t bytes = waited ? (uint32_t)sizeof(*place) : LOCK_COUNT_SHORT_BYTES;
    struct record_count *record =
        agent_record_reserve(slot, RECORD_COUNT, (uint32_t)sizeof(struct record_header) + bytes);
    if (record) {
        memcpy(&record->count, place, bytes);
        agent_record_commit(slot);
    }
    place->key = 0;
}

/* What was counted in the small table is written out; it is not used again. */
static void counts_grow(struct thread_slot *slot) {
    for (uint32_t i = 0; i < SLOT_COUNTS_SMALL; i++)
        if (agent_thread.counts[i].key != 0)
            count_evict(slot, &agent_thread.counts[i]);
    slot->counts_mask = SLOT_COUNTS - 1;
    agent_thread.counts = slot_counts(slot);
    agent_thread.counts_mask = SLOT_COUNTS - 1;
}

/* A place for another lock: a free one, else one is made free. Busy only. */
static struct lock_count *count_place_free(struct thread_slot *slot, uint64_t base, uint32_t hash) {
    if (agent_thread.counts_mask < SLOT_COUNTS - 1 && agent_thread.counts_evicted == EVICTIONS_BEFORE_GROWTH)
        counts_grow(slot);
    uint32_t index = (uint32_t)(count_place_of(base, hash) - agent_thread.counts);
    for (uint32_t i = 0; i < COUNT_SET; i++)
        if (agent_thread.counts[index ^ i].key == 0)
            return &agent_thread.counts[index ^ i];
    agent_thread.counts_evicted++;
    agent_thread.random = agent_thread.random * 1664525U + 1013904223U;
    struct lock_count *place = &agent_thread.counts[index ^ (agent_thread.random >> 30)];
    count_evict(slot, place);
    return place;
}

static struct lock_count *count_make(struct thread_slot *slot, uint64_t base, uint32_t hash, uint64_t site) {
    struct lock_count *place = count_place_free(slot, base, hash);
    uint32_t epoch = filter_epoch_load(); /* before the word: [FILTER-GENERATION] */
    uint64_t generation = filter_count(hash) & FILTER_GENERATION;
    *place = (struct lock_count){.key = base,
                                 .uses = generation << LOCK_COUNT_USES_BITS,
                                 .site = site & ((1ULL << LOCK_COUNT_SITE_BITS) - 1),
                                 .epoch = epoch};
    agent_module_note(slot, lock_key_address(base)); /* static data is named by its module */
    agent_module_note(slot, site);
    return place;
}

/* Whether the entry is still of the lock that lies there; its epoch is brought up to date. */
static bool count_confirm(struct lock_count *count, uint32_t hash) {
    uint32_t epoch = filter_epoch_load(); /* before the word: [FILTER-GENERATION] */
    uint64_t word = filter_load(hash);
    if (!(word & FILTER_COUNTED))
        word = filter_count(hash);
    if (count->uses >> LOCK_COUNT_USES_BITS != (word & FILTER_GENERATION))
        return false;
    count->epoch = epoch;
    return true;
}

AGENT_SLOW struct lock_count *count_obtain(struct thread_slot *slot, uint64_t base, uint32_t hash,
                                           uint64_t site) {
    struct lock_count *found = NULL;
    uint32_t index = (uint32_t)(count_place_of(base, hash) - agent_thread.counts);
    for (uint32_t i = 0; i < COUNT_SET && !found; i++)
        if (agent_thread.counts[index ^ i].key == base)
            found = &agent_thread.counts[index ^ i];
    if (found && (found->epoch == filter_epoch_load() || count_confirm(found, hash)))
        return found;

    bool outermost = !agent_thread.busy;
    if (outermost)
        agent_busy_enter();
    if (found)
        count_evict(slot, found);
    struct lock_count *made = count_make(slot, base, hash, site);
    if (outermost)
        agent_busy_leave();
    return made;
}

AGENT_SLOW void count_time_next(struct lock_count *count, uint64_t number) {
    agent_thread.random = agent_thread.random * 1664525U + 1013904223U;
    uint64_t gap = 1 + ((uint64_t)agent_thread.random * (2 * agent_hold_period - 1) >> 32);
    uint64_t pc = count->site & ((1ULL << LOCK_COUNT_SITE_BITS) - 1);
    count->site = pc | (number + gap) << LOCK_COUNT_SITE_BITS;
}
