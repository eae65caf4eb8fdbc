/* SPDX-License-Identifier: MIT */
/* What code a process has mapped, from /proc/PID/maps. */
#ifndef WAITSCOPE_COLLECTOR_UNWIND_MAPS_H
#define WAITSCOPE_COLLECTOR_UNWIND_MAPS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "collector/unwind_module.h"

enum unwind_mapping_kind {
    UNWIND_MAPPING_FILE,
    UNWIND_MAPPING_VDSO,
    UNWIND_MAPPING_ANONYMOUS, /* code that was written at run time */
};

struct unwind_mapping {
    uint64_t low, high, offset;
    enum unwind_mapping_kind kind;
    struct unwind_file file; /* of UNWIND_MAPPING_FILE, as are the others */
    char path[4224];         /* by which it can be opened */
};

/* Calls for each executable mapping, by rising addresses, until call returns nonzero. Returns that, 0, or a
 * negative errno: -ESRCH where the process is gone. */
int unwind_maps_read(pid_t pid, int (*call)(void *argument, const struct unwind_mapping *mapping),
                     void *argument);

/* Whether the process has no memory any more: it has ended, waited for or not. */
bool unwind_maps_gone(pid_t pid);

#endif
