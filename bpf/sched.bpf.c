/* SPDX-License-Identifier: MIT */
/*
 * The scheduler's word on the threads of the processes in sched_processes: each stretch off a CPU, why it
 * began and where, who ended it and where, how long the thread had to wait for a CPU then and what ran
 * instead.
 *
 * One record a stretch, when it ends; until then it is in sched_threads, where the collector finds it if it
 * never does. What there is no room for is counted with its thread. Tracepoints of one CPU do not interrupt
 * each other; a thread's entry is written by the CPU it leaves or comes to, and by its waker in between, when
 * it is on none: the scheduler's own order makes these follow each other.
 */
#include "bpf/unwind.bpf.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "bpf/futex.bpf.h"
#include "bpf/namespace.bpf.h"
#include "bpf/sched_record.h"
#include "format/off_cause.h"

char LICENSE[] SEC("license") = "GPL";

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 16 << 20); /* the collector may set another */
} sched_records SEC(".maps");

/* tgid to 1. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, SCHED_PROCESSES_MAX);
    __type(key, __u32);
    __type(value, __u32);
} sched_processes SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, SCHED_THREADS_MAX);
    __type(key, __u32);
    __type(value, struct sched_thread);
} sched_threads SEC(".maps");

/* Hashes of stacks that were told of: a place is taken by the last. */
struct sched_stacks {
    __u64 hashes[1 << SCHED_STACKS_SEEN_BITS];
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct sched_stacks);
} sched_stacks_seen SEC(".maps");

volatile const __u32 sched_follow = 1; /* children are followed */
volatile const __u64 sched_sample_ns;  /* what a sample stands for */
struct sched_counters sched_counters;

/* How deep a CPU is in interrupts, by their tracepoints: the kernel's own count is a variable that not every
 * kernel lets programs find. The ends are attached before the beginnings, so it never stays above 0. */
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __s32);
} sched_interrupts SEC(".maps");

static __always_inline int interrupt_count(__s32 change) {
    __u32 zero = 0;
    __s32 *depth = bpf_map_lookup_elem(&sched_interrupts, &zero);
    if (depth && *depth + change >= 0)
        *depth += change;
    return 0;
}

static __always_inline bool in_interrupt(void) {
    __u32 zero = 0;
    const __s32 *depth = bpf_map_lookup_elem(&sched_interrupts, &zero);
    return depth && *depth > 0;
}

SEC("tp_btf/local_timer_exit")
int BPF_PROG(sched_end_timer) {
    return interrupt_count(-1);
}
SEC("tp_btf/irq_handler_exit")
int BPF_PROG(sched_end_device) {
    return interrupt_count(-1);
}
SEC("tp_btf/softirq_exit")
int BPF_PROG(sched_end_soft) {
    return interrupt_count(-1);
}
SEC("tp_btf/local_timer_entry")
int BPF_PROG(sched_in_timer) {
    return interrupt_count(1);
}
SEC("tp_btf/irq_handler_entry")
int BPF_PROG(sched_in_device) {
    return interrupt_count(1);
}
SEC("tp_btf/softirq_entry")
int BPF_PROG(sched_in_soft) {
    return interrupt_count(1);
}

static __always_inline bool process_is_followed(__u32 tgid) {
    return tgid != 0 && bpf_map_lookup_elem(&sched_processes, &tgid) != NULL;
}

/* What the thread calls itself: its number in the innermost namespace it is in. */
static __always_inline __u32 own_tid(const struct task_struct *task) {
    /* Read, not followed: Linux 6.1 lets no number be added to a pointer that it knows the type of. */
    const struct pid *pid = BPF_CORE_READ(task, thread_pid);
    __u64 namespace;
    __u32 number = namespace_number(pid, BPF_CORE_READ(pid, level), &namespace);
    return number ? number : (__u32)task->pid;
}

/* --- records ------------------------------------------------------------------------------------------- */

static __always_inline void header_set(struct sched_header *header, enum sched_record_kind kind, __u32 tgid,
                                       __u32 tid, __u32 own, __u64 time) {
    header->kind = kind;
    header->tgid = tgid;
    header->tid = tid;
    header->own_tid = own;
    header->time = time;
}

#define STACK_SIZES(with) with(12) with(28) with(60) with(UNWIND_FRAMES_MAX)

