/* SPDX-License-Identifier: MIT */
/*
 * Moves what agents wrote out of shared memory and into the trace, in bounded rounds.
 *
 * A round copies rings into an arena, releases them at once, and only then looks at the copies.
 * Order across threads: a thread may use what another one defined (a lock it initialised, a module
 * or a stack it reported, itself), and then the definition was published before the use. So after
 * all rings have been copied, whatever has been published since is peeked at for definitions: what
 * any copied record can depend on lies in a copy or in a peek. Definitions are applied first.
 *
 * Fairness: each image with data gets an equal share of the arena, each slot at most SLOT_SHARE.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "collector/recording.h"
#include "format/ring.h"

#define ARENA_BYTES (4U << 20)
#define SLOT_SHARE (256U << 10)
#define IMAGE_SHARE_MINIMUM (128U << 10)

struct drain_candidate {
    struct image *image;
    struct slab *slab;
    struct slot_view *view;
    bool dead; /* its thread was gone before its ring was read */
    bool fresh;
};

struct drain {
    char *arena;
    size_t used;
    struct drain_candidate *candidates;
    size_t candidate_count, candidate_room;
    struct drain_chunk *chunks;
    size_t chunk_count, chunk_room;
    uint32_t turn; /* where in an image's slots a round begins */
};

int drain_new(struct drain **ret_drain) {
    struct drain *drain = calloc(1, sizeof(*drain));
    if (!drain)
        return -ENOMEM;
    drain->arena = malloc(ARENA_BYTES);
    if (!drain->arena) {
        free(drain);
        return -ENOMEM;
    }
    *ret_drain = drain;
    return 0;
}

void drain_free(struct drain *drain) {
    if (!drain)
        return;
    free(drain->arena);
    free(drain->candidates);
    free(drain->chunks);
    free(drain);
}

/* Reading a page of a memfd that nobody touched would allocate it: ask where there is data. */
static void slab_find_slots(struct slab *slab) {
    const struct slab_header *header = &slab->header;
    while (slab->slots_seen < header->slot_count) {
        off_t from = (off_t)SLAB_HEADER_BYTES + (off_t)slab->slots_seen * header->slot_bytes;
        off_t data = lseek(slab->fd, from, SEEK_DATA);
        if (data < from)
            return;
        uint64_t index = (uint64_t)(data - SLAB_HEADER_BYTES) / header->slot_bytes;
        if (index >= header->slot_count)
            return;
        slab->slots_seen = (uint32_t)index + 1;
    }
}

static bool candidate_add(struct drain *drain, struct drain_candidate candidate) {
    if (drain->candidate_count == drain->candidate_room) {
        size_t room = drain->candidate_room ? drain->candidate_room * 2 : 256;
        struct drain_candidate *grown = realloc(drain->candidates, room * sizeof(*grown));
        if (!grown)
            return false;
        drain->candidates = grown;
        drain->candidate_room = room;
    }
    drain->candidates[drain->candidate_count++] = candidate;
    return true;
}

/* Collects the slots that have something to do; with threads seen for the first time. */
static void image_collect(struct recording *recording, struct image *image, bool fresh_only) {
    for (uint32_t s = 0; s < image->slab_count; s++) {
        struct slab *slab = image->slabs[s];
        slab_find_slots(slab);
        for (uint32_t i = 0; i < slab->slots_seen; i++) {
            struct slot_view *view = &slab->views[i];
            struct thread_slot *slot = slab_slot(slab->memory, slab->header.slot_bytes, i);
            uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire); /* [SLOT-STATE] */
            struct drain_candidate candidate = {image, slab, view, false, false};
            if (!view->thread) {
                if (state != SLOT_LIVE && state != SLOT_ENDING)
                    continue;
                image_describe(recording, image);
                thread_begin(recording, image, slab, view);
                candidate.fresh = true;
            }
            bool added = true;
            candidate.dead = state == SLOT_ENDING && image_thread_is_gone(image, view->tid);
            bool data = atomic_load_explicit(&slot->ring.head, memory_order_relaxed) != view->tail;
            if (candidate.fresh || (!fresh_only && (candidate.dead || data)))
                added = candidate_add(recording->drain, candidate);
            if (!added && candidate.fresh)
                view->thread = 0; /* no memory: seen again in a later round */
        }
    }
}

