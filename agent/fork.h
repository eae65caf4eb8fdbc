/* SPDX-License-Identifier: MIT */
/* Children that are a copy of this process, however they are made. */
#ifndef WAITSCOPE_AGENT_FORK_H
#define WAITSCOPE_AGENT_FORK_H

#include <linux/sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>

/* In the child: it has one thread, a copy of this one, and none of the parent's slots. */
void agent_forked(void);

/* Whether a system call makes a child with memory of its own. argument: its first one. */
static inline bool agent_fork_is_raw(long number, long argument) {
    if (number == SYS_clone)
        return !(argument & CLONE_VM);
    if (number == SYS_clone3)
        return argument && !(((const struct clone_args *)argument)->flags & CLONE_VM);
    return number == SYS_fork;
}

static inline long agent_fork_done(long result) {
    if (result == 0)
        agent_forked();
    return result;
}

#endif
