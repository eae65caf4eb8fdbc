/* SPDX-License-Identifier: MIT */
/*
 * The programs in the kernel (bpf/), loaded and attached: what they hand out comes through a call. One
 * thread. Pids and tids are those of this process' pid namespace, which /proc has to show.
 */
#ifndef WAITSCOPE_COLLECTOR_KERNEL_PROBES_H
#define WAITSCOPE_COLLECTOR_KERNEL_PROBES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "bpf/registers_record.h"
#include "bpf/sched_record.h"
#include "collector/unwind_tables.h"

struct kernel_probes;

struct kernel_probes_options {
    unsigned sample_hz; /* on-CPU samples a second and CPU; 0: none */
    bool no_follow;     /* the added processes only, not their children */
    void (*record)(void *argument, const void *data, size_t bytes); /* begins with struct sched_header */
    void *argument;
};

/* Returns 0 or a negative errno: -EPERM or -EACCES without the capabilities, -ENOENT or -EOPNOTSUPP where the
 * kernel has not what it takes, -EXDEV where /proc is of another pid namespace. */
int kernel_probes_open(const struct kernel_probes_options *options, struct kernel_probes **ret_probes);
void kernel_probes_close(struct kernel_probes *probes);

/* Follows a process from now on. Returns 0 or a negative errno. */
int kernel_probes_add(struct kernel_probes *probes, pid_t pid);
/* Gives a thread that has not been seen yet its state. Returns 0, or -EEXIST where it has been seen. */
int kernel_probes_thread_put(struct kernel_probes *probes, uint32_t tid, const struct sched_thread *thread);
/* The stack of a thread of a followed process that sleeps, as unwind_sleeper_take(). */
bool kernel_probes_sleeper_take(const struct kernel_probes *probes, pid_t pid,
                                const struct registers_record *registers,
                                struct unwind_stack_taken *ret_stack);
/* Readable when code was mapped, and kernel_probes_drain() should not wait. */
int kernel_probes_fd(const struct kernel_probes *probes);
/* Hands out all records there are. Never waits. */
void kernel_probes_drain(struct kernel_probes *probes);
/* Calls for each thread that is followed now. */
void kernel_probes_threads(const struct kernel_probes *probes,
                           void (*call)(void *argument, uint32_t tid, const struct sched_thread *thread),
                           void *argument);

struct kernel_probes_stats {
    struct sched_counters counters;
    uint64_t load_ns; /* what loading took */
    struct unwind_tables_stats tables;
};
void kernel_probes_stats(const struct kernel_probes *probes, struct kernel_probes_stats *ret_stats);

#endif
