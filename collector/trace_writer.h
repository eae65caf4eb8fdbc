/* SPDX-License-Identifier: MIT */
/*
 * Writes a trace file (format/trace.h, docs/trace-format.md): collects rows by (kind, thread),
 * writes them as blocks of columns, one write a block, and never leaves a file that cannot be read.
 *
 * Definitions before use: whenever a block is written, all buffered definitions it may refer to
 * (strings, processes, modules, locations, stacks, threads, locks) are written before it. The
 * caller only has to hand in a definition's row before the first row that uses its id.
 *
 * When a write fails (a full disk, an I/O error), the file is cut back to its last whole block and
 * the file header says when and why (TRACE_STOPPED). From then on rows are counted as lost and
 * nothing is written any more.
 *
 * A write past RLIMIT_FSIZE raises SIGXFSZ: the program must ignore it to get -EFBIG instead.
 * One thread at a time for each writer.
 */
#ifndef WAITSCOPE_COLLECTOR_TRACE_WRITER_H
#define WAITSCOPE_COLLECTOR_TRACE_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "format/trace.h"

struct trace_writer;

/* What the writer asks of the system; tests put failures here. All as the calls of the same name,
 * with -1 and errno on failure; a NULL member is the real call. */
struct trace_writer_ops {
    ssize_t (*pwritev)(void *context, int fd, const struct iovec *vectors, int count, off_t offset);
    int (*ftruncate)(void *context, int fd, off_t bytes);
    uint64_t (*now)(void *context); /* CLOCK_MONOTONIC, ns */
    void *context;
};

struct trace_writer_options {
    bool overwrite;                     /* a regular file of that name is removed first; else -EEXIST */
    uint64_t monotonic_ns;              /* when recording began; 0: now */
    uint64_t wall_ns;                   /* CLOCK_REALTIME at monotonic_ns; 0: worked out */
    uint32_t block_rows;                /* rows after which a block is written; 0: the default */
    const struct trace_writer_ops *ops; /* copied; NULL: the real calls */
};

struct trace_writer_stats {
    enum trace_state state;
    int stop_errno;      /* positive, with TRACE_STOPPED */
    uint64_t stop_ns;    /* CLOCK_MONOTONIC, with TRACE_STOPPED */
    uint64_t file_bytes; /* whole bytes in the file */
    uint64_t blocks;
    uint64_t rows_stored[TRACE_KIND_LIMIT]; /* in the file, by kind */
    uint64_t rows_lost[TRACE_KIND_LIMIT];   /* handed in, but never to be in the file */
    uint64_t buffered_bytes;                /* rows that wait to be written */
};

/*
 * Creates the file with mode 0600, never through a symbolic link. options may be NULL. Returns 0,
 * -EEXIST, -ENOMEM or what open and write say; after a failed first write the new file is removed.
 */
int trace_writer_open(const char *path, const struct trace_writer_options *options,
                      struct trace_writer **ret_writer);

/* Makes the file another user's. Returns 0 or a negative errno. */
int trace_writer_give(struct trace_writer *writer, uid_t uid, gid_t gid);

/* Closes the file as it is and frees the writer; without trace_writer_finish() before, buffered
 * rows are gone and the file reads as cut short. NULL is fine. */
void trace_writer_free(struct trace_writer *writer);

/*
 * Adds one row: row points to the kind's struct (struct trace_wait for TRACE_WAIT ...), which is
 * copied with the bytes and list items it points to. thread: the id of the thread for TRACE_WAIT,
 * TRACE_RELEASE, TRACE_COUNT, TRACE_REGION, TRACE_OFF_CPU and TRACE_SAMPLE, else 0. Returns 0, or when the
 * row is lost (and counted) -EINVAL (no such kind), -E2BIG (bytes and lists over 1 MiB), -ENOMEM, or the
 * negative errno that stopped the writer.
 */
int trace_writer_row(struct trace_writer *writer, enum trace_kind_id kind, uint32_t thread, const void *row);

/*
 * Has breathe(context) called now and then, at least every few hundred microseconds, while a block is
 * made and written. It must not use the writer. NULL: nothing is called.
 */
void trace_writer_breathe(struct trace_writer *writer, void (*breathe)(void *context), void *context);

/* Tells in the next block of this kind and thread that count of its events were dropped before they
 * came here (trace_block_header.lost). Returns 0 or as trace_writer_row(). */
int trace_writer_lost(struct trace_writer *writer, enum trace_kind_id kind, uint32_t thread, uint64_t count);

/*
 * The id of a string, for the columns that hold one: equal bytes have one id, and the row that
 * defines it is written once. bytes may be NULL if size is 0. Strings over 64 KiB are cut there.
 * Returns 0, which means "none", for the empty string, when out of memory, and when stopped.
 */
uint64_t trace_writer_string(struct trace_writer *writer, const char *bytes, size_t size);

/*
 * Writes everything that is buffered, definitions first, and frees the buffers. A viewer that
 * follows the file sees what was flushed; each flush costs a block for each kind and thread with
 * rows, so once a second is about right. Returns 0 or the negative errno that stopped the writer.
 */
int trace_writer_flush(struct trace_writer *writer);

/*
 * Flushes, writes the index and marks the file complete. Rows are lost from then on. Returns 0 or
 * the negative errno that stopped the writer, now or earlier. A failure to write the index alone
 * is none: the trace is complete without it.
 */
int trace_writer_finish(struct trace_writer *writer);

const struct trace_writer_stats *trace_writer_stats(const struct trace_writer *writer);

#endif