static __always_inline bool stack_tell(const struct unwind_stack_taken *stack, __u32 tgid, __u64 now) {
    struct sched_stack *record = NULL;
    __u32 room = 0;
    /* The size has to be known when this is loaded. */
#define RESERVE(frames_)                                                                                     \
    if (room == 0 && stack->count <= (frames_)) {                                                            \
        room = (frames_);                                                                                    \
        record = bpf_ringbuf_reserve(&sched_records, sizeof(*record) + 8 * (frames_), 0);                    \
        if (record) {                                                                                        \
            header_set(&record->header, SCHED_STACK, tgid, 0, 0, now);                                       \
            record->hash = stack->hash;                                                                      \
            record->count = stack->count;                                                                    \
            record->end = stack->end;                                                                        \
            record->flags = stack->flags;                                                                    \
            record->reserved = 0;                                                                            \
            bpf_probe_read_kernel(record->frames, 8 * (frames_), stack->frames);                             \
            bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);                                                    \
            return true;                                                                                     \
        }                                                                                                    \
    }
    STACK_SIZES(RESERVE)
#undef RESERVE
    __sync_fetch_and_add(&sched_counters.lost, 1);
    return false;
}

/* Tells of the stack where that was not done. Returns its hash, 0 where it could not be told. */
static __always_inline __u64 stack_name(const struct unwind_stack_taken *stack, __u32 tgid, __u64 now) {
    __u32 zero = 0;
    struct sched_stacks *seen = bpf_map_lookup_elem(&sched_stacks_seen, &zero);
    __u64 hash = stack->hash, mark = hash ^ (__u64)tgid << 32;
    if (seen) {
        __u64 *place = &seen->hashes[UNWIND_MASK(mark ^ mark >> 32, (1 << SCHED_STACKS_SEEN_BITS) - 1)];
        if (*place != mark) {
            if (stack_tell(stack, tgid, now))
                *place = mark;
            else
                hash = 0;
        }
    }
    return hash;
}

/* The stack of the current thread, by its hash; 0 none. */
static __always_inline __u64 stack_take(__u32 tgid, __u64 now) {
    struct unwind_stack_taken *stack = unwind_take(tgid);
    if (!stack)
        return 0;
    __u64 hash = stack_name(stack, tgid, now);
    unwind_give(stack);
    return hash;
}

static __always_inline void life_tell(enum sched_record_kind kind, const struct task_struct *task,
                                      const struct sched_thread *thread, __u32 creator_tgid,
                                      __u32 creator_tid, __u64 now, bool process_ended) {
    struct sched_life *record = bpf_ringbuf_reserve(&sched_records, sizeof(*record), 0);
    if (!record) {
        __sync_fetch_and_add(&sched_counters.lost, 1);
        return;
    }
    header_set(&record->header, kind, namespace_tgid(task), namespace_tid(task), own_tid(task), now);
    record->creator_tgid = creator_tgid;
    record->creator_tid = creator_tid;
    record->begin = thread->begin;
    record->run_ns = BPF_CORE_READ(task, se.sum_exec_runtime);
    record->stretches = thread->stretches;
    record->lost = thread->lost;
    record->lost_ns = thread->lost_ns;
    record->process_ended = process_ended;
    record->reserved = 0;
    bpf_probe_read_kernel(record->comm, sizeof(record->comm), task->comm);
    bpf_ringbuf_submit(record, 0);
}

/* --- threads ------------------------------------------------------------------------------------------- */

/* A thread that is seen for the first time. */
static __always_inline struct sched_thread *thread_add(const struct task_struct *task,
                                                       const struct task_struct *creator, __u64 now) {
    struct sched_thread fresh = {
        .begin = now, .tgid = namespace_tgid(task), .own_tid = own_tid(task), .syscall = -1};
    __u32 tid = namespace_tid(task);
    if (creator) { /* it can run from now on, and has not yet */
        fresh.off = now;
        fresh.cause = TRACE_OFF_PREEMPTED;
    }
    if (bpf_map_update_elem(&sched_threads, &tid, &fresh, BPF_ANY)) {
        __sync_fetch_and_add(&sched_counters.threads_lost, 1);
        return NULL;
    }
    life_tell(SCHED_THREAD, task, &fresh, creator ? namespace_tgid(creator) : 0,
              creator ? namespace_tid(creator) : 0, now, false);
    return bpf_map_lookup_elem(&sched_threads, &tid);
}

static __always_inline struct sched_thread *thread_find(const struct task_struct *task, __u64 now) {
    __u32 tid = namespace_tid(task);
    struct sched_thread *thread = bpf_map_lookup_elem(&sched_threads, &tid);
    return thread || (task->flags & KERNEL_TASK_EXITING) ? thread : thread_add(task, NULL, now);
}

/* include/linux/sched.h: bits of a task's state. */
#define STATE_INTERRUPTIBLE 0x1
#define STATE_UNINTERRUPTIBLE 0x2
#define STATE_STOPPED_OR_TRACED 0xc

