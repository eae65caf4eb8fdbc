/* SPDX-License-Identifier: MIT */
/*
 * Waits and releases on their way from the file into the model: kept as they came, in chunks that are
 * given back one by one as the events are put in order by lock, so that hardly more than one copy of
 * them is there at any time. What has the same size and a lock at a fixed offset can be an event.
 */
#ifndef WAITSCOPE_MODEL_EVENTS_H
#define WAITSCOPE_MODEL_EVENTS_H

#include <stddef.h>
#include <stdint.h>

/* Events of one thread that lie side by side. */
struct event_run {
    void *items;
    uint32_t thread, count;
};

/* Zero-initialised is empty. */
struct event_list {
    char **chunks;
    uint32_t chunk_count, chunk_room;
    size_t item_bytes;
    uint32_t used; /* items of the last chunk */
    uint32_t count;
    struct event_run *runs;
    uint32_t run_count, run_room;
    uint32_t *thread_first, *thread_runs; /* runs by thread: events_group(), see group_by_u32() */
};

/* Room for at least one more event: *ret_items has *ret_room of them. Returns 0, -ENOMEM, -EOVERFLOW. */
int events_room(struct event_list *list, size_t item_bytes, void **ret_items, uint32_t *ret_room);
/* The first count of that room are filled, with events of thread. Returns 0 or -ENOMEM. */
int events_add(struct event_list *list, size_t item_bytes, uint32_t thread, uint32_t count);
/* Adds one event of thread, a copy of item. Returns 0, -ENOMEM, -EOVERFLOW. */
int events_put(struct event_list *list, size_t item_bytes, uint32_t thread, const void *item);
/* Fills thread_first and thread_runs. Returns 0 or -ENOMEM. */
int events_group(struct event_list *list, uint32_t thread_count);
void events_free(struct event_list *list);

/*
 * Empties the list into an array by thread: thread t's items are items[first[t]] up to before
 * items[first[t + 1]], in the order they came. The caller frees first, and the items with big_free().
 * Returns 0 or -ENOMEM.
 */
int events_gather(struct event_list *list, size_t item_bytes, uint32_t thread_count, uint32_t **ret_first,
                  void **ret_items);

/*
 * Empties both lists into arrays by lock: lock l's items are items[first[l]] up to before
 * items[first[l + 1]], in the order they came. Their lock is renamed to place[lock]. The caller frees
 * first, and the items with big_free(). Returns 0 or -ENOMEM.
 */
struct model_wait;
struct model_release;
int events_scatter_waits(struct event_list *list, const uint32_t *place, uint32_t lock_count,
                         uint32_t **ret_first, struct model_wait **ret_waits);
int events_scatter_releases(struct event_list *list, const uint32_t *place, uint32_t lock_count,
                            uint32_t **ret_first, struct model_release **ret_releases);
/* Sorts by time, stably: few sorted runs are merged, anything else goes by radix. Returns 0 or -ENOMEM. */
int events_sort_releases(struct model_release *releases, uint32_t count);

#endif
