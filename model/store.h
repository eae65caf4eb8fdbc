/* SPDX-License-Identifier: MIT */
/*
 * The containers that the model is built from. All sizes follow what was really put in, never a
 * number out of the trace.
 */
#ifndef WAITSCOPE_MODEL_STORE_H
#define WAITSCOPE_MODEL_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Memory that is freed all at once; what it returns never moves. Zero-initialised is empty. */
struct arena {
    struct arena_chunk *chunk;
    size_t used, size;
};
void *arena_alloc(struct arena *arena, size_t bytes); /* 8-byte aligned, not cleared; NULL: no memory */
void arena_free(struct arena *arena);

/*
 * Makes room for one more in an array of count items with room for *capacity. items points to the
 * array pointer. Returns 0, -ENOMEM, or -EOVERFLOW past UINT32_MAX - 1 items.
 */
int array_reserve(void *items, uint32_t count, uint32_t *capacity, size_t item_bytes);

/*
 * Memory for millions of items, on huge pages where the system has them: otherwise the page faults of
 * reading a large trace cost as much as the reading. Not cleared. Given back with its size.
 */
void *big_alloc(size_t bytes); /* NULL: no memory */
void big_free(void *memory, size_t bytes);

/* Ids of a trace to indexes. Dense ids are an array, others a hash table. Zero-initialised is empty. */
struct id_map {
    uint32_t *dense; /* index + 1, 0 none */
    uint32_t dense_size;
    struct id_entry *sparse;
    uint32_t sparse_size, sparse_count; /* a power of two */
    uint32_t count;
};
uint32_t id_map_get_sparse(const struct id_map *map, uint64_t id);
/* The index of id, or UINT32_MAX. */
static inline uint32_t id_map_get(const struct id_map *map, uint64_t id) {
    if (id == 0)
        return UINT32_MAX;
    return id < map->dense_size && map->dense[id] != 0 ? map->dense[id] - 1 : id_map_get_sparse(map, id);
}
/* Returns 0, -EEXIST (the first one stays), -EINVAL for id 0, -ENOMEM. */
int id_map_put(struct id_map *map, uint64_t id, uint32_t index);
void id_map_free(struct id_map *map);

/*
 * A hash table of indexes into an array that somebody else keeps. equal says whether the item at
 * index is what key describes. Zero-initialised is empty.
 */
struct hash_set {
    struct hash_slot *slots;
    uint32_t size, count; /* size: a power of two */
};
typedef bool hash_equal(const void *context, uint32_t index, const void *key);
/* The index, or UINT32_MAX. */
uint32_t hash_set_find(const struct hash_set *set, uint64_t hash, hash_equal *equal, const void *context,
                       const void *key);
/* Adds an index that is not in it. Returns 0 or -ENOMEM. */
int hash_set_add(struct hash_set *set, uint64_t hash, uint32_t index);
void hash_set_free(struct hash_set *set);

uint64_t hash_bytes(const void *bytes, size_t size, uint64_t seed);
static inline uint64_t hash_mix(uint64_t value) {
    value ^= value >> 32;
    value *= 0xd6e8feb86659fd93ULL;
    value ^= value >> 32;
    value *= 0xd6e8feb86659fd93ULL;
    return value ^ value >> 32;
}

/*
 * Sorts items of item_bytes by the uint64_t at key_offset, stably, by radix. Costs one pass where they are in
 * order already. Returns 0 or -ENOMEM.
 */
int sort_by_u64(void *items, uint32_t count, size_t item_bytes, size_t key_offset);

/*
 * Groups items by the uint32_t at group_offset, which is below group_count. Group g's items, in their
 * order, are members[first[g]] up to before members[first[g + 1]]. The caller frees both arrays.
 * Returns 0 or -ENOMEM.
 */
int group_by_u32(const void *items, uint32_t count, size_t item_bytes, size_t group_offset,
                 uint32_t group_count, uint32_t **ret_first, uint32_t **ret_members);

#endif
