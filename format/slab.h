/* SPDX-License-Identifier: MIT */
/*
 * The memory an agent shares with the collector: a slab is one sealed memfd
 * (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), made by the agent and handed over with SCM_RIGHTS
 * (format/hello.h). It holds a header, then slot_count slots, one per thread.
 *
 *   offset 0                       struct slab_header   (SLAB_HEADER_BYTES)
 *   SLAB_HEADER_BYTES + i * slot_bytes
 *       + 0                        struct thread_slot
 *       + SLOT_COUNTS_SMALL_OFFSET struct lock_count[SLOT_COUNTS_SMALL]: all that a thread which uses few
 *                                  locks needs
 *       + SLOT_PRIVATE_OFFSET      the agent's own, nothing for a reader
 *       + SLOT_COUNTS_OFFSET       struct lock_count[SLOT_COUNTS]  16 KiB, instead of the small table
 *       + SLOT_RING_OFFSET         the ring's bytes, slab_header.ring_bytes
 *
 * Pages that nobody touched cost nothing. What every thread touches lies in the first; with that and the
 * ring's first page a thread that waits and uses few locks gets by: 8 KiB.
 *
 * A reader treats all of it as hostile: it takes the geometry once, checks it with
 * slab_geometry_check(), keeps its own copy, and never follows an offset it did not compute.
 *
 * Who writes what
 *   field                          written by            read by
 *   slab_header.*                  agent, before hello   collector
 *   slab_header.recording          collector             agent
 *   thread_slot.state              both, see below       both
 *   thread_slot.ring.tail          collector             agent
 *   everything else in a slot      the slot's thread     other threads, collector
 *
 * Life of a slot [SLOT-STATE]
 *   FREE   -> TAKEN   an agent thread, compare-and-swap, acquire: it sees the collector's wipe
 *   TAKEN  -> LIVE    the same agent, release: the collector sees tid, start, generation
 *   LIVE   -> ENDING  the exiting thread, release: its start routine is over and end_ticks is set;
 *                     destructors of its thread-local data may still lock and write records
 *   ENDING -> FREE    the collector, release, once the tid is gone (tgkill says ESRCH) or the
 *                     process is: it drains, harvests the counts and wipes first
 * A LIVE slot whose process is gone is treated likewise.
 */
#ifndef WAITSCOPE_FORMAT_SLAB_H
#define WAITSCOPE_FORMAT_SLAB_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "format/record.h"

#define SLAB_MAGIC 0x31424c5354494157ULL /* "WAITSLB1" read as little endian */
#define SLAB_VERSION 2U
#define SLAB_HEADER_BYTES 8192U
#define SLOT_COUNTS_SMALL_OFFSET 1024U
#define SLOT_PRIVATE_OFFSET 2048U
#define SLOT_COUNTS_OFFSET 12288U
#define SLOT_RING_OFFSET 28672U
#define SLOT_FIRST_BYTES 4096U /* the page that every thread touches */
#define SLOT_COUNTS_SMALL 16U
#define SLOT_COUNTS 256U
#define SLOT_HELD 24U
#define SLAB_SLOTS_MAX 4096U
#define SLABS_MAX 1024U /* of one image */
#define RING_BYTES_DEFAULT 1048576U
#define RING_BYTES_MIN 4096U
#define RING_BYTES_MAX (16U << 20)

/* How ticks become nanoseconds. */
enum clock_kind {
    CLOCK_KIND_MONOTONIC = 0, /* ticks are CLOCK_MONOTONIC nanoseconds already */
    CLOCK_KIND_TSC = 1,       /* ticks are rdtsc; the collector pairs TSC and CLOCK_MONOTONIC */
};

enum slot_state { SLOT_FREE = 0, SLOT_TAKEN = 1, SLOT_LIVE = 2, SLOT_ENDING = 3 };

/* Exec'ed and forked images of one pid are told apart by this, random per image. */
struct image_id {
    uint64_t high, low;
};

