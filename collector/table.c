/* SPDX-License-Identifier: MIT */
#include "collector/table.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

/* Packed: 12 bytes an entry. A removed entry keeps its place with value 0, for probing goes on over
 * it; a place never used has used 0. */
struct table_entry {
    uint32_t low, high;
    uint32_t value : 31;
    uint32_t used : 1;
};

#define CAPACITY_FIRST 16U
#define CAPACITY_LAST (1U << 27)
#define VALUE_MASK 0x7fffffffU
#define MOVED_AT_ONCE 16U /* enough to be through long before the next growth */

/* Keys are chosen by the target: mixed well enough that no regular pattern of addresses clusters. */
static uint32_t key_hash(uint64_t key) {
    key ^= key >> 32;
    key *= 0xd6e8feb86659fd93ULL;
    key ^= key >> 32;
    key *= 0xd6e8feb86659fd93ULL;
    return (uint32_t)(key >> 32);
}

static bool entry_is(const struct table_entry *entry, uint64_t key) {
    return entry->low == (uint32_t)key && entry->high == (uint32_t)(key >> 32);
}

/* The key's entry, or the unused one where it would go. Needs one unused entry. */
static struct table_entry *entries_find(struct table_entry *entries, uint32_t capacity, uint64_t key) {
    uint32_t mask = capacity - 1;
    uint32_t at = key_hash(key) & mask;
    while (entries[at].used && !entry_is(&entries[at], key))
        at = (at + 1) & mask;
    return &entries[at];
}

uint32_t table_get(const struct table *table, uint64_t key) {
    if (table->capacity == 0)
        return 0;
    const struct table_entry *entry = entries_find(table->entries, table->capacity, key);
    if (!entry->used && table->former)
        entry = entries_find(table->former, table->former_capacity, key);
    return entry->value;
}

/* Moves the next `steps` former entries. What has been set since is newer. */
static void former_move(struct table *table, uint32_t steps) {
    for (; table->former && steps > 0; steps--) {
        const struct table_entry *from = &table->former[table->former_next];
        if (from->value) {
            struct table_entry *to =
                entries_find(table->entries, table->capacity, (uint64_t)from->high << 32 | from->low);
            if (!to->used) {
                *to = *from;
                table->count++;
            }
        }
        if (++table->former_next == table->former_capacity) {
            free(table->former);
            table->former = NULL;
        }
    }
}

/*
 * New entries for at least twice as many keys as there are. They are never fewer than half of the
 * former ones, so that those have all been moved before the new ones are full again.
 */
static int table_grow(struct table *table) {
    former_move(table, UINT32_MAX);
    uint32_t capacity = table->capacity > 2 * CAPACITY_FIRST ? table->capacity / 2 : CAPACITY_FIRST;
    while (capacity <= CAPACITY_LAST && capacity / 2 < table->live + 1)
        capacity *= 2;
    if (capacity > CAPACITY_LAST)
        return -ENOMEM;
    struct table_entry *entries = calloc(capacity, sizeof(*entries));
    if (!entries)
        return -ENOMEM;
    *table = (struct table){.entries = entries,
                            .capacity = capacity,
                            .live = table->live,
                            .former = table->entries,
                            .former_capacity = table->capacity};
    return 0;
}

int table_set(struct table *table, uint64_t key, uint32_t value) {
    if (table->former)
        former_move(table, MOVED_AT_ONCE);
    value &= VALUE_MASK;
    uint32_t was = table_get(table, key);
    if (value == 0 && was == 0)
        return 0;
    struct table_entry *entry = table->capacity ? entries_find(table->entries, table->capacity, key) : NULL;
    if (!entry || !entry->used) {
        if (!entry || (uint64_t)table->count * 4 >= (uint64_t)table->capacity * 3) {
            if (table_grow(table) != 0)
                return -ENOMEM;
            entry = entries_find(table->entries, table->capacity, key);
        }
        table->count++;
    }
    entry->low = (uint32_t)key;
    entry->high = (uint32_t)(key >> 32);
    entry->value = value & VALUE_MASK; /* for the compiler: it is a bit field */
    entry->used = 1;
    table->live += (value != 0) - (was != 0);
    return 0;
}

void table_clear(struct table *table) {
    free(table->entries);
    free(table->former);
    *table = (struct table){0};
}
