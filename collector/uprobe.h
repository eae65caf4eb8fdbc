/* SPDX-License-Identifier: MIT */
/*
 * Programs in the kernel that run when a process comes to a function, for whatever part of the collector
 * wants to know of it (bpf/uprobe.bpf.h is the other side). A probe is put only where it is cheap
 * (uprobe_place.h says why) and never on a function that every lock or unlock goes through. It is of one
 * process, its threads included, and not of the others that run the same file, nor of its children.
 *
 * One thread at a time. Pids are those of the caller's pid namespace.
 */
#ifndef WAITSCOPE_COLLECTOR_UPROBE_H
#define WAITSCOPE_COLLECTOR_UPROBE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "collector/uprobe_place.h"

struct bpf_map;
struct bpf_program;
struct uprobes;

/* A function to put a probe on, and what came of it. */
struct uprobe {
    const char *symbol;            /* as for uprobe_place_find(); borrowed for the call */
    int error;                     /* as uprobes_attach() returns it */
    enum uprobe_instruction first; /* what it begins with, UPROBE_UNKNOWN where that was not found out */
    uint32_t id;                   /* what uprobe_hit() returns; only where error is 0 */
};

/* hits is the map uprobe_hits of the loaded object that the programs are of; borrowed, as they are, until
 * uprobes_close(). Returns 0, -EINVAL where it is another map, -ENOMEM. */
int uprobes_open(const struct bpf_map *hits, struct uprobes **ret_uprobes);
/* Takes all probes away again, also out of the code of the processes. NULL is fine. */
void uprobes_close(struct uprobes *uprobes);

/*
 * Has program run at each of count functions of the file at path in process pid; of the others too where one
 * is refused. Returns 0 or the first error, and gives each its own: -EDOM     a function that every lock or
 * unlock goes through -EILSEQ   its first instruction would be stepped over -ENOSPC   more probes than the
 * map has room for -ESRCH    no such process; -EPERM or -EACCES without the capabilities those of open(),
 * uprobe_file_open() and uprobe_place_find(); what the kernel says
 */
int uprobes_attach(struct uprobes *uprobes, const struct bpf_program *program, pid_t pid, const char *path,
                   struct uprobe *probes, size_t count);
/* Takes those of a process away, and frees their ids. */
void uprobes_detach(struct uprobes *uprobes, pid_t pid);

/* How often a probe was hit since it was put; 0 for an id that is free. */
uint64_t uprobes_hits(const struct uprobes *uprobes, uint32_t id);

struct uprobes_stats {
    uint64_t attached;        /* now */
    uint64_t hits;            /* of all there ever were */
    uint64_t refused_stepped; /* -EILSEQ */
    uint64_t refused_hot;     /* -EDOM */
    uint64_t failed;          /* every other error */
};
void uprobes_stats(const struct uprobes *uprobes, struct uprobes_stats *ret_stats);

#endif
