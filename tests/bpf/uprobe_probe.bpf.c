/* SPDX-License-Identifier: MIT */
/* Counts for itself, beside uprobe_hit(). */
#include "bpf/uprobe.bpf.h"

#include "tests/bpf/uprobe_probe.h"

char LICENSE[] SEC("license") = "GPL";

__u64 probe_ran[UPROBE_PROBE_IDS];
__u64 probe_ran_outside; /* for an id that there is no place for */
__u32 probe_tgid;        /* the process it ran in last */

SEC("uprobe")
int probe_function(void *ctx) {
    __u32 id = uprobe_hit(ctx);
    if (id < UPROBE_PROBE_IDS)
        __sync_fetch_and_add(&probe_ran[id], 1);
    else
        __sync_fetch_and_add(&probe_ran_outside, 1);
    probe_tgid = bpf_get_current_pid_tgid() >> 32;
    return 0;
}
