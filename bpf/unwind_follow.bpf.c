/* SPDX-License-Identifier: MIT */
/*
 * Keeps unwind_processes right in the instants in which the collector has not heard yet: a child has its
 * parent's code and so its table; an image that was replaced by exec has none until the collector has read
 * it.
 */
#include "bpf/unwind.bpf.h"

#include <bpf/bpf_tracing.h>

#include "bpf/namespace.bpf.h"

char LICENSE[] SEC("license") = "GPL";

SEC("tp_btf/sched_process_fork")
int BPF_PROG(unwind_fork, struct task_struct *parent, struct task_struct *child) {
    __u32 parent_tgid = namespace_tgid(parent), child_tgid = namespace_tgid(child), zero = 0;
    if (parent_tgid == child_tgid)
        return 0;
    __u32 *number = bpf_map_lookup_elem(&unwind_processes, &parent_tgid);
    if (!number)
        return 0;
    __u32 slot = *number;
    if (bpf_map_update_elem(&unwind_processes, &child_tgid, &slot, BPF_ANY)) {
        struct unwind_counters *counters = bpf_map_lookup_elem(&unwind_counters, &zero);
        if (counters)
            __sync_fetch_and_add(&counters->forks_lost, 1);
    }
    return 0;
}

/* execve() renames the task once it has the new memory and before it maps anything there, so what is heard of
 * the mappings comes later. */
SEC("tp_btf/task_rename")
int BPF_PROG(unwind_exec, struct task_struct *task, const char *name) {
    __u32 tgid = namespace_tgid(task);
    __u32 *number = bpf_map_lookup_elem(&unwind_processes, &tgid);
    if (number && unwind_in_exec(task))
        *number = UNWIND_TABLE_EMPTY;
    return 0;
}
