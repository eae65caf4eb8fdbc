/* SPDX-License-Identifier: MIT */
#include "model/events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "model/store.h"

#define CHUNK_ITEMS 52428U /* waits of 2 MiB */
#define INSERTION_MAX 24U  /* items sorted by insertion */
#define MERGED_RUNS_MAX 16U

static uint32_t chunk_items(const struct event_list *list, uint32_t chunk) {
    return chunk + 1 == list->chunk_count ? list->used : CHUNK_ITEMS;
}

int events_room(struct event_list *list, size_t item_bytes, void **ret_items, uint32_t *ret_room) {
    if (list->chunk_count == 0 || list->used == CHUNK_ITEMS) {
        if (list->count >= UINT32_MAX - CHUNK_ITEMS - 1)
            return -EOVERFLOW;
        int rc = array_reserve(&list->chunks, list->chunk_count, &list->chunk_room, sizeof(*list->chunks));
        char *chunk = rc == 0 ? big_alloc(CHUNK_ITEMS * item_bytes) : NULL;
        if (!chunk)
            return -ENOMEM;
        list->chunks[list->chunk_count++] = chunk;
        list->item_bytes = item_bytes;
        list->used = 0;
    }
    *ret_items = list->chunks[list->chunk_count - 1] + list->used * item_bytes;
    *ret_room = CHUNK_ITEMS - list->used;
    return 0;
}

int events_add(struct event_list *list, size_t item_bytes, uint32_t thread, uint32_t count) {
    if (count == 0)
        return 0;
    char *items = list->chunks[list->chunk_count - 1] + list->used * item_bytes;
    struct event_run *last = list->run_count ? &list->runs[list->run_count - 1] : NULL;
    if (last && list->used > 0 && last->thread == thread) {
        last->count += count;
    } else {
        int rc = array_reserve(&list->runs, list->run_count, &list->run_room, sizeof(*list->runs));
        if (rc < 0)
            return -ENOMEM;
        list->runs[list->run_count++] = (struct event_run){.items = items, .thread = thread, .count = count};
    }
    list->used += count;
    list->count += count;
    return 0;
}

int events_put(struct event_list *list, size_t item_bytes, uint32_t thread, const void *item) {
    void *items;
    uint32_t room;
    int rc = events_room(list, item_bytes, &items, &room);
    if (rc < 0)
        return rc;
    memcpy(items, item, item_bytes);
    return events_add(list, item_bytes, thread, 1);
}

int events_group(struct event_list *list, uint32_t thread_count) {
    free(list->thread_first);
    free(list->thread_runs);
    list->thread_first = list->thread_runs = NULL;
    return group_by_u32(list->runs, list->run_count, sizeof(*list->runs), offsetof(struct event_run, thread),
                        thread_count, &list->thread_first, &list->thread_runs);
}

void events_free(struct event_list *list) {
    for (uint32_t i = 0; i < list->chunk_count; i++)
        big_free(list->chunks[i], CHUNK_ITEMS * list->item_bytes);
    free(list->chunks);
    free(list->runs);
    free(list->thread_first);
    free(list->thread_runs);
    *list = (struct event_list){0};
}

int events_gather(struct event_list *list, size_t item_bytes, uint32_t thread_count, uint32_t **ret_first,
                  void **ret_items) {
    uint32_t *first = calloc((size_t)thread_count + 2, sizeof(*first));
    char *items = big_alloc(list->count * item_bytes);
    if (!first || !items) {
        free(first);
        big_free(items, list->count * item_bytes);
        return -ENOMEM;
    }
    /* Counted two places up, so that after placing the runs first[] is where it has to be. */
    for (uint32_t i = 0; i < list->run_count; i++)
        first[list->runs[i].thread + 2] += list->runs[i].count;
    for (uint32_t i = 2; i < thread_count + 2; i++)
        first[i] += first[i - 1];
    uint32_t chunk = 0;
    for (uint32_t i = 0; i < list->run_count; i++) {
        const struct event_run *run = &list->runs[i];
        /* Runs come in the order of chunks, and none reaches over two. */
        while ((uintptr_t)run->items - (uintptr_t)list->chunks[chunk] >= CHUNK_ITEMS * item_bytes) {
            big_free(list->chunks[chunk], CHUNK_ITEMS * item_bytes);
            list->chunks[chunk++] = NULL;
        }
        memcpy(items + first[run->thread + 1] * item_bytes, run->items, run->count * item_bytes);
        first[run->thread + 1] += run->count;
    }
    *ret_first = first;
    *ret_items = items;
    events_free(list);
    return 0;
}

