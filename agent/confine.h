/* SPDX-License-Identifier: MIT */
/*
 * Sandboxes. A seccomp filter may kill the process for a system call that the program itself never
 * makes, and nothing asks beforehand what a filter allows. So from the moment one may be in force the
 * agent makes no system call at all: it goes on with what it has, and what it cannot do without the
 * kernel (a further slab, a child's own) is counted as lost.
 *
 *   [CONFINED]  A section that calls the kernel counts itself in, then looks whether the process is
 *               confined; who confines it says so, then waits until nobody is inside. Both sequentially
 *               consistent: one of the two sees the other.
 */
#ifndef WAITSCOPE_AGENT_CONFINE_H
#define WAITSCOPE_AGENT_CONFINE_H

#include <stdbool.h>

/* Opens a section that makes system calls; false: make none, and do not leave. Any thread, not in hot
 * paths. */
bool agent_kernel_enter(void);
void agent_kernel_leave(void);

/* Whether the process was confined when last looked at. */
bool agent_is_confined(void);

/* Whether this image began its life under a filter that whoever records it does not live under. Makes
 * only calls that the loader has just made to load us. */
bool agent_confined_at_birth(void);

/* In a forked child: the sections of the parent's threads are not here. */
void agent_confine_forked(void);

#endif
