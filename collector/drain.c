/* SPDX-License-Identifier: MIT */
/*
 * Moves what agents wrote out of shared memory and into the trace, in two steps that do not wait for
 * each other: sweeps copy all rings into the backlog and give the room back at once; passes over the
 * backlog then intern and write. A sweep costs little more than copying, and is done again and again
 * while a pass is at work, so that a ring is only as full as what comes within a fraction of a
 * millisecond, whatever interning, compressing and writing take.
 *
 * Order across threads: a thread may use what another one defined (a lock it initialised, a module
 * or a stack it reported, itself), and then the definition was published before the use. So what a
 * record of sweep n can depend on was copied by sweep n + 1 at the latest, and each pass stays a
 * sweep behind the one it depends on: modules, then stacks and locks, then threads, then events.
 * Where the backlog is full this order may break, and a use be known before its definition.
 *
 * Fairness: no image may hold more of the backlog than is free, so a flood leaves room for others.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "collector/recording.h"
#include "format/ring.h"

#define BREATH_NS 60000ULL /* a pass looks at the rings this often, or more rarely if that takes long */
#define BREATH_SHARE 4U
#define QUIET_BYTES 4096U /* a sweep with less to copy tells what a sweep itself costs */
#define FINISH_ROUNDS 64

struct drain {
    struct backlog *backlog;
    struct backlog_cursor cursors[EVENT_PASS_COUNT];
    uint64_t sweep; /* number of the last one that is complete; the first is 1 */
    bool sweeping;
    uint64_t swept_begin_ns, swept_end_ns, sweep_cost_ns;
    struct drain_work breathed; /* what was found since the last drain_process() began */
    struct backlog_entry *fresh;
    size_t fresh_count, fresh_room;
};

int drain_new(struct drain **ret_drain) {
    struct drain *drain = calloc(1, sizeof(*drain));
    if (!drain)
        return -ENOMEM;
    int error = backlog_new(&drain->backlog);
    if (error != 0) {
        free(drain);
        return error;
    }
    for (int pass = 0; pass < EVENT_PASS_COUNT; pass++)
        drain->cursors[pass] = backlog_begin(drain->backlog);
    *ret_drain = drain;
    return 0;
}

void drain_free(struct drain *drain) {
    if (!drain)
        return;
    backlog_free(drain->backlog);
    free(drain->fresh);
    free(drain);
}

/* --- sweeps -------------------------------------------------------------------------------------- */

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

static void entry_commit(struct drain *drain, struct backlog_entry *entry) {
    backlog_commit(drain->backlog, entry);
    entry->image->pending_bytes += backlog_entry_bytes(entry);
    entry->view->pending++;
}

/* Appends an entry without records; false: there is no room. */
static bool entry_tell(struct drain *drain, const struct backlog_entry *told) {
    struct backlog_entry *entry = backlog_reserve(drain->backlog, 0);
    if (!entry)
        return false;
    *entry = *told;
    entry_commit(drain, entry);
    return true;
}

static void slot_skip(struct thread_slot *slot, struct slot_view *view) {
    view->corrupt++;
    view->tail = ring_skip(&slot->ring);
    ring_release(&slot->ring, view->tail);
}

/* Copies what a slot's ring has, as far as there is room. Returns how many bytes. */
static uint64_t slot_copy(struct drain *drain, const struct backlog_entry *from) {
    struct slab *slab = from->slab;
    struct slot_view *view = from->view;
    struct thread_slot *slot = view_slot(slab, view);
    uint32_t ring_bytes = slab->header.ring_bytes;
    uint64_t taken = 0;
    while (taken < ring_bytes) {
        bool corrupt;
        if (from->image->pending_bytes + BACKLOG_CHUNK_BYTES > BACKLOG_BYTES - backlog_used(drain->backlog))
            break;
        struct backlog_entry *entry = backlog_reserve(drain->backlog, BACKLOG_CHUNK_BYTES);
        if (!entry)
            break;
        size_t bytes = ring_read(&slot->ring, slot_ring_bytes(slot), ring_bytes, view->tail, entry->records,
                                 BACKLOG_CHUNK_BYTES, &corrupt);
        if (corrupt)
            slot_skip(slot, view);
        if (corrupt || bytes == 0)
            break;
        *entry = *from;
        bool plausible = event_check(entry, bytes);
        taken += bytes;
        view->tail += entry->bytes;
        /* Records are published whole: only a copy that met its limit may end within one. */
        if (!plausible || (entry->bytes < bytes && bytes < BACKLOG_CHUNK_BYTES))
            slot_skip(slot, view);
        else
            ring_release(&slot->ring, view->tail); /* [RING-CONSUME] */
        if (entry->bytes > 0)
            entry_commit(drain, entry);
        if (bytes < BACKLOG_CHUNK_BYTES || entry->bytes == 0)
            break;
    }
    return taken;
}

