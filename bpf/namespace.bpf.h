/* SPDX-License-Identifier: MIT */
/*
 * Numbers of threads and processes as the collector has them: those of its pid namespace, which are what
 * /proc shows it and what it is told by sockets and perf events. In the initial namespace they are the
 * kernel's own. Else namespace_inner is set before loading, and namespace_find run by the collector before
 * anything is attached; who is not in the namespace, nor below it, has the number 0.
 */
#ifndef WAITSCOPE_BPF_NAMESPACE_BPF_H
#define WAITSCOPE_BPF_NAMESPACE_BPF_H

#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "bpf/kernel_types.h"

/* Of a thread that is in none of our namespaces, where 0 would be the idle thread. */
#define NAMESPACE_OUTSIDE 0xffffffffU

volatile const bool namespace_inner;

__u64 namespace_address; /* of the kernel's struct pid_namespace */
__u32 namespace_level;

/* Linux's MAX_PID_NS_LEVEL is 32: the initial one and so many below it. */
#define NAMESPACE_LEVEL(level) ((level)&63)

/* The thread's number in the level-th of the namespaces it is in, and which that is; 0: it is not so deep. */
static __always_inline __u32 namespace_number(const struct pid *pid, __u32 level, __u64 *ret_namespace) {
    __u32 number = 0;
    *ret_namespace = 0;
    if (!pid || BPF_CORE_READ(pid, level) < level)
        return 0;
    const char *entry = (const char *)pid + bpf_core_field_offset(struct pid, numbers) +
                        NAMESPACE_LEVEL(level) * bpf_core_type_size(struct upid);
    bpf_probe_read_kernel(&number, sizeof(number), entry + bpf_core_field_offset(struct upid, nr));
    bpf_probe_read_kernel(ret_namespace, sizeof(*ret_namespace),
                          entry + bpf_core_field_offset(struct upid, ns));
    return number;
}

static __always_inline __u32 namespace_ours(const struct pid *pid) {
    __u64 namespace;
    __u32 number = namespace_number(pid, namespace_level, &namespace);
    return namespace == namespace_address ? number : 0;
}

static __always_inline __u32 namespace_tgid(const struct task_struct *task) {
    return namespace_inner ? namespace_ours(BPF_CORE_READ(task, group_leader, thread_pid)) : task->tgid;
}

static __always_inline __u32 namespace_tid(const struct task_struct *task) {
    return namespace_inner ? namespace_ours(BPF_CORE_READ(task, thread_pid)) : task->pid;
}

/* As bpf_get_current_pid_tgid(). */
static __always_inline __u64 namespace_current(void) {
    if (!namespace_inner)
        return bpf_get_current_pid_tgid();
    const struct task_struct *task = bpf_get_current_task_btf();
    return (__u64)namespace_tgid(task) << 32 | namespace_tid(task);
}

/* Run once, by the collector's own thread. */
SEC("raw_tp")
int namespace_find(void *ctx) {
    const struct task_struct *task = bpf_get_current_task_btf();
    const struct pid *pid = BPF_CORE_READ(task, thread_pid);
    namespace_level = BPF_CORE_READ(pid, level);
    namespace_number(pid, namespace_level, &namespace_address);
    return 0;
}

#endif
