/* SPDX-License-Identifier: MIT */
/*
 * What the programs read of the kernel's own structures, and nothing else of them: the loader moves each
 * access to where the running kernel has the field (CO-RE), so the order and the types of the others do not
 * matter, and no header of one kernel has to be there to build. A type of the same size or larger serves; the
 * loader narrows the access (pt_regs.cs became 16 bits wide in Linux 6.7).
 */
#ifndef WAITSCOPE_BPF_KERNEL_TYPES_H
#define WAITSCOPE_BPF_KERNEL_TYPES_H

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct mm_struct;

/* A thread's number in one pid namespace. */
struct upid {
    int nr;
    void *ns;
};
struct pid {
    unsigned int level; /* of the innermost namespace it is in */
    struct upid numbers[1];
};

struct atomic_count {
    int counter;
};
struct signal_struct {
    struct atomic_count live; /* threads that have not begun to end */
};
struct sched_entity {
    unsigned long long sum_exec_runtime; /* ns */
};

struct task_struct {
    unsigned int flags;
    struct mm_struct *mm;
    unsigned int in_execve : 1;
    int pid;  /* the thread's, in the initial pid namespace */
    int tgid; /* the process' */
    struct task_struct *group_leader;
    struct pid *thread_pid;
    struct signal_struct *signal;
    struct sched_entity se;
    unsigned int in_iowait : 1;
    char comm[16];
};

/* What a thread had in its registers when it entered the kernel. */
struct pt_regs {
    unsigned long bp, ax, di, si, r10, orig_ax, ip, cs, sp;
};

/* What an iterator over threads gets, one after the other and NULL at the end. */
struct seq_file;
struct bpf_iter_meta {
    struct seq_file *seq;
};
struct bpf_iter__task {
    struct bpf_iter_meta *meta;
    struct task_struct *task;
};

#pragma clang attribute pop

/* include/linux/sched.h */
#define KERNEL_TASK_KTHREAD 0x00200000
#define KERNEL_TASK_EXITING 0x00000004
/* arch/x86/include/asm/segment.h: __USER_CS, the code segment of 64-bit programs. */
#define KERNEL_USER_CS 0x33

#endif