static bool fresh_add(struct drain *drain, const struct backlog_entry *entry) {
    if (drain->fresh_count == drain->fresh_room) {
        size_t room = drain->fresh_room ? drain->fresh_room * 2 : 64;
        struct backlog_entry *grown = realloc(drain->fresh, room * sizeof(*grown));
        if (!grown)
            return false;
        drain->fresh = grown;
        drain->fresh_room = room;
    }
    drain->fresh[drain->fresh_count++] = *entry;
    return true;
}

static void fresh_forget(struct slab *slab, struct slot_view *view) {
    slab->views[view->slot] = NULL;
    free(view);
}

static int fresh_compare(const void *left, const void *right) {
    const struct backlog_entry *a = left, *b = right;
    uint64_t x = a->view->start_ticks, y = b->view->start_ticks;
    return x < y ? -1 : x > y;
}

/* New threads, creators first: a thread's row may name its creator's id. Without room they are seen
 * again in a later sweep. */
static void fresh_tell(struct drain *drain) {
    if (drain->fresh_count > 1)
        qsort(drain->fresh, drain->fresh_count, sizeof(*drain->fresh), fresh_compare);
    for (size_t i = 0; i < drain->fresh_count; i++) {
        if (!entry_tell(drain, &drain->fresh[i]))
            fresh_forget(drain->fresh[i].slab, drain->fresh[i].view);
    }
    drain->fresh_count = 0;
}

static void slabs_find_fresh(struct recording *recording, struct drain *drain, struct backlog_entry *entry) {
    struct image *image = entry->image;
    for (uint32_t s = 0; s < image->slab_count; s++) {
        struct slab *slab = image->slabs[s];
        slab_find_slots(slab);
        for (uint32_t i = 0; i < slab->slots_seen; i++) {
            if (slab->views[i])
                continue;
            struct thread_slot *slot = slab_slot(slab->memory, slab->header.slot_bytes, i);
            uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire); /* [SLOT-STATE] */
            if (state != SLOT_LIVE && state != SLOT_ENDING)
                continue;
            entry->slab = slab;
            entry->view = thread_begin(recording, image, slab, i);
            if (entry->view && !fresh_add(drain, entry))
                fresh_forget(slab, entry->view);
        }
    }
}

/* Whether the thread of a slot was gone before this look at its ring. */
static bool view_is_dead(const struct image *image, const struct thread_slot *slot,
                         const struct slot_view *view) {
    uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire); /* [SLOT-STATE] */
    return state == SLOT_ENDING && image_thread_is_gone(image, view->tid);
}

/*
 * The slot of a thread that was gone before its ring was copied goes back at once, not when its records have
 * been dealt with: a program that makes threads by the thousand then gets by with the few slots that one
 * sweep finds. Without room in the backlog it waits for a later sweep.
 */
static bool slot_detach(struct drain *drain, const struct backlog_entry *from) {
    struct backlog_entry *entry = backlog_reserve(drain->backlog, (uint32_t)sizeof(struct thread_last));
    if (!entry)
        return false;
    *entry = *from;
    struct thread_last *last = (struct thread_last *)(void *)entry->records;
    thread_last_read(entry->slab, entry->view, last);
    entry->bytes = (uint32_t)thread_last_bytes(last);
    entry_commit(drain, entry);
    slot_reclaim(entry->image, entry->slab, entry->view);
    return true;
}

static void image_sweep(struct recording *recording, struct drain *drain, struct backlog_entry *entry,
                        struct drain_work *work) {
    struct image *image = entry->image;
    entry->what = BACKLOG_FRESH;
    entry->passes = 1U << EVENT_THREADS;
    slabs_find_fresh(recording, drain, entry);
    fresh_tell(drain);
    for (uint32_t s = 0; s < image->slab_count; s++) {
        struct slab *slab = image->slabs[s];
        for (uint32_t i = 0; i < slab->slots_seen; i++) {
            struct slot_view *view = slab->views[i];
            if (!view)
                continue;
            struct thread_slot *slot = view_slot(slab, view);
            bool dead = view_is_dead(image, slot, view);
            entry->slab = slab;
            entry->view = view;
            if (atomic_load_explicit(&slot->ring.head, memory_order_relaxed) != view->tail) {
                entry->what = BACKLOG_RECORDS;
                uint64_t bytes = slot_copy(drain, entry), fill = bytes * 256 / slab->header.ring_bytes;
                work->bytes += bytes;
                if (fill > work->fullest)
                    work->fullest = (uint32_t)fill;
            }
            if (!dead || atomic_load_explicit(&slot->ring.head, memory_order_relaxed) != view->tail)
                continue;
            entry->what = BACKLOG_DEAD;
            entry->passes = 1U << EVENT_EVENTS;
            work->ended += slot_detach(drain, entry);
        }
    }
}

