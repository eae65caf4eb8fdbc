/* SPDX-License-Identifier: MIT */
/* The life of one thread in the trace: begin, name, losses, harvest, end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/kernel.h"
#include "collector/recording.h"

/* No thread writes a record in less: past that a counter of a hostile slot is not believed, so that
 * it does not drown the sums of all others. */
#define RECORD_NS 8U
#define COUNTER_ALWAYS 1000000ULL

static uint64_t counter_bound(const struct recording *recording, const struct image *image, uint64_t value) {
    uint64_t limit = (recording->now - image->start_ns) / RECORD_NS + COUNTER_ALWAYS;
    return value < limit ? value : limit;
}

struct slot_view *thread_begin(struct recording *recording, struct image *image, struct slab *slab,
                               uint32_t index) {
    struct thread_slot *slot = slab_slot(slab->memory, slab->header.slot_bytes, index);
    struct slot_view *view = calloc(1, sizeof(*view));
    if (!view)
        return NULL;
    view->slot = index;
    view->tid = slot->tid;
    view->creator_tid = slot->creator_tid;
    view->start_ticks = slot->start_ticks;
    view->thread = kernel_thread_claim(recording->kernel, image, view->tid,
                                       image_time(recording, image, view->start_ticks, NULL));
    if (!view->thread)
        view->thread = ++recording->thread_count;
    view->start_routine = slot->start_routine;
    view->creator_stack = slot->creator_stack;
    memcpy(view->first_name, slot->name, sizeof(view->first_name));
    slab->views[index] = view;
    /* Without memory the thread is recorded all the same, only not known as an owner. */
    (void)table_set(&image->threads, view->tid, view->thread);
    return view;
}

void thread_name(struct recording *recording, struct image *image, uint32_t thread, uint64_t time,
                 const char name[THREAD_NAME_BYTES]) {
    (void)image;
    struct trace_thread_name row = {.thread = thread, .time = time};
    row.name = trace_writer_string(recording->writer, name, strnlen(name, THREAD_NAME_BYTES));
    if (row.name)
        trace_writer_row(recording->writer, TRACE_THREAD_NAME, 0, &row);
}

int thread_name_given(struct recording *recording, uint32_t thread, uint64_t time, uint32_t name) {
    struct trace_thread_name row = {.thread = thread, .time = time, .name = name, .given = 1};
    return trace_writer_row(recording->writer, TRACE_THREAD_NAME, 0, &row);
}

static void name_refresh(struct recording *recording, struct image *image, struct slot_view *view,
                         uint64_t time, const char name[THREAD_NAME_BYTES]) {
    if (name[0] == '\0' || memcmp(name, view->name, THREAD_NAME_BYTES) == 0)
        return;
    memcpy(view->name, name, THREAD_NAME_BYTES);
    thread_name(recording, image, view->thread, time, name);
}