static struct drain_chunk *chunk_add(struct drain *drain) {
    if (drain->chunk_count == drain->chunk_room) {
        size_t room = drain->chunk_room ? drain->chunk_room * 2 : 256;
        struct drain_chunk *grown = realloc(drain->chunks, room * sizeof(*grown));
        if (!grown)
            return NULL;
        drain->chunks = grown;
        drain->chunk_room = room;
    }
    return &drain->chunks[drain->chunk_count++];
}

static void slot_skip(struct thread_slot *slot, struct slot_view *view) {
    view->corrupt++;
    view->tail = ring_skip(&slot->ring);
    view->defined = view->tail;
    ring_release(&slot->ring, view->tail);
}

/*
 * Copies at most share bytes of a slot's ring into the arena. peek: only to learn definitions, the
 * reader's position stays. Returns how many bytes were taken of the arena.
 */
static size_t slot_copy(struct drain *drain, const struct drain_candidate *candidate, size_t share,
                        bool peek) {
    struct slab *slab = candidate->slab;
    struct slot_view *view = candidate->view;
    struct thread_slot *slot = view_slot(slab, view);
    size_t room = ARENA_BYTES - drain->used;
    if (share > room)
        share = room;
    if (share > SLOT_SHARE)
        share = SLOT_SHARE;
    share &= ~(size_t)7;
    if (share < RECORD_WORDS_MAX * 8)
        return 0;

    bool corrupt;
    char *records = drain->arena + drain->used;
    size_t bytes = ring_read(&slot->ring, slot_ring_bytes(slot), slab->header.ring_bytes, view->tail, records,
                             share, &corrupt);
    if (corrupt && !peek)
        slot_skip(slot, view);
    if (corrupt || bytes == 0)
        return 0;
    struct drain_chunk *chunk = chunk_add(drain);
    if (!chunk)
        return 0;
    *chunk = (struct drain_chunk){candidate->image, slab, view, view->tail, records, 0, 0, peek};
    bool plausible = event_check(chunk, bytes);
    drain->used += bytes;
    if (peek)
        return bytes;
    /* Records are published whole: only a copy that met its limit may end within one. */
    if (!plausible || (chunk->bytes < bytes && bytes < share)) {
        slot_skip(slot, view);
    } else {
        view->tail += chunk->bytes;
        ring_release(&slot->ring, view->tail); /* [RING-CONSUME] */
    }
    return bytes;
}

static void candidates_copy(struct drain *drain, struct drain_work *work) {
    size_t images = 0;
    for (size_t i = 0; i < drain->candidate_count; i++)
        images += i == 0 || drain->candidates[i].image != drain->candidates[i - 1].image;
    size_t share = images ? ARENA_BYTES / images : 0;
    if (share < IMAGE_SHARE_MINIMUM)
        share = IMAGE_SHARE_MINIMUM;
    for (size_t first = 0, end; first < drain->candidate_count; first = end) {
        for (end = first + 1; end < drain->candidate_count; end++) {
            if (drain->candidates[end].image != drain->candidates[first].image)
                break;
        }
        size_t count = end - first, taken = 0;
        for (size_t i = 0; i < count && taken < share; i++) {
            const struct drain_candidate *candidate = &drain->candidates[first + (drain->turn + i) % count];
            size_t bytes = slot_copy(drain, candidate, share - taken, false);
            uint64_t fill = (uint64_t)bytes * 256 / candidate->slab->header.ring_bytes;
            if (fill > work->fullest)
                work->fullest = (uint32_t)fill;
            taken += bytes;
        }
        work->bytes += taken;
    }
    drain->turn++;
}

