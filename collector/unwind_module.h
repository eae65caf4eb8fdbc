/* SPDX-License-Identifier: MIT */
/*
 * The unwind tables of files: read once, placed where programs in the kernel find them, shared by all
 * processes that have the file mapped, and kept for a while when none has.
 */
#ifndef WAITSCOPE_COLLECTOR_UNWIND_MODULE_H
#define WAITSCOPE_COLLECTOR_UNWIND_MODULE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "collector/table.h"
#include "collector/unwind_pages.h"
#include "collector/unwind_pool.h"
#include "collector/unwind_rows.h"

/* Which file, and which state of it. */
struct unwind_file {
    uint64_t device, inode, bytes;
    struct timespec changed; /* ctime */
};

struct unwind_module {
    struct unwind_file file;
    uint64_t low, high;
    struct unwind_segment segments[UNWIND_SEGMENTS_MAX];
    unsigned segment_count;
    struct unwind_placed placed; /* no pages: there is nothing to be had of the file */
    uint32_t uses;               /* by tables */
    uint64_t unused_ns;          /* since when, CLOCK_MONOTONIC */
    uint32_t next;               /* with the same hash; or free. 0 none */
};

struct unwind_modules {
    struct unwind_pool pages, rows;
    struct unwind_module *modules; /* by id - 1 */
    uint32_t count, room, free;
    struct table by_file; /* hash of the file to the newest id */
    uint64_t read, failed, unsupported, build_ns;
};

/* Returns 0 or a negative errno; what was opened is closed again. */
int unwind_modules_open(struct unwind_modules *ret_modules);
void unwind_modules_close(struct unwind_modules *modules);

/*
 * The module of a file; path is opened where the file is not known yet. *ret_id stays good while it is used
 * or was used less than a second ago. Returns 0; -ENOENT where nothing of it can be unwound, which is
 * remembered; -ENOSPC or -ENOMEM. now_ns of CLOCK_MONOTONIC.
 */
int unwind_module_find(struct unwind_modules *modules, const char *path, const struct unwind_file *file,
                       uint64_t now_ns, uint32_t *ret_id);
/* Where the file's offset is in its own addresses. */
bool unwind_module_address(const struct unwind_module *module, uint64_t offset, uint64_t *ret_address);

void unwind_module_use(struct unwind_modules *modules, uint32_t id);
void unwind_module_leave(struct unwind_modules *modules, uint32_t id, uint64_t now_ns);

#endif
