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
static struct table_entry *table_find(const struct table *table, uint64_t key) {
    uint32_t mask = table->capacity - 1;
    uint32_t at = key_hash(key) & mask;
    while (table->entries[at].used && !entry_is(&table->entries[at], key))
        at = (at + 1) & mask;
    return &table->entries[at];
}

uint32_t table_get(const struct table *table, uint64_t key) {
    return table->capacity ? table_find(table, key)->value : 0;
}

static int table_grow(struct table *table) {
    uint32_t live = 0;
    for (uint32_t i = 0; i < table->capacity; i++)
        live += table->entries[i].value != 0;
    uint32_t capacity = CAPACITY_FIRST;
    while (capacity / 2 < live + 1)
        capacity *= 2;
    if (capacity > CAPACITY_LAST)
        return -ENOMEM;
    struct table next = {calloc(capacity, sizeof(*next.entries)), capacity, live};
    if (!next.entries)
        return -ENOMEM;
    for (uint32_t i = 0; i < table->capacity; i++) {
        const struct table_entry *entry = &table->entries[i];
        if (entry->value)
            *table_find(&next, (uint64_t)entry->high << 32 | entry->low) = *entry;
    }
    free(table->entries);
    *table = next;
    return 0;
}

int table_set(struct table *table, uint64_t key, uint32_t value) {
    struct table_entry *entry = table->capacity ? table_find(table, key) : NULL;
    if (!entry || !entry->used) {
        if (value == 0)
            return 0;
        if (!entry || (uint64_t)table->count * 4 >= (uint64_t)table->capacity * 3) {
            if (table_grow(table) != 0)
                return -ENOMEM;
            entry = table_find(table, key);
        }
        table->count++;
    }
    entry->low = (uint32_t)key;
    entry->high = (uint32_t)(key >> 32);
    entry->value = value & 0x7fffffffU;
    entry->used = 1;
    return 0;
}

void table_clear(struct table *table) {
    free(table->entries);
    *table = (struct table){0};
}
