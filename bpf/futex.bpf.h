/* SPDX-License-Identifier: MIT */
/*
 * What a thread waits at that leaves its CPU in a futex call. The call's arguments are still in its registers
 * then, so calls that need not wait cost nothing, and the words are what the kernel has just compared.
 */
#ifndef WAITSCOPE_BPF_FUTEX_BPF_H
#define WAITSCOPE_BPF_FUTEX_BPF_H

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <linux/futex.h>

#include "bpf/kernel_types.h"
#include "bpf/sched_record.h"

/* arch/x86/entry/syscalls/syscall_64.tbl */
#define SYSCALL_FUTEX 202
#define SYSCALL_FUTEX_WAITV 449
#define SYSCALL_FUTEX_WAKE 454
#define SYSCALL_FUTEX_WAIT 455
#define FUTEX_OP_LOCK_PI2 13

/* include/uapi/linux/futex.h: struct futex_waitv */
struct futex_waiter {
    __u64 value, address;
    __u32 flags, reserved;
};

/* Returns enum SCHED_FUTEX_* flags. */
static __always_inline __u8 futex_waits_at(const struct pt_regs *registers, struct sched_futex *ret_futex) {
    __u8 flags = 0;
    long number = registers->orig_ax;
    __u64 address = registers->di;
    unsigned operation = registers->si & FUTEX_CMD_MASK;
    ret_futex->address = 0;
    ret_futex->word = ret_futex->second = 0;
    if (number == SYSCALL_FUTEX) {
        if (operation == FUTEX_LOCK_PI || operation == FUTEX_OP_LOCK_PI2)
            flags = SCHED_FUTEX_PI;
        else if (operation != FUTEX_WAIT && operation != FUTEX_WAIT_BITSET &&
                 operation != FUTEX_WAIT_REQUEUE_PI)
            return 0;
    } else if (number == SYSCALL_FUTEX_WAITV) {
        /* Several: the first stands for them until one of them wakes it. */
        struct futex_waiter first;
        if (bpf_probe_read_user(&first, sizeof(first), (const void *)address))
            return 0;
        address = first.address;
    } else if (number != SYSCALL_FUTEX_WAIT) {
        return 0;
    }
    __u32 words[3];
    if (bpf_probe_read_user(words, sizeof(words), (const void *)address) == 0)
        ret_futex->second = words[2];
    else if (bpf_probe_read_user(words, sizeof(words[0]), (const void *)address))
        return 0;
    ret_futex->word = words[0];
    ret_futex->address = address;
    return flags;
}

/* The address that the current thread wakes at; 0: it is in no such call. */
static __always_inline __u64 futex_wakes_at(void) {
    const struct pt_regs *registers = (const struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
    long number = registers->orig_ax;
    unsigned operation = registers->si & FUTEX_CMD_MASK;
    if (number == SYSCALL_FUTEX_WAKE)
        return registers->di;
    if (number != SYSCALL_FUTEX ||
        (operation != FUTEX_WAKE && operation != FUTEX_WAKE_BITSET && operation != FUTEX_UNLOCK_PI))
        return 0;
    return registers->di;
}

#endif
