/* SPDX-License-Identifier: MIT */
/* What reading registers.bpf.c gives, one behind the other. */
#ifndef WAITSCOPE_BPF_REGISTERS_RECORD_H
#define WAITSCOPE_BPF_REGISTERS_RECORD_H

#include <linux/types.h>

/* A thread's registers as it entered the kernel; of one that is not in the kernel they mean nothing. */
struct registers_record {
    __u32 tid; /* in the initial pid namespace */
    __u32 is_64_bit;
    __u64 pc, sp, bp;
    __s64 syscall; /* negative: it is in an exception or an interrupt */
    __s64 result;  /* rax */
};

#endif
