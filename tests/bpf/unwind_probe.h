/* SPDX-License-Identifier: MIT */
/* What the tests' and benches' own probes (unwind_probe.bpf.c) count and hand out. */
#ifndef WAITSCOPE_TESTS_BPF_UNWIND_PROBE_H
#define WAITSCOPE_TESTS_BPF_UNWIND_PROBE_H

#include "bpf/unwind_table.h"

enum { PROBE_OFF_CPU, PROBE_ON_CPU, PROBE_KINDS };

/* Of stacks of one depth; times in nanoseconds, with the two readings of the clock in them. */
struct probe_depth {
    __u64 count, misses;
    __u64 first_ns;                 /* as the event found things */
    __u64 again_ns;                 /* the same stack once more, at once */
    __u64 kernel_ns, kernel_frames; /* bpf_get_stack() */
};

struct probe_counts {
    __u64 ends[UNWIND_ENDS];
    __u64 fallbacks;                                  /* stacks with frames by frame pointer */
    struct probe_depth depths[2 * UNWIND_FRAMES_MAX]; /* a power of two for the verifier */
};

struct probe_record {
    __u32 pid, tid, kind, count, end, flags;
    __u64 hash, time_ns;
    __u64 frames[UNWIND_FRAMES_MAX];
};

enum { PROBE_EMIT_NONE, PROBE_EMIT_ALL, PROBE_EMIT_INCOMPLETE };

#endif
