/* SPDX-License-Identifier: MIT */
/* Threads as the kernel knows them, and their rows. */
#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>

#include "collector/kernel_internal.h"

#define ROWS_WAITING_MAX 262144U

struct kernel_thread *kernel_thread_find(const struct kernel *kernel, uint32_t tid) {
    uint32_t number = tid ? table_get(&kernel->by_tid, tid) : 0;
    return number ? kernel->threads[number - 1] : NULL;
}

/* A free number, counted from 1; 0 without memory. */
static uint32_t number_take(struct kernel *kernel) {
    for (uint32_t i = kernel->thread_count; i-- > 0 && i + 64 > kernel->thread_count;)
        if (!kernel->threads[i])
            return i + 1;
    if (kernel->thread_count == kernel->thread_room) {
        uint32_t room = kernel->thread_room ? kernel->thread_room * 2 : 64;
        struct kernel_thread **grown = realloc(kernel->threads, room * sizeof(*grown));
        if (!grown)
            return 0;
        kernel->threads = grown;
        kernel->thread_room = room;
    }
    kernel->threads[kernel->thread_count] = NULL;
    return ++kernel->thread_count;
}

/* The id that the agent's thread was given meanwhile; 0 none. */
static uint32_t missed_take(struct kernel *kernel, const struct kernel_process *process, uint32_t tid,
                            uint64_t begin) {
    for (uint32_t i = 0; i < KERNEL_MISSED_MAX; i++) {
        struct kernel_missed *missed = &kernel->missed[i];
        if (missed->image && missed->image->real_pid == (int)process->tgid && missed->tid == tid &&
            missed->start >= begin) {
            missed->image = NULL;
            return missed->thread;
        }
    }
    return 0;
}

struct kernel_thread *kernel_thread_new(struct kernel *kernel, struct kernel_process *process,
                                        const struct sched_header *header, uint64_t begin) {
    struct kernel_thread *thread = calloc(1, sizeof(*thread));
    uint32_t number = thread ? number_take(kernel) : 0;
    if (!number || table_set(&kernel->by_tid, header->tid, number) != 0) {
        free(thread);
        return NULL;
    }
    thread->process = process;
    thread->tid = header->tid;
    thread->own_tid = header->own_tid;
    thread->thread = missed_take(kernel, process, header->own_tid, begin);
    thread->claimed = thread->thread != 0;
    if (!thread->claimed)
        thread->thread = ++kernel->recording->thread_count;
    thread->begin = begin;
    thread->next = process->threads;
    process->threads = thread;
    kernel->threads[number - 1] = thread;
    return thread;
}

void kernel_thread_forget(struct kernel *kernel, struct kernel_thread *thread) {
    uint32_t number = table_get(&kernel->by_tid, thread->tid);
    if (!number || kernel->threads[number - 1] != thread)
        return;
    table_set(&kernel->by_tid, thread->tid, 0);
    kernel->threads[number - 1] = NULL;
    kernel->ended[thread->tid % KERNEL_ENDED_MAX] = (struct kernel_ended){thread->tid, thread->thread};
}

void kernel_thread_drop(struct kernel *kernel, struct kernel_thread *thread) {
    struct kernel_thread **place = &thread->process->threads;
    while (*place && *place != thread)
        place = &(*place)->next;
    if (*place)
        *place = thread->next;
    kernel_thread_forget(kernel, thread);
    free(thread->rows);
    free(thread);
}

static uint32_t thread_id(const struct kernel *kernel, uint32_t tid) {
    const struct kernel_thread *thread = kernel_thread_find(kernel, tid);
    const struct kernel_ended *ended = &kernel->ended[tid % KERNEL_ENDED_MAX];
    return thread ? thread->thread : tid && ended->tid == tid ? ended->thread : 0;
}

static uint32_t stack_id(const struct kernel *kernel, const struct kernel_thread *thread, uint32_t tgid,
                         uint64_t hash) {
    const struct image *image = thread->process->image;
    if (tgid != thread->process->tgid) {
        image = NULL;
        for (struct kernel_process *other = kernel->processes; other && !image; other = other->next)
            if (other->tgid == tgid)
                image = other->image;
    }
    return image ? intern_stack(image, hash) : 0;
}

/* The thread of the process that calls itself so, if it is not the one that waits; 0 none. */
static uint32_t owner_find(const struct kernel_thread *thread, uint32_t own_tid) {
    return own_tid && own_tid != thread->own_tid ? table_get(&thread->process->image->threads, own_tid) : 0;
}

/*
 * Who held it, by the words at a futex; 0: they do not say. A PI futex has the owner's tid in it
 * (Documentation/locking/pi-futex.rst), as robust mutexes and those of musl do beside FUTEX_WAITERS. A
 * mutex of glibc is 2 when there are waiters and has the owner's tid behind its counter
 * (sysdeps/nptl/bits/struct_mutex.h). Whatever is found has to be a thread of the process.
 */
static uint32_t futex_owner(const struct kernel_thread *thread, const struct sched_off *off) {
    uint32_t word = off->futex.word;
    if (off->futex_flags & SCHED_FUTEX_MOVED)
        return 0;
    if (off->futex_flags & SCHED_FUTEX_PI || word & FUTEX_WAITERS)
        return owner_find(thread, word & FUTEX_TID_MASK);
    return word == 2 ? owner_find(thread, off->futex.second) : 0;
}

static void futex_fill(struct kernel *kernel, const struct kernel_thread *thread, const struct sched_off *off,
                       struct trace_off_cpu *row) {
    uint64_t key = lock_key_make(off->futex.address, 0, LOCK_CLASS_FUTEX);
    if (!off->futex.address)
        return;
    row->lock = intern_futex(kernel->recording, thread->process->image, key, (uint32_t)row->stack);
    row->owner = row->lock ? futex_owner(thread, off) : 0;
}

