/* SPDX-License-Identifier: MIT */
/*
 * What the recording has given ids to and must still know when names are looked up at its end:
 * modules, code locations, the first frames of stacks, and locks. Ids are dense, start at 1 and
 * index these arrays. Kept small: it outlives the processes.
 */
#ifndef WAITSCOPE_COLLECTOR_CATALOGUE_H
#define WAITSCOPE_COLLECTOR_CATALOGUE_H

#include <stdbool.h>
#include <stdint.h>

#include "format/record.h"

#define CATALOGUE_STACK_FRAMES 16U /* as many of a stack's leaf frames are kept */
/* A hostile target gets no more than this out of us, whatever it sends; an id needs this many bits. */
#define CATALOGUE_PROCESS_BITS 24
#define CATALOGUE_LOCATION_BITS 24
#define CATALOGUE_STACK_BITS 22
#define CATALOGUE_LOCK_BITS 24
#define CATALOGUE_NAMING_BITS 22
#define CATALOGUE_POSITION_BITS 4
#define CATALOGUE_PROCESSES_MAX ((1U << CATALOGUE_PROCESS_BITS) - 1)
#define CATALOGUE_MODULES_MAX (1U << 18)
#define CATALOGUE_LOCATIONS_MAX ((1U << CATALOGUE_LOCATION_BITS) - 1)
#define CATALOGUE_STACKS_MAX ((1U << CATALOGUE_STACK_BITS) - 1)
#define CATALOGUE_LOCKS_MAX ((1U << CATALOGUE_LOCK_BITS) - 1)
#define CATALOGUE_NAMINGS_MAX ((1U << CATALOGUE_NAMING_BITS) - 1)

struct catalogue_process {
    int pid, real_pid; /* as the target sees itself, as we see it */
    unsigned uid;
};

struct catalogue_module {
    uint64_t start, end, bias;
    uint32_t process;
    char *path;                                /* never empty; owned */
    char build_id[2 * BUILD_ID_BYTES_MAX + 1]; /* hex, may be empty */
};

struct catalogue_location {
    uint64_t pc;
    uint32_t module; /* 0: none */
    uint32_t process : 31;
    uint32_t exact : 1; /* a function's first byte, not a return address */
};

struct catalogue_stack {
    uint32_t first; /* index into stack_locations */
    uint32_t count;
};

/* Packed, fields across words: a program can have millions of these. */
struct catalogue_lock {
    uint64_t key; /* of its initialisation, or as first seen; a rwlock's class is RWLOCK_WRITE */
    uint64_t process : CATALOGUE_PROCESS_BITS;  /* the first that was seen with it */
    uint64_t inferred : 1;                      /* first seen in use: no initialisation was reported */
    uint64_t elsewhere : 1;                     /* other processes use it too, see shared_lock.c */
    uint64_t init_stack : CATALOGUE_STACK_BITS; /* of a futex: of its first use */
    uint64_t first_site : CATALOGUE_LOCATION_BITS;
    uint64_t older : CATALOGUE_LOCK_BITS;        /* lock that was at this address before, 0 none */
    uint64_t naming : CATALOGUE_NAMING_BITS;     /* that it was matched with, 0 none */
    uint64_t position : CATALOGUE_POSITION_BITS; /* see lock_chain.c */
} __attribute__((packed, aligned(8)));

_Static_assert(sizeof(struct catalogue_lock) == 24, "what a lock costs");

/* The program named what lies at an address, or said that it is gone. */
struct catalogue_naming {
    uint64_t key;   /* without a class */
    uint32_t name;  /* string of the trace, 0: it is gone */
    uint32_t older; /* naming of this address before, 0 none */
};

struct catalogue {
    struct catalogue_process *processes;
    struct catalogue_module *modules;
    struct catalogue_location *locations;
    struct catalogue_stack *stacks;
    struct catalogue_lock *locks;
    struct catalogue_naming *namings;
    uint32_t *stack_locations;
    /* Counts are the last ids: entry 0 of each array is unused. */
    uint32_t process_count, module_count, location_count, stack_count, lock_count, naming_count,
        stack_location_count;
    uint32_t process_room, module_room, location_room, stack_room, lock_room, naming_room,
        stack_location_room;
};

/* Each returns the new id, or 0 if there is no memory or the maximum is reached. */
uint32_t catalogue_process_add(struct catalogue *catalogue, const struct catalogue_process *process);
uint32_t catalogue_module_add(struct catalogue *catalogue,
                              const struct catalogue_module *module); /* copies path */
uint32_t catalogue_location_add(struct catalogue *catalogue, const struct catalogue_location *location);
uint32_t catalogue_stack_add(struct catalogue *catalogue, const uint32_t *locations, uint32_t count);
uint32_t catalogue_lock_add(struct catalogue *catalogue, const struct catalogue_lock *lock);
uint32_t catalogue_naming_add(struct catalogue *catalogue, const struct catalogue_naming *naming);
/* Frees what it holds. */
void catalogue_clear(struct catalogue *catalogue);

#endif
