/* SPDX-License-Identifier: MIT */
#include "collector/unwind_pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>

static uint64_t chunk_bytes(const struct unwind_pool *pool) {
    return (uint64_t)pool->unit_bytes << pool->chunk_bits;
}

static int chunk_map_create(const char *name, uint32_t bytes) {
    LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
    return bpf_map_create(BPF_MAP_TYPE_ARRAY, name, 4, bytes, 1, &options);
}

int unwind_pool_open(const char *name, uint32_t unit_bytes, uint32_t chunk_bits,
                     struct unwind_pool *ret_pool) {
    struct unwind_pool pool = {.outer = -1, .unit_bytes = unit_bytes, .chunk_bits = chunk_bits};
    LIBBPF_OPTS(bpf_map_create_opts, options);
    int like = chunk_map_create("chunk", (uint32_t)chunk_bytes(&pool));
    if (like < 0)
        return like;
    options.inner_map_fd = (uint32_t)like;
    pool.outer = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, name, 4, 4, UNWIND_CHUNKS_MAX, &options);
    close(like);
    if (pool.outer < 0)
        return pool.outer;
    *ret_pool = pool;
    return 0;
}

/* Enters chunks into the array: at once, since the kernel waits after each call until no program can be using
 * what was there before, for some 10 ms. One by one where it cannot do so. */
static int chunks_enter(const struct unwind_pool *pool, const uint32_t *indexes, const int *fds,
                        uint32_t count) {
    uint32_t entered = count;
    int error = 0;
    if (count > 1 && bpf_map_update_batch(pool->outer, indexes, fds, &entered, NULL) == 0)
        return 0;
    for (uint32_t i = 0; i < count && error == 0; i++)
        error = bpf_map_update_elem(pool->outer, &indexes[i], &fds[i], BPF_ANY);
    return error;
}

/* Makes the chunks from first to last that are not there yet. */
static int chunks_make(struct unwind_pool *pool, uint32_t first, uint32_t last) {
    uint32_t indexes[UNWIND_CHUNKS_MAX], count = 0;
    int fds[UNWIND_CHUNKS_MAX], error = 0;
    for (uint32_t i = first; i <= last && error == 0; i++) {
        if (pool->chunks[i])
            continue;
        int fd = chunk_map_create("chunk", (uint32_t)chunk_bytes(pool));
        void *memory =
            fd < 0 ? MAP_FAILED : mmap(NULL, chunk_bytes(pool), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (memory == MAP_FAILED) {
            error = fd < 0 ? fd : -errno;
            if (fd >= 0)
                close(fd);
            break;
        }
        pool->chunks[i] = memory;
        indexes[count] = i;
        fds[count++] = fd;
    }
    if (error == 0 && count > 0)
        error = chunks_enter(pool, indexes, fds, count);
    for (uint32_t i = 0; i < count; i++) {
        close(fds[i]); /* the array and the mapping hold it */
        if (error < 0) {
            munmap(pool->chunks[indexes[i]], chunk_bytes(pool));
            pool->chunks[indexes[i]] = NULL;
        }
    }
    return error;
}

/* Between two free runs there is a taken one, so there is never more than one free run more than taken ones.
 */
static int free_room_make(struct unwind_pool *pool) {
    uint32_t needed = pool->runs + 2;
    if (needed < pool->free_room)
        return 0;
    struct unwind_run *larger = realloc(pool->free, 2 * (size_t)needed * sizeof(*larger));
    if (!larger)
        return -ENOMEM;
    pool->free = larger;
    pool->free_room = 2 * needed;
    return 0;
}

int unwind_pool_take(struct unwind_pool *pool, uint32_t count, uint32_t *ret_first) {
    uint32_t first = pool->end, i = 0;
    int error = free_room_make(pool);
    while (i < pool->free_count && pool->free[i].count < count)
        i++;
    if (i < pool->free_count)
        first = pool->free[i].first;
    uint64_t high = (uint64_t)first + count;
    if (high > (uint64_t)UNWIND_CHUNKS_MAX << pool->chunk_bits)
        return -ENOSPC;
    if (error == 0)
        error = chunks_make(pool, first >> pool->chunk_bits, (uint32_t)((high - 1) >> pool->chunk_bits));
    if (error < 0)
        return error;
    if (i < pool->free_count) {
        pool->free[i].first += count;
        pool->free[i].count -= count;
        if (pool->free[i].count == 0)
            memmove(&pool->free[i], &pool->free[i + 1], (--pool->free_count - i) * sizeof(*pool->free));
    } else {
        pool->end = (uint32_t)high;
    }
    pool->runs++;
    pool->used += count;
    *ret_first = first;
    return 0;
}

static void units_free(struct unwind_pool *pool, uint32_t first, uint32_t count) {
    uint32_t i = 0;
    pool->used -= count;
    while (i < pool->free_count && pool->free[i].first < first)
        i++;
    if (i > 0 && pool->free[i - 1].first + pool->free[i - 1].count == first) {
        pool->free[--i].count += count;
    } else {
        memmove(&pool->free[i + 1], &pool->free[i], (pool->free_count++ - i) * sizeof(*pool->free));
        pool->free[i] = (struct unwind_run){first, count};
    }
    struct unwind_run *run = &pool->free[i], *next = run + 1;
    if (i + 1 < pool->free_count && run->first + run->count == next->first) {
        run->count += next->count;
        memmove(next, next + 1, (--pool->free_count - i - 1) * sizeof(*pool->free));
    }
    if (run->first + run->count == pool->end) {
        pool->end = run->first;
        pool->free_count--;
    }
}

void unwind_pool_give(struct unwind_pool *pool, uint32_t first, uint32_t count) {
    if (count == 0)
        return;
    pool->runs--;
    units_free(pool, first, count);
}

void unwind_pool_trim(struct unwind_pool *pool, uint32_t first, uint32_t count, uint32_t kept) {
    if (kept == 0)
        unwind_pool_give(pool, first, count);
    else if (kept < count)
        units_free(pool, first + kept, count - kept);
}

void *unwind_pool_at(const struct unwind_pool *pool, uint32_t unit) {
    char *chunk = pool->chunks[unit >> pool->chunk_bits];
    return chunk + (uint64_t)(unit & ((1U << pool->chunk_bits) - 1)) * pool->unit_bytes;
}

uint64_t unwind_pool_bytes(const struct unwind_pool *pool) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < UNWIND_CHUNKS_MAX; i++)
        bytes += pool->chunks[i] ? chunk_bytes(pool) : 0;
    return bytes;
}

void unwind_pool_close(struct unwind_pool *pool) {
    for (uint32_t i = 0; i < UNWIND_CHUNKS_MAX; i++)
        if (pool->chunks[i])
            munmap(pool->chunks[i], chunk_bytes(pool));
    if (pool->outer >= 0)
        close(pool->outer);
    free(pool->free);
    *pool = (struct unwind_pool){.outer = -1};
}