static void off_write(struct kernel *kernel, struct kernel_thread *thread, const struct sched_off *off) {
    struct trace_writer *writer = kernel->recording->writer;
    uint64_t end = off->header.time, begin = off->begin < end ? off->begin : end;
    struct trace_off_cpu row = {
        .begin = begin,
        .duration = end - begin,
        .cause = off->cause,
        .syscall = (uint64_t)((int64_t)off->syscall + 1),
        .flags = off->flags & SCHED_FLAG_IRQ ? TRACE_OFF_WOKEN_BY_IRQ : 0,
        .stack = stack_id(kernel, thread, off->header.tgid, off->stack),
        .waker = thread_id(kernel, off->waker_tid),
        .waker_stack = off->waker_stack ? stack_id(kernel, thread, off->waker_tgid, off->waker_stack) : 0,
        .ran = thread_id(kernel, off->ran_tid),
    };
    futex_fill(kernel, thread, off, &row);
    if (off->cause == TRACE_OFF_PREEMPTED)
        row.delay = row.duration;
    else if (off->woken > begin && off->woken < end)
        row.delay = end - off->woken;
    if (off->header.kind != SCHED_OFF)
        row.flags |= TRACE_OFF_OPEN;
    if (off->ran_tid && !row.ran)
        row.ran_name = trace_writer_string(writer, off->ran_comm, strnlen(off->ran_comm, SCHED_COMM_BYTES));
    thread->written += trace_writer_row(writer, TRACE_OFF_CPU, thread->thread, &row) == 0;
}

static void row_write(struct kernel *kernel, struct kernel_thread *thread, const struct kernel_row *row) {
    if (row->header.kind != SCHED_SAMPLE) {
        off_write(kernel, thread, &row->off);
        return;
    }
    struct trace_sample sample = {
        .time = row->header.time,
        .weight = row->sample.weight_ns,
        .stack = stack_id(kernel, thread, row->header.tgid, row->sample.stack),
        .kernel_stack = stack_id(kernel, thread, row->header.tgid, row->sample.kernel_stack),
    };
    trace_writer_row(kernel->recording->writer, TRACE_SAMPLE, thread->thread, &sample);
}

void kernel_row_take(struct kernel *kernel, struct kernel_thread *thread, const struct kernel_row *row) {
    if (thread->described && !kernel->quiet && thread->row_count == 0) {
        row_write(kernel, thread, row);
        return;
    }
    kernel->queued = kernel->queued || thread->described;
    if (thread->row_count == thread->row_room && thread->row_room < ROWS_WAITING_MAX) {
        uint32_t room = thread->row_room ? thread->row_room * 2 : 8;
        struct kernel_row *grown = realloc(thread->rows, room * sizeof(*grown));
        if (grown) {
            thread->rows = grown;
            thread->row_room = room;
        }
    }
    if (thread->row_count < thread->row_room) {
        thread->rows[thread->row_count++] = *row;
    } else if (row->header.kind != SCHED_SAMPLE) {
        thread->dropped++;
        thread->dropped_ns += row->header.time - row->off.begin;
    }
    thread->process->urgent = thread->process->urgent || thread->row_count > ROWS_WAITING_MAX / 2;
}

void kernel_rows_flush(struct kernel *kernel, struct kernel_thread *thread) {
    for (uint32_t i = 0; i < thread->row_count; i++) {
        struct kernel_row row = thread->rows[i]; /* more may come while this is written */
        row_write(kernel, thread, &row);
    }
    thread->row_count = 0;
    free(thread->rows);
    thread->rows = NULL;
    thread->row_room = 0;
}

void kernel_thread_describe(struct kernel *kernel, struct kernel_thread *thread) {
    struct recording *recording = kernel->recording;
    struct image *image = thread->process->image;
    struct trace_thread row = {
        .id = thread->thread,
        .process = image->process,
        .tid = thread->own_tid,
        .start = thread->begin,
        .creator = thread_id(kernel, thread->creator_tid),
    };
    thread->described = true;
    trace_writer_row(recording->writer, TRACE_THREAD, 0, &row);
    table_set(&image->threads, thread->own_tid, thread->thread);
    kernel_rows_flush(kernel, thread);
}

void kernel_thread_settle(struct kernel *kernel, struct kernel_thread *thread) {
    struct recording *recording = kernel->recording;
    uint64_t end = thread->ended ? thread->end : recording->now;
    bool own = !thread->claimed;
    if (!thread->described && thread->claimed)
        thread->described = true;
    else if (!thread->described && thread->process->image)
        kernel_thread_describe(kernel, thread);
    if (thread->described) {
        if (own && thread->comm[0])
            thread_name(recording, thread->process->image, thread->thread, thread->begin, thread->comm);
        kernel_rows_flush(kernel, thread);
        struct trace_schedule schedule = {
            .thread = thread->thread,
            .begin = thread->begin,
            .end = end,
            .stretches = thread->written,
            .lost = thread->lost + thread->dropped,
            .lost_ns = thread->lost_ns + thread->dropped_ns,
        };
        trace_writer_row(recording->writer, TRACE_SCHEDULE, 0, &schedule);
    }
    if (thread->described && own && thread->ended) {
        struct trace_thread_end row = {.thread = thread->thread, .time = end, .cpu_ns = thread->run_ns};
        trace_writer_row(recording->writer, TRACE_THREAD_END, 0, &row);
    }
    kernel_thread_forget(kernel, thread);
    free(thread->rows);
    free(thread);
}
