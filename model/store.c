/* SPDX-License-Identifier: MIT */
#include "model/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_CHUNK_BYTES (256U << 10)

struct arena_chunk {
    struct arena_chunk *next;
    _Alignas(8) char bytes[];
};

void *arena_alloc(struct arena *arena, size_t bytes) {
    if (bytes > SIZE_MAX / 2)
        return NULL;
    bytes = (bytes + 7) & ~(size_t)7;
    if (!arena->chunk || arena->size - arena->used < bytes) {
        size_t size = bytes > ARENA_CHUNK_BYTES / 4 ? bytes : ARENA_CHUNK_BYTES;
        struct arena_chunk *chunk = malloc(sizeof(*chunk) + size);
        if (!chunk)
            return NULL;
        if (size == bytes && arena->chunk) {
            /* A large piece gets a chunk of its own behind the current one, which stays in use. */
            chunk->next = arena->chunk->next;
            arena->chunk->next = chunk;
            return chunk->bytes;
        }
        chunk->next = arena->chunk;
        arena->chunk = chunk;
        arena->used = 0;
        arena->size = size;
    }
    void *piece = arena->chunk->bytes + arena->used;
    arena->used += bytes;
    return piece;
}

void arena_free(struct arena *arena) {
    while (arena->chunk) {
        struct arena_chunk *next = arena->chunk->next;
        free(arena->chunk);
        arena->chunk = next;
    }
    arena->used = arena->size = 0;
}

#define HUGE_PAGE_BYTES ((size_t)2 << 20)

