/* SPDX-License-Identifier: MIT */
/*
 * fork() tells us by pthread_atfork. _Fork(), clone() and the raw system calls (confine.c) do not: their
 * child would go on with the slot of the thread that made it, in memory that both share.
 */
#include "agent/fork.h"

#include "agent/agent.h"

AGENT_EXPORT pid_t _Fork(void) {
    agent_resolve();
    return (pid_t)agent_fork_done(agent_real._Fork());
}

/* Lies on the stack of the thread that calls clone; the child has a copy of it there. */
struct clone_start {
    int (*function)(void *);
    void *argument;
};

static int clone_enter(void *argument) {
    const struct clone_start start = *(struct clone_start *)argument;
    agent_forked();
    return start.function(start.argument);
}

AGENT_EXPORT int hook_clone(int (*function)(void *), void *stack, int flags, void *argument, void *parent_tid,
                            void *tls, void *child_tid) __asm__("clone");

int hook_clone(int (*function)(void *), void *stack, int flags, void *argument, void *parent_tid, void *tls,
               void *child_tid) {
    if (AGENT_UNLIKELY(!agent_real.clone))
        agent_resolve();
    if ((flags & CLONE_VM) || !function || !stack)
        return agent_real.clone(function, stack, flags, argument, parent_tid, tls, child_tid);
    struct clone_start start = {function, argument};
    return agent_real.clone(clone_enter, stack, flags, &start, parent_tid, tls, child_tid);
}