struct slab_header {
    uint64_t magic;
    uint32_t version;
    uint32_t slab_bytes; /* whole memfd */
    uint32_t slot_count;
    uint32_t slot_bytes; /* SLOT_RING_OFFSET + ring_bytes, a multiple of 4096 */
    uint32_t ring_bytes; /* a power of two */
    uint32_t slab_index; /* 0 for an image's first */
    struct image_id image;
    int32_t pid;  /* in the target's pid namespace */
    int32_t ppid; /* likewise */
    uint32_t clock_kind;
    uint32_t agent_flags; /* AGENT_FLAG_* */
    uint64_t start_ticks; /* when the agent started, paired with start_ns */
    uint64_t start_ns;    /* CLOCK_MONOTONIC */
    uint64_t setup_ns;    /* what starting the agent cost the target */
    /* Set by the collector to 0 to make the agent stop emitting, [RECORDING]: relaxed both ways, a
     * hint with no data behind it. Counting goes on, so acquisition counts stay exact. */
    _Atomic uint32_t recording;
    uint32_t hold_period; /* one hold in this many is timed on average; 1: all */
    /* Losses that belong to no thread slot (LOSS_NO_SLOT above all): relaxed counters. */
    _Atomic uint64_t lost[LOSS_REASON_COUNT];
    uint32_t exe_size;     /* bytes used in exe */
    uint32_t command_size; /* bytes used in command: arguments, each NUL-terminated */
    /*
     * Where a slot may be had [SLOT-FREE]: a bit for each FREE slot of this slab, and in an image's first
     * slab a bit for each slab that has one. Hints: the state decides. Whoever frees a slot sets both bits
     * after the state, release; whoever takes one clears its bit, acquire, and the slab's where it found
     * none, and then looks once more.
     */
    _Atomic uint64_t free_slots;
    _Atomic uint64_t free_slabs[SLABS_MAX / 64];
    char exe[1024];
    char command[4096];
};

#define AGENT_FLAG_DIRECT 0x1U    /* preloaded with no collector beforehand: it started one */
#define AGENT_FLAG_FORKED 0x2U    /* this image began by fork, not exec */
#define AGENT_FLAG_NO_UNWIND 0x4U /* no unwind information could be used: stacks are one frame */

/* [RING-PUBLISH] and [RING-CONSUME] are described in format/ring.h. */
struct ring_state {
    _Atomic uint64_t head; /* bytes ever published; only the slot's thread writes */
    char pad0[56];         /* keep the collector's stores off the writer's cache line */
    _Atomic uint64_t tail; /* bytes ever consumed; only the collector writes */
    char pad1[56];
};

/*
 * A lock the thread holds now. Other threads read it racily to learn where it was taken: they accept the
 * site only if key matches before and after reading [HELD-READ].
 *   key     of generation 0; HELD_DUE: something is to be done at its release
 *   due     only with HELD_DUE. Up to HELD_PENDING_MAX: the place of a wait to be recorded, counted from 1;
 *           above: ticks when it was taken, the lowest bit being HELD_WAITED
 */
struct held_lock {
    _Atomic uint64_t key;
    _Atomic uint64_t site; /* return address of the locking call */
    uint64_t due;
};
#define HELD_DUE (1ULL << LOCK_KEY_ADDRESS_BITS)
#define HELD_PENDING_MAX 64U
#define HELD_WAITED 1ULL

struct thread_slot {
    _Atomic uint32_t state; /* enum slot_state, [SLOT-STATE] */
    uint32_t tid;           /* in the target's pid namespace */
    uint32_t generation;    /* raised each time the slot is taken */
    uint32_t creator_tid;   /* 0: unknown */
    uint64_t start_ticks;
    uint64_t end_ticks;     /* 0 while it lives */
    uint64_t start_routine; /* address given to pthread_create, 0: main or unknown */
    uint64_t creator_stack; /* hash, defined in the creator's ring; 0: unknown */
    uint64_t cpu_ns;        /* thread CPU time, set when it exits; 0 before */
    uint32_t counts_mask;   /* places of the count table in use, less one: SLOT_COUNTS_SMALL - 1, later
                             * SLOT_COUNTS - 1 */
    uint32_t ring_bytes;    /* the agent's own: that of its slab */
    char name[THREAD_NAME_BYTES];

