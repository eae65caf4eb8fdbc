/* SPDX-License-Identifier: MIT */
/* From the probes' records to processes and threads. */
#include "collector/kernel_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/kernel_need.h"

#include "collector/kernel_symbols.h"

#define AGENT_PATIENCE_NS 1500000000ULL /* a process whose agent has not reported by then has none */
#define CLAIM_SLACK_NS 1000000ULL

static struct kernel_process *process_find(const struct kernel *kernel, uint32_t tgid) {
    for (struct kernel_process *process = kernel->processes; process; process = process->next)
        if (process->tgid == tgid && !process->replaced)
            return process;
    return NULL;
}

static struct kernel_process *process_new(struct kernel *kernel, uint32_t tgid, uint64_t begin) {
    struct kernel_process *process = calloc(1, sizeof(*process));
    if (!process)
        return NULL;
    process->tgid = tgid;
    process->begin = begin;
    process->next = kernel->processes;
    kernel->processes = process;
    return process;
}

static void process_free(struct kernel *kernel, struct kernel_process *process) {
    while (process->threads) {
        struct kernel_thread *thread = process->threads;
        process->threads = thread->next;
        kernel_thread_settle(kernel, thread);
    }
    for (struct kernel_process **place = &kernel->processes; *place; place = &(*place)->next) {
        if (*place == process) {
            *place = process->next;
            break;
        }
    }
    kernel_image_clear(process);
    free(process);
}

/* --- records -------------------------------------------------------------------------------------------- */

static struct kernel_thread *thread_obtain(struct kernel *kernel, const struct sched_header *header,
                                           uint64_t begin) {
    struct kernel_thread *thread = kernel_thread_find(kernel, header->tid);
    if (thread && thread->process->tgid == header->tgid && !thread->ended)
        return thread;
    struct kernel_process *process = process_find(kernel, header->tgid);
    if (!process)
        process = process_new(kernel, header->tgid, begin);
    return process ? kernel_thread_new(kernel, process, header, begin) : NULL;
}

static void life_note(struct kernel_thread *thread, const struct sched_life *life) {
    memcpy(thread->comm, life->comm, sizeof(thread->comm));
    thread->run_ns = life->run_ns;
    thread->lost = life->lost;
    thread->lost_ns = life->lost_ns;
}

static void thread_began(struct kernel *kernel, const struct sched_life *life) {
    struct kernel_process *process = process_find(kernel, life->header.tgid);
    if (process && process->ended) { /* its number is another's */
        process->replaced = life->header.time;
        process = NULL;
    }
    bool first = process == NULL;
    struct kernel_thread *thread = thread_obtain(kernel, &life->header, life->begin);
    if (!thread)
        return;
    thread->process->seen_late = thread->process->seen_late || (first && life->creator_tid == 0);
    thread->creator_tid = life->creator_tid;
    memcpy(thread->comm, life->comm, sizeof(thread->comm));
}

static void thread_ended(struct kernel *kernel, struct kernel_thread *thread, const struct sched_life *life) {
    life_note(thread, life);
    thread->ended = true;
    thread->end = life->header.time;
    kernel_thread_forget(kernel, thread);
}

/* The thread that executed: when it is over, all others have ended. */
static struct kernel_thread *former_find(const struct kernel *kernel, const struct sched_life *life) {
    if (life->creator_tid)
        return kernel_thread_find(kernel, life->creator_tid);
    const struct kernel_process *process = process_find(kernel, life->header.tgid);
    struct kernel_thread *thread = process ? process->threads : NULL;
    while (thread && (thread->ended || thread->tid == life->header.tid))
        thread = thread->next;
    return thread;
}

