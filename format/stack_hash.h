/* SPDX-License-Identifier: MIT */
/*
 * The hash of a stack, the same in the agent, in BPF and in the collector: sums from the root to the leaf,
 * s' = s * M + mix(pc), finished at the leaf. It can be continued at any frame, and the multiplication is all
 * that each frame waits for. Who walks from the leaf to the root adds mix(pc) * M to the power of the frame's
 * number, which comes to the same sum.
 */
#ifndef WAITSCOPE_FORMAT_STACK_HASH_H
#define WAITSCOPE_FORMAT_STACK_HASH_H

#include <linux/types.h>

#define STACK_HASH_FACTOR 0xD1342543DE82EF95ULL

static inline __u64 stack_hash_mix(__u64 pc) {
    __u64 mixed = pc * 0x9E3779B97F4A7C15ULL;
    return mixed ^ mixed >> 32;
}
static inline __u64 stack_hash_add(__u64 sum, __u64 pc) {
    return sum * STACK_HASH_FACTOR + stack_hash_mix(pc);
}
/* Never 0. */
static inline __u64 stack_hash_finish(__u64 sum) {
    sum = (sum ^ sum >> 32) * 0x9E3779B97F4A7C15ULL;
    sum ^= sum >> 29;
    return sum ? sum : 1;
}

#endif
