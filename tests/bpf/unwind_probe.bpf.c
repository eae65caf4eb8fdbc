/* SPDX-License-Identifier: MIT */
/* Takes a stack at each switch away from a thread and at each sample, times it, and hands it out if asked to.
 */
#include "bpf/unwind.bpf.h"

#include <bpf/bpf_tracing.h>

#include "tests/bpf/unwind_probe.h"

char LICENSE[] SEC("license") = "GPL";

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 8 << 20);
} probe_records SEC(".maps");

struct probe_kernel_stack {
    __u64 frames[UNWIND_FRAMES_MAX];
};
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, PROBE_KINDS);
    __type(key, __u32);
    __type(value, struct probe_kernel_stack);
} probe_kernel_stacks SEC(".maps");

struct probe_counts probe_counts[PROBE_KINDS];
__u64 probe_records_lost, probe_clock_ns, probe_clock_count;
volatile __u32 probe_emit, probe_again, probe_kernel;

static __always_inline void record_emit(const struct unwind_stack_taken *stack, __u32 kind, __u64 time_ns) {
    struct probe_record *record = bpf_ringbuf_reserve(&probe_records, sizeof(*record), 0);
    if (!record) {
        __sync_fetch_and_add(&probe_records_lost, 1);
        return;
    }
    __u64 id = bpf_get_current_pid_tgid();
    record->pid = id >> 32;
    record->tid = (__u32)id;
    record->kind = kind;
    record->count = stack->count;
    record->end = stack->end;
    record->flags = stack->flags;
    record->hash = stack->hash;
    record->time_ns = time_ns;
    bpf_probe_read_kernel(record->frames, sizeof(record->frames), stack->frames);
    bpf_ringbuf_submit(record, 0);
}

static __always_inline int event(void *ctx, __u32 kind) {
    __u32 tgid = bpf_get_current_pid_tgid() >> 32;
    struct probe_counts *counts = &probe_counts[kind];
    __u64 begin = bpf_ktime_get_ns();
    struct unwind_stack_taken *stack = unwind_take(tgid);
    __u64 first_ns = bpf_ktime_get_ns() - begin;
    if (!stack)
        return 0;
    struct probe_depth *depth = &counts->depths[UNWIND_MASK(stack->count, UNWIND_FRAMES_MAX * 2 - 1)];
    __sync_fetch_and_add(&depth->count, 1);
    __sync_fetch_and_add(&depth->misses, stack->misses);
    __sync_fetch_and_add(&depth->first_ns, first_ns);
    if (stack->end < UNWIND_ENDS)
        __sync_fetch_and_add(&counts->ends[stack->end], 1);
    if (stack->flags & UNWIND_STACK_FRAME_POINTER)
        __sync_fetch_and_add(&counts->fallbacks, 1);
    if (probe_emit == PROBE_EMIT_ALL ||
        (probe_emit == PROBE_EMIT_INCOMPLETE && stack->end != UNWIND_END_START))
        record_emit(stack, kind, begin);
    unwind_give(stack);

    if (probe_again) {
        begin = bpf_ktime_get_ns();
        stack = unwind_take(tgid);
        __u64 now = bpf_ktime_get_ns();
        if (stack)
            unwind_give(stack);
        __sync_fetch_and_add(&depth->again_ns, now - begin);
        begin = bpf_ktime_get_ns();
        __sync_fetch_and_add(&probe_clock_ns, bpf_ktime_get_ns() - begin);
        __sync_fetch_and_add(&probe_clock_count, 1);
    }
    struct probe_kernel_stack *theirs = bpf_map_lookup_elem(&probe_kernel_stacks, &kind);
    if (probe_kernel && theirs) {
        begin = bpf_ktime_get_ns();
        long bytes = bpf_get_stack(ctx, theirs->frames, sizeof(theirs->frames), BPF_F_USER_STACK);
        __sync_fetch_and_add(&depth->kernel_ns, bpf_ktime_get_ns() - begin);
        if (bytes > 0)
            __sync_fetch_and_add(&depth->kernel_frames, (__u64)bytes / 8);
    }
    return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(probe_switch, bool preempt, struct task_struct *from, struct task_struct *to) {
    return event(ctx, PROBE_OFF_CPU);
}

SEC("perf_event")
int probe_sample(void *ctx) {
    return event(ctx, PROBE_ON_CPU);
}