static void process_execed(struct kernel *kernel, const struct sched_life *life) {
    struct kernel_thread *thread = former_find(kernel, life);
    struct kernel_thread *renamed = kernel_thread_find(kernel, life->header.tid);
    struct kernel_process *process = process_find(kernel, life->header.tgid);
    /* It has had its new number for a while before the exec is over. */
    if (renamed && renamed != thread && !renamed->described && !renamed->claimed)
        kernel_thread_drop(kernel, renamed);
    if (thread)
        thread_ended(kernel, thread, life);
    if (process)
        process->replaced = life->header.time;
    process = process_new(kernel, life->header.tgid, life->header.time);
    if (process)
        process->execed = true;
    if (process)
        thread = kernel_thread_new(kernel, process, &life->header, life->header.time);
    if (process && thread)
        memcpy(thread->comm, life->comm, sizeof(thread->comm));
}

static void thread_exited(struct kernel *kernel, const struct sched_life *life) {
    struct kernel_thread *thread = kernel_thread_find(kernel, life->header.tid);
    struct kernel_process *process = process_find(kernel, life->header.tgid);
    if (thread)
        thread_ended(kernel, thread, life);
    if (process && life->process_ended)
        process->ended = true;
}

void kernel_record_take(void *argument, const void *data, size_t bytes) {
    struct kernel *kernel = argument;
    const struct sched_header *header = data;
    struct kernel_row row;
    struct kernel_thread *thread;
    struct kernel_process *process;
    memset(&row, 0, sizeof(row));
    switch (header->kind) {
    case SCHED_OFF:
        memcpy(&row.off, data, sizeof(row.off));
        thread = thread_obtain(kernel, header, row.off.begin);
        if (thread)
            kernel_row_take(kernel, thread, &row);
        break;
    case SCHED_SAMPLE:
        memcpy(&row.sample, data, sizeof(row.sample));
        thread = kernel_thread_find(kernel, header->tid);
        if (thread && thread->process->tgid == header->tgid)
            kernel_row_take(kernel, thread, &row);
        break;
    case SCHED_STACK:
        process = process_find(kernel, header->tgid);
        if (process && bytes >= sizeof(struct sched_stack) + 8 * ((const struct sched_stack *)data)->count)
            kernel_stack_take(kernel, process, data);
        break;
    case SCHED_THREAD:
        thread_began(kernel, data);
        break;
    case SCHED_EXEC:
        process_execed(kernel, data);
        break;
    case SCHED_EXIT:
        thread_exited(kernel, data);
        break;
    }
}

/* --- what the recording calls --------------------------------------------------------------------------- */

int kernel_open(struct recording *recording, const struct kernel_probes_options *options, bool alone,
                struct kernel **ret_kernel) {
    struct kernel *kernel = calloc(1, sizeof(*kernel));
    if (!kernel)
        return -ENOMEM;
    struct kernel_probes_options ours = *options;
    ours.record = kernel_record_take;
    ours.argument = kernel;
    kernel->alone = alone;
    kernel->recording = recording;
    int error = kernel_probes_open(&ours, &kernel->probes);
    if (error != 0) {
        free(kernel);
        return error;
    }
    if (options->sample_hz)
        kernel_symbols_open("/proc/kallsyms", &kernel->symbols); /* without it frames have no names */
    *ret_kernel = kernel;
    return 0;
}

void kernel_why_not(int error, char *ret_text, size_t bytes) {
    char missing[192];
    snprintf(ret_text, bytes, "without the kernel's side: %s (waitscope doctor tells more)",
             kernel_needs_missing(missing, sizeof(missing)) ? missing : strerror(-error));
}

void kernel_close(struct kernel *kernel) {
    if (!kernel)
        return;
    while (kernel->processes)
        process_free(kernel, kernel->processes);
    kernel_probes_close(kernel->probes);
    kernel_symbols_close(kernel->symbols);
    table_clear(&kernel->by_tid);
    free(kernel->threads);
    free(kernel);
}

int kernel_follow(struct kernel *kernel, int pid) {
    return kernel ? kernel_probes_add(kernel->probes, pid) : 0;
}

