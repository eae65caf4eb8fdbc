/* SPDX-License-Identifier: MIT */
/*
 * Units of memory that programs in the kernel read: an array of maps of one element each, a chunk of units,
 * made when it is first needed and written through a mapping. Units are taken and given back in runs.
 */
#ifndef WAITSCOPE_COLLECTOR_UNWIND_POOL_H
#define WAITSCOPE_COLLECTOR_UNWIND_POOL_H

#include <stdint.h>

#include "bpf/unwind_table.h"

struct unwind_run {
    uint32_t first, count;
};

struct unwind_pool {
    int outer;           /* the array of maps, owned */
    uint32_t unit_bytes; /* of one unit */
    uint32_t chunk_bits; /* units in a chunk: 2 to the power of this */
    void *chunks[UNWIND_CHUNKS_MAX];
    struct unwind_run *free; /* sorted, apart, not adjacent */
    uint32_t free_count, free_room;
    uint32_t end;  /* all units at or above it are free */
    uint32_t runs; /* taken */
    uint64_t used; /* units taken */
};

/* Makes the array of maps. Returns 0 or a negative errno. */
int unwind_pool_open(const char *name, uint32_t unit_bytes, uint32_t chunk_bits,
                     struct unwind_pool *ret_pool);
/* count > 0 units in a row, their content undefined. Returns 0, -ENOSPC, -ENOMEM or what the kernel gives. */
int unwind_pool_take(struct unwind_pool *pool, uint32_t count, uint32_t *ret_first);
/* A whole run as it was taken, or what was kept of it. */
void unwind_pool_give(struct unwind_pool *pool, uint32_t first, uint32_t count);
/* Of a run of count units the first kept are enough. */
void unwind_pool_trim(struct unwind_pool *pool, uint32_t first, uint32_t count, uint32_t kept);
/* The unit's memory; the units behind it lie behind it up to the end of the chunk. */
void *unwind_pool_at(const struct unwind_pool *pool, uint32_t unit);
/* Of all chunks made. */
uint64_t unwind_pool_bytes(const struct unwind_pool *pool);
/* Zero-filled is fine but for outer, which must be -1. */
void unwind_pool_close(struct unwind_pool *pool);

#endif