void thread_describe(struct recording *recording, struct image *image, struct slot_view *view) {
    uint64_t start = image_time(recording, image, view->start_ticks, &view->guard);
    uint64_t begin = kernel_thread_begin(recording->kernel, image, view->thread);
    if (begin && begin < start)
        start = begin;
    struct trace_thread row = {
        .id = view->thread,
        .process = image->process,
        .tid = view->tid,
        .start = start,
        .creator = view->creator_tid ? table_get(&image->threads, view->creator_tid) : 0,
        .creator_stack = intern_stack(image, view->creator_stack),
        .routine = intern_location(recording, image, view->start_routine & (UINT64_MAX >> 1), true),
    };
    if (row.creator == row.id)
        row.creator = 0;
    trace_writer_row(recording->writer, TRACE_THREAD, 0, &row);
    kernel_thread_described(recording->kernel, image, view->thread);
    name_refresh(recording, image, view, start, view->first_name);
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

static void losses_tell(struct recording *recording, const struct image *image, struct slot_view *view,
                        const uint64_t lost[LOSS_REASON_COUNT]) {
    for (int reason = 0; reason < LOSS_REASON_COUNT; reason++) {
        uint64_t total = counter_bound(recording, image, lost[reason]);
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

static void losses_read(struct thread_slot *slot, uint64_t ret_lost[LOSS_REASON_COUNT]) {
    for (int reason = 0; reason < LOSS_REASON_COUNT; reason++)
        ret_lost[reason] = atomic_load_explicit(&slot->lost[reason], memory_order_relaxed);
}

void thread_losses(struct recording *recording, struct image *image, struct slab *slab,
                   struct slot_view *view) {
    uint64_t lost[LOSS_REASON_COUNT];
    losses_read(view_slot(slab, view), lost);
    losses_tell(recording, image, view, lost);
}

void slab_losses(struct recording *recording, struct image *image, struct slab *slab) {
    struct slab_header *header = slab->memory;
    for (int reason = 0; reason < LOSS_REASON_COUNT; reason++) {
        uint64_t total = counter_bound(recording, image,
                                       atomic_load_explicit(&header->lost[reason], memory_order_relaxed));
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

size_t thread_last_bytes(const struct thread_last *last) {
    return offsetof(struct thread_last, counts) + last->count_number * sizeof(last->counts[0]);
}

/*
 * The counts still in the slot, read through the descriptor: that does not allocate the pages which
 * the thread never used. The thread may be running: an entry whose key has changed since belongs to
 * another lock by now, and its former one was written to the ring.
 */
static uint32_t table_read(const struct slab *slab, struct lock_count *table, uint32_t places,
                           struct lock_count *ret_counts) {
    uint32_t kept = 0;
    off_t offset = (off_t)((char *)table - (char *)slab->memory);
    ssize_t got = pread(slab->fd, ret_counts, places * sizeof(*ret_counts), offset);
    for (size_t i = 0; got > 0 && i < (size_t)got / sizeof(*ret_counts); i++) {
        if (ret_counts[i].key != 0 && __atomic_load_n(&table[i].key, __ATOMIC_ACQUIRE) == ret_counts[i].key)
            ret_counts[kept++] = ret_counts[i];
    }
    return kept;
}

static uint32_t counts_read(const struct slab *slab, struct thread_slot *slot,
                            struct lock_count *ret_counts) {
    uint32_t kept = table_read(slab, slot_counts_small(slot), SLOT_COUNTS_SMALL, ret_counts);
    if (slot->counts_mask != SLOT_COUNTS_SMALL - 1)
        kept += table_read(slab, slot_counts(slot), SLOT_COUNTS, ret_counts + kept);
    return kept;
}

void thread_last_read(const struct slab *slab, const struct slot_view *view, struct thread_last *ret_last) {
    struct thread_slot *slot = view_slot(slab, view);
    ret_last->end_ticks = slot->end_ticks;
    ret_last->cpu_ns = slot->cpu_ns;
    ret_last->emitted = atomic_load_explicit(&slot->emitted, memory_order_relaxed);
    losses_read(slot, ret_last->lost);
    ret_last->cost_ticks = slot->cost_ticks;
    ret_last->cost_samples = slot->cost_samples;
    ret_last->cost_slow_paths = slot->cost_slow_paths;
    memcpy(ret_last->name, slot->name, sizeof(ret_last->name));
    ret_last->count_number = counts_read(slab, slot, ret_last->counts);
}

static void counts_store(struct recording *recording, struct image *image, struct slot_view *view,
                         const struct thread_last *last) {
    for (uint32_t i = 0; i < last->count_number; i++) {
        int error = 0;
        if (!thread_count_store(recording, image, view, &last->counts[i], &error))
            view->corrupt++;
        else if (error != 0)
            view->unstored++;
    }
}

/* Makes emitted = stored + lost true, and what it took visible. */
static uint64_t thread_settle(struct recording *recording, struct image *image, struct slot_view *view,
                              const struct thread_last *last) {
    uint64_t emitted = counter_bound(recording, image, last->emitted), told = view->stored;
    losses_tell(recording, image, view, last->lost);
    for (int reason = 0; reason < LOSS_REASON_COUNT; reason++)
        told += view->lost[reason];
    if (emitted > told) {
        /* The writer was killed between counting and publishing, or the records were skipped. */
        view->corrupt += emitted - told;
        losses_tell(recording, image, view, last->lost);
    } else {
        emitted = told;
    }
    recording->emitted += emitted;
    recording->stored += view->stored;
    return emitted;
}

void thread_end(struct recording *recording, struct image *image, struct slot_view *view,
                const struct thread_last *last, uint64_t end_ns) {
    if (end_ns == 0 || last->end_ticks != 0)
        end_ns =
            last->end_ticks ? image_time(recording, image, last->end_ticks, &view->guard) : recording->now;
    /* Only a thread that ended by itself has noted what it was called by then. */
    if (memcmp(last->name, view->first_name, sizeof(last->name)) != 0)
        name_refresh(recording, image, view, end_ns, last->name);
    counts_store(recording, image, view, last);

    struct trace_cost cost = {
        .thread = view->thread,
        .emitted = thread_settle(recording, image, view, last),
        .slow_paths = last->cost_slow_paths,
        .cost_samples = last->cost_samples,
        .cost_ns = image_length(recording, image, last->cost_ticks),
    };
    trace_writer_row(recording->writer, TRACE_COST, 0, &cost);
    struct trace_thread_end row = {
        .thread = view->thread, .time = end_ns, .cpu_ns = last->cpu_ns ? last->cpu_ns : view->cpu_ns};
    trace_writer_row(recording->writer, TRACE_THREAD_END, 0, &row);

    /* Others may still tell of this thread as an owner for a while. */
    uint32_t place = image->ended_next++ % IMAGE_THREADS_ENDED;
    uint32_t former = image->ended[place].tid;
    if (former && table_get(&image->threads, former) == image->ended[place].thread)
        table_set(&image->threads, former, 0);
    image->ended[place].tid = view->tid;
    image->ended[place].thread = view->thread;
    free(view);
}
