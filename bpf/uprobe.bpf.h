/* SPDX-License-Identifier: MIT */
/*
 * For programs that collector/uprobe.h attaches: each calls uprobe_hit() first. Which probe it was is the
 * cookie of the attachment (Linux 5.15). Included once in an object; the map is the collector's to read.
 */
#ifndef WAITSCOPE_BPF_UPROBE_BPF_H
#define WAITSCOPE_BPF_UPROBE_BPF_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define UPROBES_MAX 256

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, UPROBES_MAX);
    __type(key, __u32);
    __type(value, __u64);
} uprobe_hits SEC(".maps");

/* Counts a hit; returns the probe's id. The program may be preempted by another on its CPU, so the sum is
 * atomic; nothing is ordered by it. */
static __always_inline __u32 uprobe_hit(void *ctx) {
    __u32 id = (__u32)bpf_get_attach_cookie(ctx);
    __u64 *hits = bpf_map_lookup_elem(&uprobe_hits, &id);
    if (hits)
        __sync_fetch_and_add(hits, 1);
    return id;
}

#endif
