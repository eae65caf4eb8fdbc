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

struct task_struct {
    unsigned int flags;
    struct mm_struct *mm;
    int pid;  /* the thread's, in the initial pid namespace */
    int tgid; /* the process' */
};

/* What a thread had in its registers when it entered the kernel. */
struct pt_regs {
    unsigned long bp, ax, di, orig_ax, ip, cs, sp;
};

struct linux_binprm;

#pragma clang attribute pop

/* include/linux/sched.h */
#define KERNEL_TASK_KTHREAD 0x00200000
/* arch/x86/include/asm/segment.h: __USER_CS, the code segment of 64-bit programs. */
#define KERNEL_USER_CS 0x33

#endif