int kernel_fd(const struct kernel *kernel) {
    return kernel ? kernel_probes_fd(kernel->probes) : -1;
}

static bool process_is_left(const struct kernel *kernel, const struct kernel_process *process) {
    return !process->image && !process->replaced &&
           (process->ended || process->urgent || (kernel->alone && process->execed) ||
            kernel->recording->now - process->begin > AGENT_PATIENCE_NS);
}

/* What came while the writer was at work. */
static void queue_settle(struct kernel *kernel) {
    kernel->queued = false;
    for (struct kernel_process *process = kernel->processes; process; process = process->next) {
        if (process->image && process->stack_count)
            kernel_image_known(kernel, process);
        for (struct kernel_thread *thread = process->threads; thread; thread = thread->next)
            if (thread->described && thread->row_count)
                kernel_rows_flush(kernel, thread);
    }
}

static void ring_read(struct kernel *kernel, bool quiet) {
    kernel->draining = true;
    kernel->quiet = quiet;
    kernel->recording->now = clock_now_ns();
    kernel_probes_drain(kernel->probes);
    kernel->quiet = false;
    kernel->draining = false;
}

static void drain_only(struct kernel *kernel) {
    if (kernel->draining)
        return;
    if (kernel->queued)
        queue_settle(kernel);
    ring_read(kernel, false);
}

void kernel_drain(struct kernel *kernel) {
    if (!kernel || kernel->draining)
        return;
    drain_only(kernel);
    for (const struct kernel_process *process = kernel->processes; process; process = process->next) {
        if (process->urgent && process_is_left(kernel, process)) {
            kernel_tick(kernel);
            break;
        }
    }
}

void kernel_tick(struct kernel *kernel) {
    struct kernel_process *next;
    if (!kernel)
        return;
    bool left = false;
    for (struct kernel_process *process = kernel->processes; process; process = process->next)
        left = left || process_is_left(kernel, process);
    if (left) /* its agent may be at the door */
        listener_poll(kernel->recording);
    for (struct kernel_process *process = kernel->processes; process; process = next) {
        next = process->next;
        if (process->image || kernel_image_find(kernel, process))
            continue;
        /* What ran between fork and exec is nobody's program. */
        if (process->replaced && kernel->recording->now - process->begin > AGENT_PATIENCE_NS)
            process_free(kernel, process);
        else if (process_is_left(kernel, process))
            kernel_image_make(kernel, process);
    }
    for (struct kernel_process *process = kernel->processes; process; process = process->next)
        for (struct kernel_thread *thread = process->threads; thread && process->bare; thread = thread->next)
            if (!thread->described)
                kernel_thread_describe(kernel, thread);
}

uint32_t kernel_thread_claim(struct kernel *kernel, struct image *image, uint32_t tid, uint64_t start_ns) {
    struct kernel_thread *found = NULL;
    if (!kernel)
        return 0;
    /* The kernel has told of it before it ran. This may be called while the trace's writer is at work. */
    bool missed = kernel->draining, quiet = kernel->quiet;
    if (!missed)
        ring_read(kernel, true);
    kernel->quiet = true;
    for (struct kernel_process *process = kernel->processes; process; process = process->next) {
        if (process->tgid != (uint32_t)image->real_pid || kernel_image_find(kernel, process) != image)
            continue;
        for (struct kernel_thread *thread = process->threads; thread; thread = thread->next)
            if (thread->own_tid == tid && !thread->claimed && !thread->described &&
                thread->begin <= start_ns + CLAIM_SLACK_NS && (!found || thread->begin > found->begin))
                found = thread;
    }
    kernel->quiet = quiet;
    if (!found && missed) {
        uint32_t id = ++kernel->recording->thread_count;
        kernel->missed[kernel->missed_next++ % KERNEL_MISSED_MAX] =
            (struct kernel_missed){image, tid, id, start_ns + CLAIM_SLACK_NS};
        return id;
    }
    if (!found)
        return 0;
    found->claimed = true;
    return found->thread;
}

