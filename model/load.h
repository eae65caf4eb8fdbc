/* SPDX-License-Identifier: MIT */
/* What load.c gathers and settle.c turns into a model. */
#ifndef WAITSCOPE_MODEL_LOAD_H
#define WAITSCOPE_MODEL_LOAD_H

#include "model/internal.h"

struct loaded_module {
    uint64_t bias;
    const char *name; /* base name */
};
struct loaded_location {
    uint64_t pc;
    uint32_t process, module; /* indexes */
};
struct loaded_frame {
    uint64_t sort_key; /* location index, then depth */
    const char *function, *file;
    uint32_t line;
    bool inlined;
};
struct loaded_stack {
    uint32_t first, count; /* of locations in loader.path */
    uint32_t flags;
};

struct loader {
    struct model *model;
    struct id_map strings, processes, modules, locations, stacks, threads, locks;
    struct id_map region_kinds; /* by string index + 1 */
    struct id_map ran_names;    /* by string index + 1 */
    struct event_list futexes;  /* until futexes_settle() */
    struct loaded_module *modules_read;
    uint32_t module_count, module_room;
    struct loaded_location *locations_read;
    uint32_t location_count, location_room;
    struct loaded_frame *frames_read;
    uint32_t frame_count, frame_room;
    struct loaded_stack *stacks_read;
    uint32_t stack_count, stack_room;
    uint32_t *path; /* location indexes of all stacks */
    uint32_t path_count, path_room;

    const char **string_of; /* by string index */
    uint32_t string_count, string_room;

    uint32_t stand_in_process;    /* MODEL_NONE until needed */
    struct id_map stand_in_locks; /* by process and class */
    uint64_t last_time;           /* latest time seen */
    struct trace_end end;         /* of the TRACE_END row */
    bool ended;
};

static inline void loader_saw_time(struct loader *loader, uint64_t time) {
    if (time > loader->last_time)
        loader->last_time = time;
}

/* Adds to the model's locks. Returns 0 or -ENOMEM. */
int loader_lock_add(struct loader *loader, const struct model_lock *lock, const struct lock_extra *extra);

/*
 * load_events.c: each takes one row of its kind. thread is the index of the block's thread. Returns 0,
 * -EINVAL for a row that makes no sense, -ENOMEM.
 */
int load_count(struct loader *loader, uint32_t thread, const void *row);
int load_region(struct loader *loader, uint32_t thread, const void *row);
int load_snapshot(struct loader *loader, uint32_t thread, const void *row);
int load_loss(struct loader *loader, uint32_t thread, const void *row);
int load_cost(struct loader *loader, uint32_t thread, const void *row);
int load_end(struct loader *loader, uint32_t thread, const void *row);
/* load_schedule.c: the same. */
int load_sample(struct loader *loader, uint32_t thread, const void *row);
int load_schedule(struct loader *loader, uint32_t thread, const void *row);
/* The same for all rows of a block of a known thread; what makes no sense is counted. */
int load_off_cpu(struct loader *loader, uint32_t thread, const void *rows, uint32_t row_count);
/* futex.c: of an off_cpu row, the wait it tells of. Returns as those of one row. */
int load_futex(struct loader *loader, uint32_t thread, const struct trace_off_cpu *row);
/* Adds what no agent has told of to the waits and releases. When all of those are read. Returns 0, -ENOMEM,
 * -EOVERFLOW. */
int futexes_settle(struct loader *loader);
int load_waits(struct loader *loader, uint32_t thread, const void *rows, uint32_t row_count);
int load_releases(struct loader *loader, uint32_t thread, const void *rows, uint32_t row_count);

#endif