/* Inlined for each kind of event, so that the copies are of a known size. */
static inline __attribute__((always_inline)) int scatter(struct event_list *list, size_t item_bytes,
                                                         size_t lock_offset, const uint32_t *place,
                                                         uint32_t lock_count, uint32_t **ret_first,
                                                         char **ret_items) {
    uint32_t *first = calloc((size_t)lock_count + 2, sizeof(*first));
    char *items = big_alloc(list->count * item_bytes);
    if (!first || !items) {
        free(first);
        big_free(items, list->count * item_bytes);
        return -ENOMEM;
    }
    /* Counted two places up, so that after placing the items first[] is where it has to be. */
    for (uint32_t chunk = 0; chunk < list->chunk_count; chunk++) {
        const char *at = list->chunks[chunk] + lock_offset;
        for (uint32_t i = chunk_items(list, chunk); i > 0; i--, at += item_bytes) {
            uint32_t lock;
            memcpy(&lock, at, sizeof(lock));
            first[place[lock] + 2]++;
        }
    }
    for (uint32_t i = 2; i < lock_count + 2; i++)
        first[i] += first[i - 1];
    for (uint32_t chunk = 0; chunk < list->chunk_count; chunk++) {
        const char *at = list->chunks[chunk];
        for (uint32_t i = chunk_items(list, chunk); i > 0; i--, at += item_bytes) {
            uint32_t lock;
            memcpy(&lock, at + lock_offset, sizeof(lock));
            lock = place[lock];
            char *to = items + (size_t)first[lock + 1]++ * item_bytes;
            memcpy(to, at, item_bytes);
            memcpy(to + lock_offset, &lock, sizeof(lock));
        }
        big_free(list->chunks[chunk], CHUNK_ITEMS * item_bytes);
        list->chunks[chunk] = NULL;
    }
    *ret_first = first;
    *ret_items = items;
    events_free(list);
    return 0;
}

int events_scatter_waits(struct event_list *list, const uint32_t *place, uint32_t lock_count,
                         uint32_t **ret_first, struct model_wait **ret_waits) {
    char *items;
    int rc = scatter(list, sizeof(struct model_wait), offsetof(struct model_wait, lock), place, lock_count,
                     ret_first, &items);
    if (rc == 0)
        *ret_waits = (struct model_wait *)(void *)items;
    return rc;
}

int events_scatter_releases(struct event_list *list, const uint32_t *place, uint32_t lock_count,
                            uint32_t **ret_first, struct model_release **ret_releases) {
    char *items;
    int rc = scatter(list, sizeof(struct model_release), offsetof(struct model_release, lock), place,
                     lock_count, ret_first, &items);
    if (rc == 0)
        *ret_releases = (struct model_release *)(void *)items;
    return rc;
}

static void sort_by_insertion(struct model_release *releases, uint32_t count) {
    for (uint32_t i = 1; i < count; i++) {
        struct model_release moved = releases[i];
        uint32_t place = i;
        for (; place > 0 && releases[place - 1].time > moved.time; place--)
            releases[place] = releases[place - 1];
        releases[place] = moved;
    }
}

static void merge(const struct model_release *from, uint32_t middle, uint32_t count,
                  struct model_release *to) {
    uint32_t left = 0, right = middle, out = 0;
    while (left < middle && right < count)
        to[out++] = from[right].time < from[left].time ? from[right++] : from[left++];
    memcpy(to + out, from + left, (middle - left) * sizeof(*to));
    memcpy(to + out + (middle - left), from + right, (count - right) * sizeof(*to));
}

/* starts: the beginnings of the run_count sorted runs, then count. */
static int sort_by_merging(struct model_release *releases, uint32_t *starts, uint32_t run_count) {
    uint32_t count = starts[run_count];
    struct model_release *spare = big_alloc(count * sizeof(*spare)), *from = releases, *to = spare;
    if (!spare)
        return -ENOMEM;
    while (run_count > 1) {
        uint32_t merged = 0;
        for (uint32_t run = 0; run < run_count; run += 2) {
            uint32_t begin = starts[run], middle = starts[run + 1];
            uint32_t end = run + 2 <= run_count ? starts[run + 2] : middle;
            merge(from + begin, middle - begin, end - begin, to + begin);
            starts[merged++] = begin;
        }
        starts[merged] = count;
        run_count = merged;
        struct model_release *swap = from;
        from = to;
        to = swap;
    }
    if (from != releases)
        memcpy(releases, from, count * sizeof(*releases));
    big_free(spare, count * sizeof(*spare));
    return 0;
}

int events_sort_releases(struct model_release *releases, uint32_t count) {
    uint32_t starts[MERGED_RUNS_MAX + 1] = {0}, runs = 1;
    for (uint32_t i = 1; i < count && runs <= MERGED_RUNS_MAX; i++)
        if (releases[i].time < releases[i - 1].time) {
            if (runs < MERGED_RUNS_MAX)
                starts[runs] = i;
            runs++;
        }
    if (runs == 1)
        return 0;
    if (count <= INSERTION_MAX) {
        sort_by_insertion(releases, count);
        return 0;
    }
    if (runs > MERGED_RUNS_MAX)
        return sort_by_u64(releases, count, sizeof(*releases), offsetof(struct model_release, time));
    starts[runs] = count;
    return sort_by_merging(releases, starts, runs);
}
