/* SPDX-License-Identifier: MIT */
/* Slots that go back to the agent, and their memory to the system. */
#include <fcntl.h>
#include <string.h>

#include "collector/recording.h"

struct thread_slot *view_slot(const struct slab *slab, const struct slot_view *view) {
    return slab_slot(slab->memory, slab->header.slot_bytes, view->slot);
}

/* A thread's first records go to the same pages as its predecessor's: so much of a ring stays. */
#define RING_BYTES_KEPT 16384U

static struct slab_header *image_first_slab(const struct image *image) {
    for (uint32_t i = 0; i < image->slab_count; i++) {
        if (image->slabs[i]->header.slab_index == 0)
            return image->slabs[i]->memory;
    }
    return NULL;
}

static int slot_punch(const struct slab *slab, const struct thread_slot *slot, size_t from, size_t bytes) {
    off_t offset = (off_t)((const char *)slot - (const char *)slab->memory);
    return fallocate(slab->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset + (off_t)from,
                     (off_t)bytes);
}

static void slot_free(const struct image *image, const struct slab *slab, struct thread_slot *slot,
                      uint32_t index) {
    atomic_store_explicit(&slot->state, SLOT_FREE, memory_order_release); /* [SLOT-STATE] */
    if (slab->header.slab_index < SLABS_MAX)
        slab_slot_freed(image_first_slab(image), slab->memory, slab->header.slab_index, index);
}

/*
 * Wipes what was used and keeps the pages: taking them out of the mappings of a running program interrupts
 * it on every processor, and the next thread would have to fault them in again. Of what is too much to be
 * kept the memory goes back at once, of the rest in images_trim().
 */
void slot_reclaim(struct image *image, struct slab *slab, struct slot_view *view) {
    struct thread_slot *slot = view_slot(slab, view);
    uint32_t generation = slot->generation, mask = slot->counts_mask;
    if (view->tail > RING_BYTES_KEPT && slab->header.ring_bytes > RING_BYTES_KEPT)
        (void)slot_punch(slab, slot, SLOT_RING_OFFSET + RING_BYTES_KEPT,
                         slab->header.ring_bytes - RING_BYTES_KEPT);
    if (mask != SLOT_COUNTS_SMALL - 1)
        memset(slot_counts(slot), 0, SLOT_COUNTS * sizeof(struct lock_count));
    memset((char *)slot + offsetof(struct thread_slot, tid), 0,
           SLOT_FIRST_BYTES - offsetof(struct thread_slot, tid));
    slot->generation = generation;
    slab->views[view->slot] = NULL;
    if (view->slot < 64) {
        slab->freed |= 1ULL << view->slot;
        slab->kept |= 1ULL << view->slot;
    }
    slot_free(image, slab, slot, view->slot);
}

static void slab_trim(const struct image *image, struct slab *slab) {
    struct slab_header *header = slab->memory;
    uint64_t idle = slab->kept & ~slab->freed;
    slab->freed = 0;
    for (; idle != 0; idle &= idle - 1) {
        uint32_t index = (uint32_t)__builtin_ctzll(idle), expected = SLOT_FREE;
        uint64_t bit = 1ULL << index;
        struct thread_slot *slot = slab_slot(slab->memory, slab->header.slot_bytes, index);
        slab->kept &= ~bit;
        /* Taken as a thread would take it, so that none does meanwhile. */
        if (slab->views[index] ||
            !(atomic_fetch_and_explicit(&header->free_slots, ~bit, memory_order_acquire) &
              bit) || /* [SLOT-FREE] */
            !atomic_compare_exchange_strong_explicit(&slot->state, &expected, SLOT_TAKEN,
                                                     memory_order_acquire,
                                                     memory_order_relaxed)) /* [SLOT-STATE] */
            continue;
        (void)slot_punch(slab, slot, 0, slab->header.slot_bytes);
        slot_free(image, slab, slot, index);
    }
}

void images_trim(struct recording *recording) {
    for (uint32_t i = 0; i < recording->image_count; i++) {
        struct image *image = recording->images[i];
        for (uint32_t s = 0; s < image->slab_count; s++)
            slab_trim(image, image->slabs[s]);
    }
}
