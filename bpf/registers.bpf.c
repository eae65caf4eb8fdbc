/* SPDX-License-Identifier: MIT */
/*
 * The registers of all threads of a process, whatever they do: /proc has pc and rsp alone, and a frame that
 * goes by rbp cannot be left without it. Read as a file (BPF iterator; Linux 5.15 for bpf_task_pt_regs).
 */
#include <linux/bpf.h>
#include <stddef.h>

#include <bpf/bpf_helpers.h>

#include "bpf/kernel_types.h"
#include "bpf/namespace.bpf.h"
#include "bpf/registers_record.h"

char LICENSE[] SEC("license") = "GPL";

volatile const __u32 registers_tgid;

SEC("iter/task")
int registers_tell(struct bpf_iter__task *context) {
    struct task_struct *task = context->task;
    if (!task || namespace_tgid(task) != registers_tgid || !task->mm)
        return 0;
    const struct pt_regs *registers = (const struct pt_regs *)bpf_task_pt_regs(task);
    struct registers_record record = {
        .tid = namespace_tid(task),
        .is_64_bit = registers->cs == KERNEL_USER_CS,
        .pc = registers->ip,
        .sp = registers->sp,
        .bp = registers->bp,
        .syscall = (__s64)registers->orig_ax,
        .result = (__s64)registers->ax,
    };
    bpf_seq_write(context->meta->seq, &record, sizeof(record));
    return 0;
}