static __always_inline __u8 off_cause(struct task_struct *task, bool preempted, unsigned state,
                                      bool in_exception) {
    if (preempted || (state & 0xff) == 0)
        return TRACE_OFF_PREEMPTED;
    if (state & STATE_STOPPED_OR_TRACED)
        return TRACE_OFF_STOPPED;
    if (in_exception)
        return TRACE_OFF_FAULT;
    if (BPF_CORE_READ_BITFIELD(task, in_iowait))
        return TRACE_OFF_IO;
    return state & STATE_INTERRUPTIBLE ? TRACE_OFF_ASLEEP : TRACE_OFF_HELD;
}

static __always_inline void thread_leaves(struct task_struct *task, bool preempted, unsigned state,
                                          __u64 now) {
    struct sched_thread *thread = thread_find(task, now);
    if (!thread)
        return;
    const struct pt_regs *registers = (const struct pt_regs *)bpf_task_pt_regs(task);
    long number = registers->orig_ax; /* of an exception or an interrupt: negative */
    thread->syscall = number >= 0 ? number : -1;
    thread->cause = off_cause(task, preempted, state, number < 0);
    thread->flags = 0;
    thread->futex.address = 0;
    thread->futex_flags = thread->cause == TRACE_OFF_ASLEEP ? futex_waits_at(registers, &thread->futex) : 0;
    thread->woken = 0;
    thread->waker_stack = 0;
    thread->waker_tgid = thread->waker_tid = 0;
    thread->stack = stack_take(thread->tgid, now);
    thread->off = now;
}

static __always_inline void thread_comes(struct task_struct *task, struct task_struct *ran, __u64 now) {
    struct sched_thread *thread = thread_find(task, now);
    if (!thread || thread->off == 0)
        return;
    __u64 begin = thread->off;
    thread->off = 0;
    struct sched_off *record = bpf_ringbuf_reserve(&sched_records, sizeof(*record), 0);
    if (!record) {
        thread->lost++;
        thread->lost_ns += now - begin;
        return;
    }
    thread->stretches++;
    header_set(&record->header, SCHED_OFF, thread->tgid, namespace_tid(task), thread->own_tid, now);
    record->begin = begin;
    record->woken = thread->woken;
    record->stack = thread->stack;
    record->waker_stack = thread->waker_stack;
    record->waker_tgid = thread->waker_tgid;
    record->waker_tid = thread->waker_tid;
    record->ran_tgid = namespace_tgid(ran);
    record->ran_tid = namespace_tid(ran);
    if (namespace_inner && record->ran_tid == 0 && ran->pid != 0)
        record->ran_tid = NAMESPACE_OUTSIDE;
    record->syscall = thread->syscall;
    record->cause = thread->cause;
    record->flags = thread->flags;
    record->futex_flags = thread->futex_flags;
    record->reserved = 0;
    record->futex = thread->futex;
    bpf_probe_read_kernel(record->ran_comm, sizeof(record->ran_comm), ran->comm);
    bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* --- probes -------------------------------------------------------------------------------------------- */

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switched, bool preempted, struct task_struct *from, struct task_struct *to,
             unsigned state) {
    bool leaves = process_is_followed(namespace_tgid(from)), comes = process_is_followed(namespace_tgid(to));
    if (!leaves && !comes)
        return 0;
    __u64 now = bpf_ktime_get_ns();
    if (comes)
        thread_comes(to, from, now);
    if (leaves)
        thread_leaves(from, preempted, state, now);
    return 0;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(sched_woken, struct task_struct *task) {
    if (!process_is_followed(namespace_tgid(task)))
        return 0;
    __u32 tid = namespace_tid(task);
    struct sched_thread *thread = bpf_map_lookup_elem(&sched_threads, &tid);
    if (!thread || thread->off == 0 || thread->woken != 0 || thread->cause == TRACE_OFF_PREEMPTED)
        return 0;
    __u64 now = bpf_ktime_get_ns();
    if (in_interrupt()) {
        thread->flags = SCHED_FLAG_IRQ;
    } else {
        __u64 id = namespace_current();
        thread->waker_tgid = id >> 32;
        thread->waker_tid = (__u32)id;
        if (process_is_followed(id >> 32))
            thread->waker_stack = stack_take(id >> 32, now);
        /* It may have been requeued meanwhile, or have waited at several. */
        __u64 at = thread->futex.address && id >> 32 == thread->tgid ? futex_wakes_at() : 0;
        if (at && at != thread->futex.address) {
            thread->futex.address = at;
            thread->futex_flags |= SCHED_FUTEX_MOVED;
        }
    }
    thread->woken = now;
    return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(sched_forked, struct task_struct *parent, struct task_struct *child) {
    __u32 tgid = namespace_tgid(child), one = 1;
    __u32 parent_tgid = namespace_tgid(parent);
    if (!process_is_followed(parent_tgid))
        return 0;
    if (tgid != parent_tgid && (!sched_follow || bpf_map_update_elem(&sched_processes, &tgid, &one, BPF_ANY)))
        return 0;
    thread_add(child, parent, bpf_ktime_get_ns());
    return 0;
}

/* A thread that was not its process' first has the number of that from now on. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(sched_execed, struct task_struct *task, int old_tid) {
    __u64 now = bpf_ktime_get_ns();
    __u32 tid = namespace_tid(task), tgid = namespace_tgid(task);
    /* old_tid is the initial namespace's, and what it was in ours is forgotten by now. */
    __u32 old = !namespace_inner ? (__u32)old_tid : old_tid == task->pid ? tid : 0;
    if (!process_is_followed(tgid))
        return 0;
    struct sched_thread *thread = bpf_map_lookup_elem(&sched_threads, &old);
    if (!thread) /* it has run since before it was followed */
        thread = thread_add(task, NULL, now);
    if (!thread)
        return 0;
    life_tell(SCHED_EXEC, task, thread, tgid, old, now, false);
    struct sched_thread image = {.begin = now, .tgid = tgid, .own_tid = own_tid(task), .syscall = -1};
    if (old != tid)
        bpf_map_delete_elem(&sched_threads, &old);
    if (bpf_map_update_elem(&sched_threads, &tid, &image, BPF_ANY))
        __sync_fetch_and_add(&sched_counters.threads_lost, 1);
    return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(sched_exited, struct task_struct *task) {
    __u32 tgid = namespace_tgid(task), tid = namespace_tid(task);
    if (!process_is_followed(tgid))
        return 0;
    bool last = BPF_CORE_READ(task, signal, live.counter) == 0;
    struct sched_thread *thread = bpf_map_lookup_elem(&sched_threads, &tid);
    if (thread)
        life_tell(SCHED_EXIT, task, thread, 0, 0, bpf_ktime_get_ns(), last);
    bpf_map_delete_elem(&sched_threads, &tid);
    if (last)
        bpf_map_delete_elem(&sched_processes, &tgid);
    return 0;
}

/* Where a sample's kernel stack is taken: no sample interrupts another of its CPU. */
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct unwind_stack_taken);
} sched_kernel_stack SEC(".maps");

