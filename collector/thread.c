/* SPDX-License-Identifier: MIT */
/* The life of one thread's slot in the trace: begin, name, losses, harvest, end, reclaim. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "collector/recording.h"

/* No thread writes a record in less: past that a counter of a hostile slot is not believed, so that
 * it does not drown the sums of all others. */
#define RECORD_NS 8U
#define COUNTER_ALWAYS 1000000ULL

struct thread_slot *view_slot(const struct slab *slab, const struct slot_view *view) {
    return slab_slot(slab->memory, slab->header.slot_bytes, (uint32_t)(view - slab->views));
}

static uint64_t counter_read(const struct recording *recording, const struct image *image,
                             _Atomic uint64_t *counter) {
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    uint64_t limit = (recording->now - image->start_ns) / RECORD_NS + COUNTER_ALWAYS;
    return value < limit ? value : limit;
}

void thread_begin(struct recording *recording, struct image *image, struct slab *slab,
                  struct slot_view *view) {
    struct thread_slot *slot = view_slot(slab, view);
    memset(view, 0, sizeof(*view));
    view->thread = ++recording->thread_count;
    view->tid = slot->tid;
    /* Without memory the thread is recorded all the same, only not known as an owner. */
    (void)table_set(&image->threads, view->tid, view->thread);
}

void thread_name(struct recording *recording, struct image *image, uint32_t thread, uint64_t time,
                 const char name[THREAD_NAME_BYTES]) {
    (void)image;
    struct trace_thread_name row = {.thread = thread, .time = time};
    row.name = trace_writer_string(recording->writer, name, strnlen(name, THREAD_NAME_BYTES));
    if (row.name)
        trace_writer_row(recording->writer, TRACE_THREAD_NAME, 0, &row);
}

static void name_refresh(struct recording *recording, struct image *image, const struct thread_slot *slot,
                         struct slot_view *view, uint64_t time) {
    char name[THREAD_NAME_BYTES];
    memcpy(name, slot->name, sizeof(name));
    if (name[0] == '\0' || memcmp(name, view->name, sizeof(name)) == 0)
        return;
    memcpy(view->name, name, sizeof(name));
    thread_name(recording, image, view->thread, time, name);
}

void thread_describe(struct recording *recording, struct image *image, struct slab *slab,
                     struct slot_view *view) {
    struct thread_slot *slot = view_slot(slab, view);
    uint64_t start = image_time(recording, image, slot->start_ticks, &view->guard);
    uint32_t creator_tid = slot->creator_tid;
    struct trace_thread row = {
        .id = view->thread,
        .process = image->process,
        .tid = view->tid,
        .start = start,
        .creator = creator_tid ? table_get(&image->threads, creator_tid) : 0,
        .creator_stack = intern_stack(image, slot->creator_stack),
        .routine = intern_location(recording, image, slot->start_routine & (UINT64_MAX >> 1), true),
    };
    if (row.creator == row.id)
        row.creator = 0;
    trace_writer_row(recording->writer, TRACE_THREAD, 0, &row);
    name_refresh(recording, image, slot, view, start);
}

static void loss_write(struct recording *recording, const struct image *image, uint32_t thread,
                       enum loss_reason reason, uint64_t count) {
    struct trace_loss row = {.time = recording->now,
                             .process = image->process,
                             .thread = thread,
                             .reason = reason,
                             .count = count};
    trace_writer_row(recording->writer, TRACE_LOSS, 0, &row);
}

void thread_losses(struct recording *recording, struct image *image, struct slab *slab,
                   struct slot_view *view) {
    struct thread_slot *slot = view_slot(slab, view);
    for (int reason = 0; reason < LOSS_REASON_COUNT; reason++) {
        uint64_t total = counter_read(recording, image, &slot->lost[reason]);
        if (reason == LOSS_CORRUPT)
            total += view->corrupt;
        if (reason == LOSS_COLLECTOR)
            total += view->unstored;
        if (total <= view->lost[reason])
            continue;
        loss_write(recording, image, view->thread, (enum loss_reason)reason, total - view->lost[reason]);
        view->lost[reason] = total;
    }
}

void slab_losses(struct recording *recording, struct image *image, struct slab *slab) {
    struct slab_header *header = slab->memory;
    for (int reason = 0; reason < LOSS_REASON_COUNT; reason++) {
        uint64_t total = counter_read(recording, image, &header->lost[reason]);
        if (total <= slab->lost[reason])
            continue;
        loss_write(recording, image, 0, (enum loss_reason)reason, total - slab->lost[reason]);
        recording->emitted += total - slab->lost[reason];
        slab->lost[reason] = total;
    }
}

bool thread_count_store(struct recording *recording, struct image *image, struct slot_view *view,
                        const struct lock_count *count, int *ret_error) {
    if (!intern_key_is_lock(count->key))
        return false;
    uint64_t key = lock_count_key(count);
    struct trace_count row = {
        .lock = intern_lock(recording, image, key, lock_count_site(count)),
        .mode = lock_key_class(key),
        .acquisitions = lock_count_acquisitions(count),
        .contended = count->contended,
        .hold_ns = image_length(recording, image, count->hold_ticks),
        .hold_samples = count->hold_samples,
        .hold_maximum = image_length(recording, image, lock_count_hold_unpack(count->hold_longest)),
        .wait_ns = image_length(recording, image, count->wait_ticks),
        .contended_hold_ns = image_length(recording, image, count->contended_hold_ticks),
    };
    *ret_error = row.lock ? counts_add(recording, view->thread, &row) : -ENOMEM;
    if (trace_writer_stats(recording->writer)->state == TRACE_STOPPED)
        *ret_error = -EIO;
    return true;
}