static size_t big_size(size_t bytes) {
    return bytes > SIZE_MAX / 2 ? 0 : (bytes + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
}

void *big_alloc(size_t bytes) {
    size_t size = big_size(bytes);
    if (bytes < HUGE_PAGE_BYTES / 2)
        return malloc(bytes + 1);
    if (size == 0)
        return NULL;
    /* One page more than needed, so that an aligned piece can be cut out. */
    char *got = mmap(NULL, size + HUGE_PAGE_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED)
        return NULL;
    size_t before = (HUGE_PAGE_BYTES - (uintptr_t)got % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
    if (before > 0)
        munmap(got, before);
    munmap(got + before + size, HUGE_PAGE_BYTES - before);
    madvise(got + before, size, MADV_HUGEPAGE);
    return got + before;
}

void big_free(void *memory, size_t bytes) {
    if (bytes < HUGE_PAGE_BYTES / 2)
        free(memory);
    else if (memory)
        munmap(memory, big_size(bytes));
}

int array_reserve(void *items, uint32_t count, uint32_t *capacity, size_t item_bytes) {
    if (count < *capacity)
        return 0;
    if (count >= UINT32_MAX - 1)
        return -EOVERFLOW;
    uint64_t wanted = *capacity < 16 ? 16 : (uint64_t)*capacity + *capacity / 2;
    if (wanted > UINT32_MAX - 1)
        wanted = UINT32_MAX - 1;
    void *old;
    memcpy(&old, items, sizeof(old));
    void *grown = reallocarray(old, wanted, item_bytes);
    if (!grown)
        return -ENOMEM;
    memcpy(items, &grown, sizeof(grown));
    *capacity = (uint32_t)wanted;
    return 0;
}

struct id_entry {
    uint64_t id; /* 0: empty */
    uint32_t index;
};

static struct id_entry *id_map_probe(const struct id_map *map, uint64_t id) {
    uint32_t mask = map->sparse_size - 1;
    for (uint32_t i = (uint32_t)hash_mix(id) & mask;; i = (i + 1) & mask)
        if (map->sparse[i].id == id || map->sparse[i].id == 0)
            return &map->sparse[i];
}

uint32_t id_map_get_sparse(const struct id_map *map, uint64_t id) {
    if (map->sparse_count == 0)
        return UINT32_MAX;
    struct id_entry *entry = id_map_probe(map, id);
    return entry->id == id ? entry->index : UINT32_MAX;
}

static int id_map_put_sparse(struct id_map *map, uint64_t id, uint32_t index) {
    if (map->sparse_count >= map->sparse_size / 2) {
        uint32_t size = map->sparse_size ? map->sparse_size * 2 : 64;
        struct id_map grown = {.sparse = calloc(size, sizeof(struct id_entry)), .sparse_size = size};
        if (!grown.sparse || size < map->sparse_size) {
            free(grown.sparse);
            return -ENOMEM;
        }
        for (uint32_t i = 0; i < map->sparse_size; i++)
            if (map->sparse[i].id != 0)
                *id_map_probe(&grown, map->sparse[i].id) = map->sparse[i];
        free(map->sparse);
        map->sparse = grown.sparse;
        map->sparse_size = size;
    }
    *id_map_probe(map, id) = (struct id_entry){.id = id, .index = index};
    map->sparse_count++;
    return 0;
}

int id_map_put(struct id_map *map, uint64_t id, uint32_t index) {
    if (id == 0)
        return -EINVAL;
    if (id_map_get(map, id) != UINT32_MAX)
        return -EEXIST;
    /* The array may be as large as a few times what was defined, so a huge id costs nothing. */
    if (id >= 1024 && id / 4 > map->count) {
        int rc = id_map_put_sparse(map, id, index);
        map->count += rc == 0;
        return rc;
    }
    if (id >= map->dense_size) {
        uint64_t size = map->dense_size ? map->dense_size : 64;
        while (size <= id)
            size *= 2;
        if (size > UINT32_MAX)
            return -ENOMEM;
        uint32_t *grown = reallocarray(map->dense, size, sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        memset(grown + map->dense_size, 0, (size - map->dense_size) * sizeof(*grown));
        map->dense = grown;
        map->dense_size = (uint32_t)size;
    }
    map->dense[id] = index + 1;
    map->count++;
    return 0;
}

void id_map_free(struct id_map *map) {
    free(map->dense);
    free(map->sparse);
    *map = (struct id_map){0};
}

struct hash_slot {
    uint64_t hash;
    uint32_t place; /* index + 1, 0 empty */
};

uint32_t hash_set_find(const struct hash_set *set, uint64_t hash, hash_equal *equal, const void *context,
                       const void *key) {
    if (set->size == 0)
        return UINT32_MAX;
    uint32_t mask = set->size - 1;
    for (uint32_t i = (uint32_t)hash & mask; set->slots[i].place != 0; i = (i + 1) & mask)
        if (set->slots[i].hash == hash && equal(context, set->slots[i].place - 1, key))
            return set->slots[i].place - 1;
    return UINT32_MAX;
}

static void hash_set_place(struct hash_set *set, struct hash_slot slot) {
    uint32_t mask = set->size - 1, i = (uint32_t)slot.hash & mask;
    while (set->slots[i].place != 0)
        i = (i + 1) & mask;
    set->slots[i] = slot;
}

int hash_set_add(struct hash_set *set, uint64_t hash, uint32_t index) {
    if (set->count >= set->size / 2) {
        if (set->size >= 1U << 31)
            return -ENOMEM;
        struct hash_set grown = {.size = set->size ? set->size * 2 : 64, .count = set->count};
        grown.slots = calloc(grown.size, sizeof(*grown.slots));
        if (!grown.slots)
            return -ENOMEM;
        for (uint32_t i = 0; i < set->size; i++)
            if (set->slots[i].place != 0)
                hash_set_place(&grown, set->slots[i]);
        free(set->slots);
        *set = grown;
    }
    hash_set_place(set, (struct hash_slot){.hash = hash, .place = index + 1});
    set->count++;
    return 0;
}

void hash_set_free(struct hash_set *set) {
    free(set->slots);
    *set = (struct hash_set){0};
}

uint64_t hash_bytes(const void *bytes, size_t size, uint64_t seed) {
    const unsigned char *at = bytes;
    uint64_t hash = hash_mix(seed ^ size);
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        hash = hash_mix(hash ^ word);
    }
    uint64_t rest = 0;
    memcpy(&rest, at, size);
    return hash_mix(hash ^ rest);
}

struct sort_pair {
    uint64_t key;
    uint32_t index;
};

static uint64_t item_key(const char *items, uint32_t index, size_t item_bytes, size_t key_offset) {
    uint64_t key;
    memcpy(&key, items + index * item_bytes + key_offset, sizeof(key));
    return key;
}

/* Moves items[order[i].index] to items[i] for all i, along the cycles of the permutation: needs no
 * memory, but each step waits for the one before. */
static void permute_in_place(char *items, size_t item_bytes, struct sort_pair *order, uint32_t count,
                             char *spare) {
    for (uint32_t start = 0; start < count; start++) {
        if (order[start].index == start)
            continue;
        memcpy(spare, items + start * item_bytes, item_bytes);
        uint32_t place = start;
        for (;;) {
            uint32_t from = order[place].index;
            order[place].index = place;
            if (from == start)
                break;
            memcpy(items + place * item_bytes, items + from * item_bytes, item_bytes);
            place = from;
        }
        memcpy(items + place * item_bytes, spare, item_bytes);
    }
}

/* The same several times as fast where a copy of all items fits. */
static void permute(char *items, size_t item_bytes, struct sort_pair *order, uint32_t count, char *spare) {
    char *copy = big_alloc(count * item_bytes);
    if (!copy) {
        permute_in_place(items, item_bytes, order, count, spare);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        memcpy(copy + i * item_bytes, items + order[i].index * item_bytes, item_bytes);
    memcpy(items, copy, count * item_bytes);
    big_free(copy, count * item_bytes);
}

#define RADIX_BITS 11
#define RADIX_SIZE (1U << RADIX_BITS)

int sort_by_u64(void *items, uint32_t count, size_t item_bytes, size_t key_offset) {
    uint64_t lowest = UINT64_MAX, highest = 0, before = 0;
    bool sorted = true;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t key = item_key(items, i, item_bytes, key_offset);
        sorted = sorted && key >= before;
        before = key;
        lowest = key < lowest ? key : lowest;
        highest = key > highest ? key : highest;
    }
    if (sorted)
        return 0;

    int rc = -ENOMEM;
    struct sort_pair *from = big_alloc(count * sizeof(*from)), *to = big_alloc(count * sizeof(*to));
    char *spare = malloc(item_bytes);
    if (!from || !to || !spare)
        goto cleanup;
    for (uint32_t i = 0; i < count; i++)
        from[i] = (struct sort_pair){item_key(items, i, item_bytes, key_offset) - lowest, i};
    for (unsigned shift = 0; shift < 64 && (highest - lowest) >> shift != 0; shift += RADIX_BITS) {
        uint32_t starts[RADIX_SIZE] = {0}, sum = 0;
        for (uint32_t i = 0; i < count; i++)
            starts[from[i].key >> shift & (RADIX_SIZE - 1)]++;
        for (uint32_t digit = 0; digit < RADIX_SIZE; digit++) {
            uint32_t here = starts[digit];
            starts[digit] = sum;
            sum += here;
        }
        for (uint32_t i = 0; i < count; i++)
            to[starts[from[i].key >> shift & (RADIX_SIZE - 1)]++] = from[i];
        struct sort_pair *swap = from;
        from = to;
        to = swap;
    }
    big_free(to, count * sizeof(*to));
    to = NULL;
    permute(items, item_bytes, from, count, spare);
    rc = 0;
cleanup:
    big_free(from, count * sizeof(*from));
    big_free(to, count * sizeof(*to));
    free(spare);
    return rc;
}

int group_by_u32(const void *items, uint32_t count, size_t item_bytes, size_t group_offset,
                 uint32_t group_count, uint32_t **ret_first, uint32_t **ret_members) {
    uint32_t *first = calloc((size_t)group_count + 2, sizeof(*first));
    uint32_t *members = malloc(((size_t)count + 1) * sizeof(*members));
    if (!first || !members) {
        free(first);
        free(members);
        return -ENOMEM;
    }
    const char *at = (const char *)items + group_offset;
    uint32_t group;
    /* Counted two places up, so that after placing the members first[] is where it has to be. */
    for (uint32_t i = 0; i < count; i++) {
        memcpy(&group, at + i * item_bytes, sizeof(group));
        first[group + 2]++;
    }
    for (uint32_t i = 2; i < group_count + 2; i++)
        first[i] += first[i - 1];
    for (uint32_t i = 0; i < count; i++) {
        memcpy(&group, at + i * item_bytes, sizeof(group));
        members[first[group + 1]++] = i;
    }
    *ret_first = first;
    *ret_members = members;
    return 0;
}