/* What the sample interrupted in the kernel, by its hash; 0: it was not in the kernel. The kernel unwinds
 * itself rightly. */
static __always_inline __u64 kernel_stack_take(void *ctx, __u32 tgid, __u64 now) {
    __u32 zero = 0;
    struct unwind_stack_taken *stack = bpf_map_lookup_elem(&sched_kernel_stack, &zero);
    long bytes = stack ? bpf_get_stack(ctx, stack->frames, sizeof(stack->frames), 0) : 0;
    if (!stack || bytes < (long)sizeof(stack->frames[0]))
        return 0;
    __u32 count = (__u32)bytes / sizeof(stack->frames[0]);
    __u64 hash = 0, factor = 1;
    for (__u32 i = 0; i < UNWIND_FRAMES_MAX && i < count; i++) {
        hash += stack_hash_mix(stack->frames[i]) * factor;
        factor *= STACK_HASH_FACTOR;
    }
    stack->hash = stack_hash_finish(hash);
    stack->count = count;
    stack->end = count < UNWIND_FRAMES_MAX ? UNWIND_END_START : UNWIND_END_CUT;
    stack->flags = SCHED_STACK_KERNEL;
    return stack_name(stack, tgid, now);
}

SEC("perf_event")
int sched_sampled(void *ctx) {
    struct task_struct *task = bpf_get_current_task_btf();
    __u32 tgid = namespace_tgid(task), tid = namespace_tid(task);
    if (!process_is_followed(tgid))
        return 0;
    struct sched_thread *thread = bpf_map_lookup_elem(&sched_threads, &tid);
    if (!thread) /* it is ending */
        return 0;
    __u64 now = bpf_ktime_get_ns(), stack = stack_take(tgid, now);
    __u64 kernel_stack = kernel_stack_take(ctx, tgid, now);
    struct sched_sample *record = bpf_ringbuf_reserve(&sched_records, sizeof(*record), 0);
    if (!record) {
        __sync_fetch_and_add(&sched_counters.lost, 1);
        return 0;
    }
    header_set(&record->header, SCHED_SAMPLE, tgid, tid, thread->own_tid, now);
    record->stack = stack;
    record->kernel_stack = kernel_stack;
    record->weight_ns = sched_sample_ns;
    bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
    return 0;
}