/*
 * The counts still in the slot, read through the descriptor: that does not allocate the pages which
 * the thread never used. The thread may be running: an entry whose key has changed since belongs to
 * another lock by now, and its former one was written to the ring.
 */
static void table_harvest(struct recording *recording, struct image *image, struct slab *slab,
                          struct slot_view *view, struct lock_count *table, uint32_t places) {
    struct lock_count counts[SLOT_COUNTS];
    ssize_t got =
        pread(slab->fd, counts, places * sizeof(counts[0]), (off_t)((char *)table - (char *)slab->memory));
    for (size_t i = 0; got > 0 && i < (size_t)got / sizeof(counts[0]); i++) {
        if (counts[i].key == 0)
            continue;
        if (__atomic_load_n(&table[i].key, __ATOMIC_ACQUIRE) != counts[i].key)
            continue;
        int error = 0;
        if (!thread_count_store(recording, image, view, &counts[i], &error))
            view->corrupt++;
        else if (error != 0)
            view->unstored++;
    }
}

static void counts_harvest(struct recording *recording, struct image *image, struct slab *slab,
                           struct slot_view *view) {
    struct thread_slot *slot = view_slot(slab, view);
    table_harvest(recording, image, slab, view, slot_counts_small(slot), SLOT_COUNTS_SMALL);
    if (slot->counts_mask != SLOT_COUNTS_SMALL - 1)
        table_harvest(recording, image, slab, view, slot_counts(slot), SLOT_COUNTS);
}

/* Makes emitted = stored + lost true, and what it took visible. */
static uint64_t thread_settle(struct recording *recording, struct image *image, struct slab *slab,
                              struct slot_view *view) {
    uint64_t emitted = counter_read(recording, image, &view_slot(slab, view)->emitted), told = view->stored;
    thread_losses(recording, image, slab, view);
    for (int reason = 0; reason < LOSS_REASON_COUNT; reason++)
        told += view->lost[reason];
    if (emitted > told) {
        /* The writer was killed between counting and publishing, or the records were skipped. */
        view->corrupt += emitted - told;
        thread_losses(recording, image, slab, view);
    } else {
        emitted = told;
    }
    recording->emitted += emitted;
    recording->stored += view->stored;
    return emitted;
}

void thread_end(struct recording *recording, struct image *image, struct slab *slab, struct slot_view *view,
                uint64_t end_ns) {
    struct thread_slot *slot = view_slot(slab, view);
    view->closed = true;
    uint64_t end_ticks = slot->end_ticks, cpu_ns = slot->cpu_ns;
    if (end_ns == 0 || end_ticks != 0)
        end_ns = end_ticks ? image_time(recording, image, end_ticks, &view->guard) : recording->now;
    name_refresh(recording, image, slot, view, end_ns);
    counts_harvest(recording, image, slab, view);

    struct trace_cost cost = {
        .thread = view->thread,
        .emitted = thread_settle(recording, image, slab, view),
        .slow_paths = slot->cost_slow_paths,
        .cost_samples = slot->cost_samples,
        .cost_ns = image_length(recording, image, slot->cost_ticks),
    };
    trace_writer_row(recording->writer, TRACE_COST, 0, &cost);
    struct trace_thread_end row = {
        .thread = view->thread, .time = end_ns, .cpu_ns = cpu_ns ? cpu_ns : view->cpu_ns};
    trace_writer_row(recording->writer, TRACE_THREAD_END, 0, &row);

    /* Others may still tell of this thread as an owner for a while. */
    uint32_t place = image->ended_next++ % IMAGE_THREADS_ENDED;
    uint32_t former = image->ended[place].tid;
    if (former && table_get(&image->threads, former) == image->ended[place].thread)
        table_set(&image->threads, former, 0);
    image->ended[place].tid = view->tid;
    image->ended[place].thread = view->thread;
    view->thread = 0;
}

void slot_reclaim(struct slab *slab, struct slot_view *view) {
    struct thread_slot *slot = view_slot(slab, view);
    uint32_t generation = slot->generation;
    size_t offset = (size_t)((char *)slot - (char *)slab->memory);
    /* The first page stays: with it gone the slot would read as FREE before it is ready. */
    if (fallocate(slab->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(offset + SLOT_FIRST_BYTES),
                  slab->header.slot_bytes - SLOT_FIRST_BYTES) != 0)
        memset((char *)slot + SLOT_FIRST_BYTES, 0, SLOT_RING_OFFSET - SLOT_FIRST_BYTES);
    memset((char *)slot + offsetof(struct thread_slot, tid), 0,
           SLOT_FIRST_BYTES - offsetof(struct thread_slot, tid));
    slot->generation = generation;
    memset(view, 0, sizeof(*view));
    atomic_store_explicit(&slot->state, SLOT_FREE, memory_order_release); /* [SLOT-STATE] */
}
