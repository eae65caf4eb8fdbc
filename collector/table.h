/* SPDX-License-Identifier: MIT */
/* A hash table from 64-bit keys to 32-bit values; 0 is no value. Zero-filled is empty. */
#ifndef WAITSCOPE_COLLECTOR_TABLE_H
#define WAITSCOPE_COLLECTOR_TABLE_H

#include <stdint.h>

struct table_entry;

struct table {
    struct table_entry *entries; /* NULL with capacity 0 */
    uint32_t capacity;           /* a power of two */
    uint32_t count;              /* places used in entries, those of removed keys included */
    uint32_t live;               /* keys with a value */
    /* What is still to be moved over after growing: a little with each table_set(), so that none of
     * them takes long. */
    struct table_entry *former;
    uint32_t former_capacity, former_next;
};

/* The value for key, 0 if it has none. */
uint32_t table_get(const struct table *table, uint64_t key);
/* Sets or replaces. A value of 0 removes. Returns 0 or -ENOMEM. */
int table_set(struct table *table, uint64_t key, uint32_t value);
/* Frees what the table holds and empties it. */
void table_clear(struct table *table);

#endif
