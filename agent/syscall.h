/* SPDX-License-Identifier: MIT */
/*
 * Kernel calls without libc's wrappers: those are cancellation points, set errno, and a target may
 * have replaced them by functions of its own. Each returns the kernel's result, a negative errno on
 * failure.
 */
#ifndef WAITSCOPE_AGENT_SYSCALL_H
#define WAITSCOPE_AGENT_SYSCALL_H

#include <stdint.h>
#include <sys/syscall.h>

static inline long agent_syscall(long number, long a, long b, long c, long d, long e, long f) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#define AGENT_SYSCALL_0(n) agent_syscall(n, 0, 0, 0, 0, 0, 0)
#define AGENT_SYSCALL_1(n, a) agent_syscall(n, (long)(a), 0, 0, 0, 0, 0)
#define AGENT_SYSCALL_2(n, a, b) agent_syscall(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define AGENT_SYSCALL_3(n, a, b, c) agent_syscall(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define AGENT_SYSCALL_4(n, a, b, c, d) agent_syscall(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define AGENT_SYSCALL_6(n, a, b, c, d, e, f)                                                                 \
    agent_syscall(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

#endif
