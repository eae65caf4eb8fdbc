/* SPDX-License-Identifier: MIT */
/*
 * The tables by which programs in the kernel unwind user stacks (bpf/unwind.bpf.h): which code a process has
 * mapped, and the rows of it.
 *
 *     unwind_tables_open(&tables);
 *     skeleton = NAME_bpf__open();
 *     unwind_tables_bind(tables, skeleton->obj);
 *     NAME_bpf__load(skeleton);
 *     unwind_tables_process_add(tables, pid);
 *
 * Any number of objects may be bound; they share all of it. unwind_follow.h keeps the tables right while
 * processes map code, fork, exec and end. One thread at a time. Needs CAP_BPF and CAP_PERFMON to open, and to
 * add processes what it takes to read their files: CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN, or that
 * /proc/PID/root can be read. Pids are those of the initial pid namespace.
 */
#ifndef WAITSCOPE_COLLECTOR_UNWIND_TABLES_H
#define WAITSCOPE_COLLECTOR_UNWIND_TABLES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "bpf/unwind_table.h"

struct bpf_object;
struct unwind_pool;
struct unwind_tables;

struct unwind_tables_stats {
    uint64_t processes, tables, modules;
    uint64_t bytes;          /* of memory the kernel reads rows, pages and tables in that are in use */
    uint64_t bytes_reserved; /* of all that is held for it */
    uint64_t files_read;     /* opened for their rows */
    uint64_t files_failed;   /* of which there was nothing to be had */
    uint64_t build_ns;       /* what reading and placing them took, together */
    uint64_t pages, pages_single, pages_shared; /* of 512 bytes of code: all, with one row, like another */
    uint64_t pages_full;                        /* with a row that has no code */
    uint64_t rows_unsupported;                  /* that stand for more than a row can say */
    uint64_t ranges_lost;            /* mappings for which a process' table or memory had no room */
    uint64_t processes_lost;         /* processes for which there was no room */
    uint64_t maps_read;              /* times that a process was looked at */
    struct unwind_counters counters; /* of the unwinder, over all CPUs */
};

/* Returns 0 or a negative errno: -EPERM without the capabilities. */
int unwind_tables_open(struct unwind_tables **ret_tables);
void unwind_tables_close(struct unwind_tables *tables);

/* Makes the object, opened and not loaded yet, use these tables. Returns 0 or a negative errno. */
int unwind_tables_bind(const struct unwind_tables *tables, const struct bpf_object *object);

/* Reads what code the process has mapped now, also of one that was added before. Returns 0; -ESRCH where it
 * is gone (it is then removed); -EACCES or -EPERM where it may not be read; -ENOSPC or -ENOMEM. */
int unwind_tables_process_add(struct unwind_tables *tables, pid_t pid);
/* A child that has its parent's code still. Does nothing if the parent is not known. */
int unwind_tables_process_fork(struct unwind_tables *tables, pid_t parent, pid_t child);
void unwind_tables_process_remove(struct unwind_tables *tables, pid_t pid);
/* Takes over children that the kernel has given a table and that nobody has told of: events were lost. */
void unwind_tables_adopt(struct unwind_tables *tables);
bool unwind_tables_process_known(const struct unwind_tables *tables, pid_t pid);
/* A process' table and where what it leads to lies; good until a process is added or removed. False if it is
 * not known. */
struct unwind_tables_view {
    const struct unwind_table *table;
    const struct unwind_pool *pages, *rows;
};
bool unwind_tables_view(const struct unwind_tables *tables, pid_t pid, struct unwind_tables_view *ret_view);
/* Whether the process has code that is in no file. */
bool unwind_tables_process_jit(const struct unwind_tables *tables, pid_t pid);
/* Calls for each process that is known, in no order; none may be added or removed meanwhile. */
void unwind_tables_process_each(const struct unwind_tables *tables, void (*call)(void *argument, pid_t pid),
                                void *argument);

void unwind_tables_stats(const struct unwind_tables *tables, struct unwind_tables_stats *ret_stats);

#endif