static int fresh_compare(const void *left, const void *right) {
    const struct drain_candidate *a = left, *b = right;
    uint64_t x = view_slot(a->slab, a->view)->start_ticks, y = view_slot(b->slab, b->view)->start_ticks;
    return x < y ? -1 : x > y;
}

/* Rows of new threads, creators first: a row may name its creator's id. */
static void fresh_describe(struct recording *recording, struct drain *drain) {
    size_t fresh = 0;
    for (size_t i = 0; i < drain->candidate_count; i++) {
        if (drain->candidates[i].fresh) {
            struct drain_candidate candidate = drain->candidates[i];
            drain->candidates[i] = drain->candidates[fresh];
            drain->candidates[fresh++] = candidate;
        }
    }
    if (fresh > 1)
        qsort(drain->candidates, fresh, sizeof(*drain->candidates), fresh_compare);
    for (size_t i = 0; i < fresh; i++)
        thread_describe(recording, drain->candidates[i].image, drain->candidates[i].slab,
                        drain->candidates[i].view);
}

static void chunks_apply(struct recording *recording, struct drain *drain, enum event_pass pass) {
    for (size_t i = 0; i < drain->chunk_count; i++) {
        const struct drain_chunk *chunk = &drain->chunks[i];
        if (pass != EVENT_EVENTS || !chunk->peeked)
            event_apply(recording, chunk, pass);
    }
}

static void dead_reclaim(struct recording *recording, struct drain *drain) {
    for (size_t i = 0; i < drain->candidate_count; i++) {
        const struct drain_candidate *candidate = &drain->candidates[i];
        struct thread_slot *slot = view_slot(candidate->slab, candidate->view);
        if (!candidate->dead ||
            atomic_load_explicit(&slot->ring.head, memory_order_relaxed) != candidate->view->tail)
            continue;
        thread_end(recording, candidate->image, candidate->slab, candidate->view, 0);
        slot_reclaim(candidate->slab, candidate->view);
    }
}

static void images_collect(struct recording *recording, struct image *only, bool fresh_only) {
    for (uint32_t i = 0; i < recording->image_count; i++) {
        if (!only || recording->images[i] == only)
            image_collect(recording, recording->images[i], fresh_only);
    }
}

/* What was published since the copies were made, in any slot of an image that has copies. */
static void images_peek(struct recording *recording, struct drain *drain, struct image *only) {
    for (uint32_t n = 0; n < recording->image_count; n++) {
        struct image *image = recording->images[n];
        if (only && image != only)
            continue;
        for (uint32_t s = 0; s < image->slab_count; s++) {
            struct slab *slab = image->slabs[s];
            for (uint32_t i = 0; i < slab->slots_seen; i++) {
                struct drain_candidate candidate = {image, slab, &slab->views[i], false, false};
                struct thread_slot *slot = view_slot(slab, candidate.view);
                if (candidate.view->thread &&
                    atomic_load_explicit(&slot->ring.head, memory_order_relaxed) != candidate.view->tail)
                    slot_copy(drain, &candidate, SLOT_SHARE, true);
            }
        }
    }
}

struct drain_work drain_round(struct recording *recording, struct image *only) {
    struct drain *drain = recording->drain;
    struct drain_work work = {0, 0};
    drain->used = drain->candidate_count = drain->chunk_count = 0;

    images_collect(recording, only, false);
    if (drain->candidate_count == 0)
        return work;
    candidates_copy(drain, &work);
    images_collect(recording, only, true);
    images_peek(recording, drain, only);
    recording->now = clock_now_ns();
    clock_tick(&recording->clock, recording->now);

    chunks_apply(recording, drain, EVENT_MODULES);
    chunks_apply(recording, drain, EVENT_DEFINITIONS);
    for (size_t i = 0; i < drain->chunk_count; i++) {
        const struct drain_chunk *chunk = &drain->chunks[i];
        uint64_t end = chunk->position + chunk->bytes;
        if (end > chunk->view->defined)
            chunk->view->defined = end;
    }
    fresh_describe(recording, drain);
    chunks_apply(recording, drain, EVENT_EVENTS);
    dead_reclaim(recording, drain);
    return work;
}
