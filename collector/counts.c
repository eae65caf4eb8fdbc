/* SPDX-License-Identifier: MIT */
/*
 * Counts of locks come as deltas, one each time a thread needs the place of another lock's: a program
 * with more locks than a thread has places writes them by the thousand. They are added up here, and
 * written at growing intervals; at the latest when a process ends.
 */
#include <errno.h>
#include <stdlib.h>

#include "collector/recording.h"

#define ENTRIES_MAX 65536U
#define INTERVAL_FIRST_NS 1000000000ULL
#define INTERVAL_LAST_NS 64000000000ULL
#define BREATH_ROWS 512U
#define LOCK_SHIFT 5 /* room for a mode, an enum lock_class */

_Static_assert(LOCK_CLASS_COUNT <= 1 << LOCK_SHIFT && CATALOGUE_LOCK_BITS <= 32 - LOCK_SHIFT,
               "a thread, a lock and a mode make a key");

struct counts_entry {
    uint32_t thread;
    struct trace_count row;
};

static void counts_merge(struct trace_count *sum, const struct trace_count *row) {
    sum->acquisitions += row->acquisitions;
    sum->contended += row->contended;
    sum->hold_ns += row->hold_ns;
    sum->hold_samples += row->hold_samples;
    if (row->hold_maximum > sum->hold_maximum)
        sum->hold_maximum = row->hold_maximum;
    sum->wait_ns += row->wait_ns;
    sum->contended_hold_ns += row->contended_hold_ns;
}

int counts_add(struct recording *recording, uint32_t thread, const struct trace_count *row) {
    struct counts *counts = &recording->counts;
    uint64_t key = (uint64_t)thread << 32 | row->lock << LOCK_SHIFT | row->mode;
    uint32_t place = table_get(&counts->places, key);
    if (place) {
        counts_merge(&counts->entries[place - 1].row, row);
        return 0;
    }
    if (counts->count == ENTRIES_MAX)
        counts_write(recording);
    if (counts->count == counts->room) {
        uint32_t room = counts->room ? counts->room * 2 : 1024;
        struct counts_entry *grown = realloc(counts->entries, room * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        counts->entries = grown;
        counts->room = room;
    }
    if (table_set(&counts->places, key, counts->count + 1) != 0)
        return -ENOMEM;
    counts->entries[counts->count++] = (struct counts_entry){thread, *row};
    return 0;
}

void counts_write(struct recording *recording) {
    struct counts *counts = &recording->counts;
    for (uint32_t i = 0; i < counts->count; i++) {
        trace_writer_row(recording->writer, TRACE_COUNT, counts->entries[i].thread, &counts->entries[i].row);
        if (i % BREATH_ROWS == 0)
            drain_breathe(recording);
    }
    counts->count = 0;
    table_clear(&counts->places);
}

void counts_tick(struct recording *recording) {
    struct counts *counts = &recording->counts;
    if (recording->now < counts->next_ns)
        return;
    counts_write(recording);
    if (counts->interval_ns < INTERVAL_LAST_NS)
        counts->interval_ns = counts->interval_ns ? counts->interval_ns * 2 : INTERVAL_FIRST_NS;
    counts->next_ns = recording->now + counts->interval_ns;
}

void counts_clear(struct recording *recording) {
    free(recording->counts.entries);
    table_clear(&recording->counts.places);
    recording->counts = (struct counts){0};
}
