/* SPDX-License-Identifier: MIT */
/*
 * What has been copied out of rings and not been dealt with: a bounded queue of entries in private
 * memory. Several cursors walk it in order, each entry once; the last one releases. Memory comes in
 * blocks, and the block freed last is used next, so that a short queue stays in the cache.
 *
 * One thread.
 */
#ifndef WAITSCOPE_COLLECTOR_BACKLOG_H
#define WAITSCOPE_COLLECTOR_BACKLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image;
struct slab;
struct slot_view;

#define BACKLOG_BYTES (48U << 20)
#define BACKLOG_CHUNK_BYTES                                                                                  \
    (32U << 10) /* most an entry holds: bounds the time that dealing with it takes                           \
                 */

enum backlog_what {
    BACKLOG_RECORDS, /* whole, checked records of a ring */
    BACKLOG_FRESH,   /* a thread seen for the first time */
    BACKLOG_DEAD,    /* a thread that has ended, and its struct thread_last; nothing of it follows */
};

struct backlog_entry {
    struct image *image;
    struct slab *slab;
    struct slot_view *view;
    uint64_t sweep;    /* number of the look at all rings that found it */
    uint64_t swept_ns; /* when that began */
    uint32_t bytes;    /* of records, a multiple of 8 */
    uint16_t passes;   /* 1 << enum event_pass of what is in it */
    uint16_t what;     /* enum backlog_what */
    char records[];
};

/* A place between two entries. */
struct backlog_cursor {
    struct backlog_block *block;
    uint32_t offset;
};

struct backlog;

int backlog_new(struct backlog **ret_backlog);
void backlog_free(struct backlog *backlog); /* NULL is fine */
/* The place before the first entry, for a queue that was never used. */
struct backlog_cursor backlog_begin(const struct backlog *backlog);

/* Memory for one entry with up to bytes (at most BACKLOG_CHUNK_BYTES) of records; NULL if there is none
 * or BACKLOG_BYTES are used. It is not in the queue before backlog_commit(). */
struct backlog_entry *backlog_reserve(struct backlog *backlog, uint32_t bytes);
/* Appends the entry reserved last, with entry->bytes of records. */
void backlog_commit(struct backlog *backlog, struct backlog_entry *entry);

/* The entry behind the cursor, NULL if it is at the end. It stays until it is released. */
struct backlog_entry *backlog_at(struct backlog_cursor *cursor);
/* Moves a cursor over the entry that backlog_at() gave. */
void backlog_step(struct backlog_cursor *cursor, const struct backlog_entry *entry);
/* As backlog_step(), for the cursor that comes last: the entry is gone. */
void backlog_release(struct backlog *backlog, struct backlog_cursor *cursor,
                     const struct backlog_entry *entry);

/* To be called now and then: gives back, bit by bit, memory that has not been needed for a while. */
void backlog_tick(struct backlog *backlog, uint64_t now_ns);

/* Bytes that an entry counts for, and that all of them do. */
uint64_t backlog_entry_bytes(const struct backlog_entry *entry);
uint64_t backlog_used(const struct backlog *backlog);

#endif
