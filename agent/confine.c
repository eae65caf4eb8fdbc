/* SPDX-License-Identifier: MIT */
#include "agent/confine.h"

#include <limits.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>

#include "agent/agent.h"
#include "agent/fork.h"
#include "agent/start.h"
#include "agent/syscall.h"
#include "agent/unwind.h"
#include "format/hello.h"

static _Atomic uint32_t confined; /* filters that are in force or about to be */
static _Atomic uint32_t kernel_users;

#define USERS_PATIENCE 20000 /* yields: one of the users may be the very thread that waits, interrupted */

bool agent_kernel_enter(void) {
    atomic_fetch_add_explicit(&kernel_users, 1, memory_order_seq_cst); /* [CONFINED] */
    if (AGENT_LIKELY(atomic_load_explicit(&confined, memory_order_seq_cst) == 0))
        return true;
    agent_kernel_leave();
    return false;
}

void agent_kernel_leave(void) {
    atomic_fetch_sub_explicit(&kernel_users, 1, memory_order_seq_cst); /* [CONFINED] */
}

bool agent_is_confined(void) {
    return atomic_load_explicit(&confined, memory_order_seq_cst) != 0; /* [CONFINED] */
}

void agent_confine_forked(void) {
    atomic_store_explicit(&kernel_users, 0, memory_order_seq_cst); /* [CONFINED] */
}

/* --- from birth ------------------------------------------------------------------------------------ */

/* The number behind name ("\nSeccomp_filters:") in a file such as /proc/self/status, INT_MAX if there is no
 * such file, 0 if it does not say. */
static int status_number(const char *path, const char *name) {
    char chunk[256];
    size_t matched = 1; /* of name; its first character is the end of the line before */
    int number = 0;
    bool found = false, ended = false;
    int fd = (int)AGENT_SYSCALL_4(SYS_openat, -100 /* AT_FDCWD */, path, 02000000 /* O_CLOEXEC */, 0);
    if (fd < 0)
        return INT_MAX;
    for (long got; !ended && (got = AGENT_SYSCALL_3(SYS_read, fd, chunk, sizeof(chunk))) > 0;) {
        for (long i = 0; i < got && !ended; i++) {
            char letter = chunk[i];
            if (!found) {
                matched = letter == name[matched] ? matched + 1 : letter == name[0];
                found = name[matched] == '\0';
            } else if (letter >= '0' && letter <= '9') {
                number = number * 10 + (letter - '0');
            } else {
                ended = letter == '\n';
            }
        }
    }
    AGENT_SYSCALL_1(SYS_close, fd);
    return number;
}

/* Kernels before 5.9 do not count filters and only say that there are some: mode 2. */
static int filters_of(const char *path) {
    int mode = status_number(path, "\nSeccomp:");
    if (mode == INT_MAX || mode == 0)
        return mode;
    int filters = status_number(path, "\nSeccomp_filters:");
    return filters > 0 ? filters : 1;
}

/* Filters that are not the target's own do no harm: those that the recorder came to life under (it has made
 * all the calls that we make), and those around everything in this container. */
bool agent_confined_at_birth(void) {
    int filters = filters_of("/proc/self/status"), shared = 0;
    const char *recorder = agent_environment_get(WAITSCOPE_SECCOMP_VARIABLE);
    for (; recorder && *recorder >= '0' && *recorder <= '9' && shared < 1000; recorder++)
        shared = shared * 10 + (*recorder - '0');
    if (filters <= shared)
        return false;
    shared = filters_of("/proc/1/status");
    return shared == INT_MAX || filters > shared;
}

/* --- by the program itself ------------------------------------------------------------------------- */

/* The last moment to get what needs the kernel: a slot for this thread, and slots for threads to come. */
static void walls_before(void) {
    if (agent_slot() && agent_kernel_enter()) {
        agent_busy_enter();
        agent_slab_spare();
        agent_busy_leave();
        agent_kernel_leave();
    }
}

static void filter_before(void) {
    walls_before();
    unwind_kernel_avoid(true);
    atomic_fetch_add_explicit(&confined, 1, memory_order_seq_cst); /* [CONFINED] */
    for (int i = 0; i < USERS_PATIENCE && atomic_load_explicit(&kernel_users, memory_order_seq_cst) != 0; i++)
        if (atomic_load_explicit(&confined, memory_order_relaxed) == 1)
            AGENT_SYSCALL_0(SYS_sched_yield);
}

/* result: of the call that was to install it. A positive one is a thread that could not be confined along
 * (SECCOMP_FILTER_FLAG_TSYNC) or a descriptor, and counts as success. */
static long filter_after(long result) {
    if (result < 0 && atomic_fetch_sub_explicit(&confined, 1, memory_order_seq_cst) == 1) /* [CONFINED] */
        unwind_kernel_avoid(false);
    return result;
}

/*
 * prctl, syscall and clone take what arguments they are given. On x86-64 a function that takes them all and
 * passes them on does the same, whatever was given.
 */
AGENT_EXPORT int hook_prctl(int option, unsigned long a, unsigned long b, unsigned long c,
                            unsigned long d) __asm__("prctl");

int hook_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
    if (AGENT_UNLIKELY(!agent_real.prctl))
        agent_resolve();
    if (AGENT_LIKELY(option != PR_SET_SECCOMP))
        return agent_real.prctl(option, a, b, c, d);
    filter_before();
    return (int)filter_after(agent_real.prctl(option, a, b, c, d));
}

AGENT_EXPORT long hook_syscall(long number, long a, long b, long c, long d, long e,
                               long f) __asm__("syscall");

/* Every call but those that concern us goes through as a jump: a child that shares our stack must find no
 * frame of ours there. */
long hook_syscall(long number, long a, long b, long c, long d, long e, long f) {
    if (AGENT_UNLIKELY(!agent_real.syscall))
        agent_resolve();
    if (AGENT_UNLIKELY(number == SYS_seccomp &&
                       (a == SECCOMP_SET_MODE_STRICT || a == SECCOMP_SET_MODE_FILTER))) {
        filter_before();
        return filter_after(agent_real.syscall(number, a, b, c, d, e, f));
    }
    if (AGENT_UNLIKELY(number == SYS_prctl && a == PR_SET_SECCOMP)) {
        filter_before();
        return filter_after(agent_real.syscall(number, a, b, c, d, e, f));
    }
    if (AGENT_UNLIKELY(agent_fork_is_raw(number, a)))
        return agent_fork_done(agent_real.syscall(number, a, b, c, d, e, f));
    return agent_real.syscall(number, a, b, c, d, e, f);
}

/* Beyond a new root the collector's socket is out of reach. */
AGENT_EXPORT int chroot(const char *path) {
    agent_resolve();
    walls_before();
    return agent_real.chroot(path);
}