    /* What it waits for at this moment, for snapshots. key 0: nothing. [NOW] now_key is stored with release
     * after the others; a reader loads it with acquire, then the others, then now_key again. */
    _Atomic uint64_t now_key;
    _Atomic uint64_t now_since; /* ticks */
    _Atomic uint64_t now_stack; /* hash, 0: none */
    _Atomic uint64_t now_owner_site;
    _Atomic uint32_t now_owner; /* tid, 0: unknown */

    /* emitted counts every record the thread wanted to write, stored or not:
     * emitted = stored + sum(lost). Only the slot's thread writes; relaxed. */
    _Atomic uint64_t emitted;
    _Atomic uint64_t lost[LOSS_REASON_COUNT];

    /* The agent's own cost in this thread: time of every cost_period-th slow path, and how many
     * slow paths there were. */
    uint64_t cost_ticks;
    uint64_t cost_samples;
    uint64_t cost_slow_paths;

    struct ring_state ring;

    /* One line for the depth and the first two: who waits for this thread reads no other, and takes no other
     * away from it. */
    _Alignas(64) _Atomic uint32_t held_depth; /* may exceed SLOT_HELD; only the first SLOT_HELD are kept */
    struct held_lock held[SLOT_HELD];
};

_Static_assert(sizeof(struct slab_header) <= SLAB_HEADER_BYTES, "slab header");
_Static_assert(sizeof(struct thread_slot) <= SLOT_COUNTS_SMALL_OFFSET, "slot header");
_Static_assert(sizeof(struct lock_count) == 64 && SLOT_COUNTS_SMALL_OFFSET % 64 == 0 &&
                   SLOT_COUNTS_SMALL_OFFSET + SLOT_COUNTS_SMALL * 64 <= SLOT_PRIVATE_OFFSET &&
                   SLOT_COUNTS_OFFSET + SLOT_COUNTS * 64 <= SLOT_RING_OFFSET,
               "a count is a cache line, and the tables have room");

static inline struct thread_slot *slab_slot(void *slab, uint32_t slot_bytes, uint32_t index) {
    return (struct thread_slot *)((char *)slab + SLAB_HEADER_BYTES + (size_t)slot_bytes * index);
}
static inline struct lock_count *slot_counts_small(struct thread_slot *slot) {
    return (struct lock_count *)((char *)slot + SLOT_COUNTS_SMALL_OFFSET);
}
static inline struct lock_count *slot_counts(struct thread_slot *slot) {
    return (struct lock_count *)((char *)slot + SLOT_COUNTS_OFFSET);
}
static inline char *slot_ring_bytes(struct thread_slot *slot) {
    return (char *)slot + SLOT_RING_OFFSET;
}

/* Tells that slot number `slot` of a slab is FREE. first: the image's first slab, NULL if it is not known;
 * index: the slab's, below SLABS_MAX. */
static inline void slab_slot_freed(struct slab_header *first, struct slab_header *slab, uint32_t index,
                                   uint32_t slot) {
    if (slot >= 64)
        return;
    atomic_fetch_or_explicit(&slab->free_slots, 1ULL << slot, memory_order_release); /* [SLOT-FREE] */
    if (first)
        atomic_fetch_or_explicit(&first->free_slabs[index / 64], 1ULL << (index % 64), memory_order_release);
}

/*
 * Checks a geometry taken from a header that may be hostile against the descriptor's true size.
 * Returns 0 or -EINVAL.
 */
int slab_geometry_check(const struct slab_header *header, uint64_t descriptor_bytes);

#endif
