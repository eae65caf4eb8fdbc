/* SPDX-License-Identifier: MIT */
/*
 * Keeps unwind tables right: hears from the kernel when a process that has a table maps code, forks, execs or
 * ends.
 *
 * A child is known to the programs in the kernel at once; what is mapped is known when it has been drained,
 * which should be soon after unwind_follow_fd() is readable: until then a stack through new code ends there
 * and says so.
 */
#ifndef WAITSCOPE_COLLECTOR_UNWIND_FOLLOW_H
#define WAITSCOPE_COLLECTOR_UNWIND_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "collector/unwind_tables.h"

struct unwind_follow;

struct unwind_follow_stats {
    uint64_t mapped, forked, execed, ended; /* events of processes that were known */
    uint64_t lost;                       /* events the kernel had no room for; all was looked at anew then */
    uint64_t refreshes;                  /* times a process was looked at */
    uint64_t delay_ns_sum, delay_ns_max; /* from a mapping to its being known, over refreshes */
};

/* tables stay the caller's and must outlive it. Needs CAP_PERFMON. Returns 0 or a negative errno. */
int unwind_follow_open(struct unwind_tables *tables, struct unwind_follow **ret_follow);
void unwind_follow_close(struct unwind_follow *follow);

/* An epoll descriptor, for an event loop of one's own: readable when there is something to drain. */
int unwind_follow_fd(const struct unwind_follow *follow);
/* Waits for that. Returns how many CPUs have something, 0 after the timeout, or a negative errno. */
int unwind_follow_wait(const struct unwind_follow *follow, int timeout_ms);
/* Brings the tables up to date with all that has happened. Never waits. */
void unwind_follow_drain(struct unwind_follow *follow);

/*
 * Whether a stack of the process taken at that time (CLOCK_MONOTONIC) may have been taken by a table that was
 * not right any more: between the mapping of code, or an exec, and its being known. Such a stack may be cut
 * short, and where code was mapped in place of other it may be wrong. To be asked after a drain that began
 * when the stack had been taken; the last thousand such times are remembered.
 */
bool unwind_follow_stale(const struct unwind_follow *follow, pid_t pid, uint64_t time_ns);

void unwind_follow_stats(const struct unwind_follow *follow, struct unwind_follow_stats *ret_stats);

#endif
