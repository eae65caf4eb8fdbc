/* SPDX-License-Identifier: MIT */
/* What the kernel's side takes, one thing after the other, and whether this process has it. */
#ifndef WAITSCOPE_COLLECTOR_KERNEL_NEED_H
#define WAITSCOPE_COLLECTOR_KERNEL_NEED_H

#include <stdbool.h>
#include <stddef.h>

enum kernel_need_id {
    KERNEL_NEED_PROC, /* of this pid namespace */
    KERNEL_NEED_BTF,
    KERNEL_NEED_LOCKDOWN,
    KERNEL_NEED_CAP_BPF,
    KERNEL_NEED_CAP_PERFMON,
    KERNEL_NEED_BPF_CALL,   /* unprivileged_bpf_disabled, and filters on system calls */
    KERNEL_NEED_PERF_EVENT, /* perf_event_paranoid, and such filters */
    KERNEL_NEEDS,
};

struct kernel_need {
    bool missing;    /* it is in the way */
    char found[192]; /* what there is, or what is in the way */
    char cure[128];  /* empty: nothing is missing */
};

/* Calls of the system are tried, not guessed: a container may refuse them for reasons of its own. */
void kernel_need_look(enum kernel_need_id id, struct kernel_need *ret_need);
/* All that is missing, in one line; what a missing capability explains is left out. False: nothing is. */
bool kernel_needs_missing(char *ret_text, size_t bytes);

#endif
