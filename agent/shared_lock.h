/* SPDX-License-Identifier: MIT */
/*
 * Locks that other processes may use too, each at an address of its own. What such a lock has in common for
 * all of them is its place in shared memory: the file that is mapped there, and the offset in it.
 */
#ifndef WAITSCOPE_AGENT_SHARED_LOCK_H
#define WAITSCOPE_AGENT_SHARED_LOCK_H

#include <stdint.h>

struct thread_slot;

/* Tells where the lock of this key lies, if that was not told yet. Not busy. Any thread. */
void shared_lock_tell(struct thread_slot *slot, uint64_t key);

/* In a forked child: nothing has been told for it. */
void shared_locks_forked(void);

#endif
