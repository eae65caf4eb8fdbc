/* SPDX-License-Identifier: MIT */
/* What is still being waited for at a tick: read racily from the slots, for display. */
#include "collector/recording.h"

#define SNAPSHOT_AGE_NS 10000000ULL /* shorter waits will be told by their own record */

static void slot_snapshot(struct recording *recording, struct image *image, struct slab *slab,
                          struct slot_view *view) {
    struct thread_slot *slot = view_slot(slab, view);
    uint64_t key = atomic_load_explicit(&slot->now_key, memory_order_acquire); /* [NOW] */
    if (key == 0 || !intern_key_is_lock(key))
        return;
    uint64_t since_ticks = atomic_load_explicit(&slot->now_since, memory_order_relaxed);
    uint64_t stack = atomic_load_explicit(&slot->now_stack, memory_order_relaxed);
    uint64_t owner_site = atomic_load_explicit(&slot->now_owner_site, memory_order_relaxed);
    uint32_t owner = atomic_load_explicit(&slot->now_owner, memory_order_acquire);
    /* The wait may have ended while it was read. */
    if (since_ticks == 0 || atomic_load_explicit(&slot->now_key, memory_order_relaxed) != key)
        return;
    uint64_t since = image_time(recording, image, since_ticks, NULL);
    /* What it refers to must be known, or a lock would seem to be another one. */
    if (recording->now - since <= SNAPSHOT_AGE_NS || since >= drain_known_until(recording))
        return;
    struct trace_snapshot row = {
        .time = recording->now,
        .thread = view->thread,
        .lock = intern_lock(recording, image, key, 0),
        .since = since,
        .stack = intern_stack(image, stack),
        .owner_site = intern_location(recording, image, owner_site & (UINT64_MAX >> 1), false),
        .mode = lock_key_class(key),
    };
    if (!row.lock)
        return;
    row.owner = shared_lock_owner(recording, image, (uint32_t)row.lock, owner);
    trace_writer_row(recording->writer, TRACE_SNAPSHOT, 0, &row);
}

void snapshot_write(struct recording *recording) {
    for (uint32_t n = 0; n < recording->image_count; n++) {
        struct image *image = recording->images[n];
        for (uint32_t s = 0; s < image->slab_count; s++) {
            struct slab *slab = image->slabs[s];
            for (uint32_t i = 0; i < slab->slots_seen; i++) {
                if (slab->views[i])
                    slot_snapshot(recording, image, slab, slab->views[i]);
            }
        }
    }
}