static struct kernel_thread *claimed_find(const struct kernel *kernel, const struct image *image,
                                          uint32_t id) {
    const struct kernel_process *process = kernel ? kernel->processes : NULL;
    for (; process; process = process->next) {
        if (process->image != image)
            continue;
        for (struct kernel_thread *thread = process->threads; thread; thread = thread->next)
            if (thread->thread == id && thread->claimed)
                return thread;
    }
    return NULL;
}

uint64_t kernel_thread_begin(const struct kernel *kernel, const struct image *image, uint32_t id) {
    const struct kernel_thread *thread = claimed_find(kernel, image, id);
    return thread ? thread->begin : 0;
}

uint64_t kernel_image_begin(struct kernel *kernel, const struct image *image) {
    if (!kernel)
        return 0;
    for (struct kernel_process *process = kernel->processes; process; process = process->next)
        if (process->tgid == (uint32_t)image->real_pid && kernel_image_find(kernel, process) == image)
            return process->begin;
    return 0;
}

void kernel_thread_described(struct kernel *kernel, struct image *image, uint32_t id) {
    struct kernel_thread *thread = claimed_find(kernel, image, id);
    if (!thread)
        return;
    thread->described = true;
    kernel_rows_flush(kernel, thread);
}

void kernel_image_end(struct kernel *kernel, struct image *image) {
    struct kernel_process *next;
    if (!kernel)
        return;
    drain_only(kernel); /* makes no image, which might end this one */
    for (uint32_t i = 0; i < KERNEL_MISSED_MAX; i++)
        if (kernel->missed[i].image == image)
            kernel->missed[i].image = NULL;
    for (struct kernel_process *process = kernel->processes; process; process = next) {
        next = process->next;
        if (process->tgid == (uint32_t)image->real_pid && kernel_image_find(kernel, process) == image)
            process_free(kernel, process);
    }
}

static void open_stretch(void *argument, uint32_t tid, const struct sched_thread *state) {
    struct kernel *kernel = argument;
    struct kernel_thread *thread = kernel_thread_find(kernel, tid);
    struct kernel_row row;
    if (!thread || thread->ended)
        return;
    thread->lost = state->lost;
    thread->lost_ns = state->lost_ns;
    if (state->off == 0 || state->off >= kernel->recording->now)
        return;
    memset(&row, 0, sizeof(row));
    row.off = (struct sched_off){
        .header = {.tgid = state->tgid,
                   .tid = tid,
                   .own_tid = state->own_tid,
                   .time = kernel->recording->now},
        .begin = state->off,
        .woken = state->woken,
        .stack = state->stack,
        .waker_stack = state->waker_stack,
        .waker_tgid = state->waker_tgid,
        .waker_tid = state->waker_tid,
        .syscall = state->syscall,
        .cause = state->cause,
        .flags = state->flags,
        .futex_flags = state->futex_flags,
        .futex = state->futex,
    };
    kernel_row_take(kernel, thread, &row);
}

void kernel_finish(struct kernel *kernel) {
    if (!kernel)
        return;
    kernel_drain(kernel);
    kernel_probes_threads(kernel->probes, open_stretch, kernel);
    for (struct kernel_process *process = kernel->processes; process; process = process->next)
        if (!kernel_image_find(kernel, process) && !process->replaced)
            kernel_image_make(kernel, process);
}

bool kernel_frame_find(struct kernel *kernel, uint64_t pc, struct symbol_frame *ret_frame) {
    return kernel && kernel->symbols && kernel_symbols_find(kernel->symbols, pc, ret_frame);
}

bool kernel_symbols_are_hidden(const struct kernel *kernel) {
    return kernel && kernel->symbols && kernel_symbols_hidden(kernel->symbols);
}

void kernel_stats(const struct kernel *kernel, struct kernel_probes_stats *ret_stats) {
    kernel_probes_stats(kernel->probes, ret_stats);
}
