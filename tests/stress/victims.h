/* SPDX-License-Identifier: MIT */
/* What the children that stress/kill_target has killed have said before, in memory that outlives them. */
#ifndef WAITSCOPE_TESTS_STRESS_VICTIMS_H
#define WAITSCOPE_TESTS_STRESS_VICTIMS_H

#include <stdint.h>

#define VICTIM_THREADS 2

struct victim_thread {
    uint64_t events; /* that have been recorded; the one after may have been as well */
};

struct victim {
    uint32_t pid;
    struct victim_thread threads[VICTIM_THREADS];
};

#endif
