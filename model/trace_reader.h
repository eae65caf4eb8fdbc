/* SPDX-License-Identifier: MIT */
/*
 * Reads a trace file (format/trace.h, docs/trace-format.md) block by block. The file is hostile
 * input: nothing in it is believed before it was checked, and memory is bounded by one block
 * (TRACE_BLOCK_RAW_MAX, TRACE_BLOCK_ROWS_MAX), whatever the file says.
 *
 * The file is read with pread, never mapped: it may grow while it is read (a live trace) and may
 * be cut short by somebody else. One thread at a time for each reader.
 */
#ifndef WAITSCOPE_MODEL_TRACE_READER_H
#define WAITSCOPE_MODEL_TRACE_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "format/trace.h"

struct trace_reader;

struct trace_reader_options {
    uint64_t kinds;       /* bit 1 << kind for each kind wanted, the rest is passed over; 0: all */
    bool ignore_checksum; /* for fuzzing only: a block counts as good without its CRC */
};

/*
 * One block's rows. rows points to row_count structs of the kind: struct trace_wait for
 * TRACE_WAIT and so on, see enum trace_kind_id. They, and the bytes and lists they point to, belong
 * to the reader and live until its next call. Columns missing in the file read as 0.
 *
 * What is in the rows is as the file says: ids, enums and flags are not checked here.
 */
struct trace_reader_block {
    enum trace_kind_id kind;
    uint32_t thread;
    uint32_t row_count; /* at least 1 unless only lost is told */
    const void *rows;
    uint64_t time_begin, time_end; /* ns; 0: the rows have no time */
    uint64_t lost;
    uint64_t offset; /* of the block in the file */
};

/* Counted from the last open or rewind; torn and missing bytes as of the last 0 of next(). */
struct trace_reader_stats {
    uint64_t file_bytes;
    uint64_t blocks;         /* good ones of known kinds, also those passed over by options.kinds */
    uint64_t unknown_blocks; /* whole, but of a kind or flag this version does not know */
    uint64_t damaged_blocks; /* places in the middle of the file where something did not check */
    uint64_t damaged_bytes;  /* passed over there */
    uint64_t torn_bytes;     /* at the end, not making up a whole block */
    uint64_t missing_bytes;  /* that the file header promises past the end of the file */
};

/*
 * Opens a trace. options may be NULL: everything, checked. Returns 0 or
 *   -ENOEXEC  not a trace, or not a regular file
 *   -EPROTO   a trace of a newer version
 *   -EBADMSG  a trace whose file header is cut short or makes no sense
 *   -ENOMEM, or what open and read say (-ENOENT, -EACCES, -EIO ...)
 * A fifo or a device is refused without waiting on it.
 */
int trace_reader_open(const char *path, const struct trace_reader_options *options,
                      struct trace_reader **ret_reader);
void trace_reader_free(struct trace_reader *reader); /* NULL is fine */

/*
 * The next block of a wanted, known kind. Returns
 *   1  ret_block is filled
 *   0  there is no further whole block now. Where the trace is still being written, call again
 *      later: reading goes on behind the last whole block. ret_block is untouched
 *  <0  -EIO, -ENOMEM: ret_block is untouched; calling again tries the same place again
 * A damaged block is no error: it is passed over and counted.
 */
int trace_reader_next(struct trace_reader *reader, struct trace_reader_block *ret_block);

/* Starts over at the first block, with other kinds (as in the options; 0: all). */
void trace_reader_rewind(struct trace_reader *reader, uint64_t kinds);

/* The file header: as read at open, and anew each time trace_reader_next() returns 0. A state that
 * is none of enum trace_state is given as TRACE_RECORDING. */
const struct trace_file_header *trace_reader_header(const struct trace_reader *reader);
const struct trace_reader_stats *trace_reader_stats(const struct trace_reader *reader);

#endif