struct drain_work drain_sweep(struct recording *recording) {
    struct drain *drain = recording->drain;
    struct drain_work work = {0};
    uint64_t begin = clock_now_ns();
    drain->sweeping = true;
    for (uint32_t i = 0; i < recording->image_count; i++) {
        if (recording->images[i]->closed)
            continue;
        struct backlog_entry entry = {
            .image = recording->images[i], .sweep = drain->sweep + 1, .swept_ns = begin};
        image_sweep(recording, drain, &entry, &work);
    }
    drain->sweep++;
    drain->sweeping = false;
    drain->swept_begin_ns = begin;
    drain->swept_end_ns = clock_now_ns();
    if (work.bytes < QUIET_BYTES)
        drain->sweep_cost_ns = drain->swept_end_ns - begin;
    return work;
}

void drain_breathe(void *context) {
    struct recording *recording = context;
    struct drain *drain = recording->drain;
    uint64_t pause = drain->sweep_cost_ns * BREATH_SHARE;
    if (drain->sweeping || clock_now_ns() - drain->swept_end_ns < (pause > BREATH_NS ? pause : BREATH_NS))
        return;
    struct drain_work work = drain_sweep(recording);
    drain->breathed.bytes += work.bytes;
    drain->breathed.ended += work.ended;
    if (work.fullest > drain->breathed.fullest)
        drain->breathed.fullest = work.fullest;
}

/* --- passes -------------------------------------------------------------------------------------- */

static void entry_apply(struct recording *recording, const struct backlog_entry *entry,
                        enum event_pass pass) {
    image_describe(recording, entry->image); /* every row of a process comes after its own */
    if (entry->what == BACKLOG_RECORDS) {
        event_apply(recording, entry, pass);
    } else if (entry->what == BACKLOG_FRESH) {
        thread_describe(recording, entry->image, entry->view);
    }
}

/*
 * Takes one pass through the entries of sweeps up to `through`, until the time is over. Returns the
 * sweep through which it is done.
 */
static uint64_t pass_run(struct recording *recording, enum event_pass pass, uint64_t through,
                         uint64_t deadline) {
    struct drain *drain = recording->drain;
    struct backlog_cursor *cursor = &drain->cursors[pass];
    bool last = pass == EVENT_PASS_COUNT - 1;
    struct backlog_entry *entry;
    while ((entry = backlog_at(cursor)) && entry->sweep <= through) {
        uint64_t sweep = entry->sweep;
        if (entry->passes >> pass & 1) {
            entry_apply(recording, entry, pass);
            drain_breathe(recording);
            if (drain->swept_end_ns > recording->now)
                recording->now = drain->swept_end_ns;
        }
        if (!last) {
            backlog_step(cursor, entry);
            continue;
        }
        entry->view->pending--;
        entry->image->pending_bytes -= backlog_entry_bytes(entry);
        if (entry->what == BACKLOG_DEAD)
            thread_end(recording, entry->image, entry->view,
                       (const struct thread_last *)(const void *)entry->records, 0);
        backlog_release(drain->backlog, cursor, entry);
        if (recording->now >= deadline)
            return sweep - 1;
    }
    return through;
}

bool drain_process(struct recording *recording, uint64_t budget_ns, struct drain_work *ret_work) {
    struct drain *drain = recording->drain;
    uint64_t through = drain->sweep, deadline = clock_now_ns() + budget_ns;
    if (deadline < budget_ns)
        deadline = UINT64_MAX;
    drain->breathed = (struct drain_work){0};
    bool late = false;
    for (int pass = 0; pass < EVENT_PASS_COUNT && through > 0; pass++) {
        uint64_t done = pass_run(recording, (enum event_pass)pass, through, deadline);
        late = done < through;
        /* A thread's row needs the definitions of its own sweep only. */
        through = pass == EVENT_DEFINITIONS ? done : done - 1;
    }
    backlog_tick(drain->backlog, recording->now);
    if (ret_work) {
        ret_work->bytes += drain->breathed.bytes;
        ret_work->ended += drain->breathed.ended;
        if (drain->breathed.fullest > ret_work->fullest)
            ret_work->fullest = drain->breathed.fullest;
    }
    return late;
}

uint64_t drain_finish(struct recording *recording) {
    struct drain *drain = recording->drain;
    struct drain_work work = {0};
    /* What is there now is done with once the passes have followed the sweeps that see it all. */
    uint64_t through = drain->sweep + 1;
    for (int round = 0; round < FINISH_ROUNDS; round++) {
        struct drain_work swept = drain_sweep(recording);
        if (round == 0)
            work = swept;
        recording->now = clock_now_ns();
        clock_tick(&recording->clock, recording->now);
        drain_process(recording, UINT64_MAX, NULL);
        struct backlog_entry *entry = backlog_at(&drain->cursors[EVENT_PASS_COUNT - 1]);
        if (!entry || entry->sweep > through)
            break;
    }
    return work.bytes;
}

uint64_t drain_known_until(const struct recording *recording) {
    struct backlog_cursor cursor = recording->drain->cursors[EVENT_PASS_COUNT - 1];
    const struct backlog_entry *oldest = backlog_at(&cursor);
    return oldest ? oldest->swept_ns : recording->drain->swept_begin_ns;
}
