/* SPDX-License-Identifier: MIT */
/*
 * The payload of a trace block: an array of row structs stored column by column, as told by
 * struct trace_kind. No memory is allocated here; the caller brings all of it.
 *
 *   payload = column*
 *   column  = index (varint)   place in trace_kind.columns
 *             coding (1 byte)  enum trace_coding or one of COLUMNS_*
 *             size (varint)    bytes of data that follow
 *             data
 *
 * Columns come in rising order of index. A column whose value is 0 (empty) in every row is left
 * out, except column 0, which is always there, row by row: hence a payload has at least as many
 * bytes as rows, and a row count that is a lie is found before memory is spent on it. A column with
 * an unknown index or coding is skipped, a missing one reads as 0.
 *
 *   TRACE_PLAIN   rows varints
 *   TRACE_DELTA   rows zigzag varints, each the difference from the row before, the first from 0
 *   TRACE_BYTES   rows varints, the sizes; then all bytes
 *   TRACE_LIST    rows varints, the counts; then all items as zigzag varints, each the difference
 *                 from the item before, the first of each row from 0
 *   COLUMNS_SAME  one varint: the value in every row
 *   COLUMNS_PLANES, COLUMNS_DELTA_PLANES
 *                 width (1 byte, 1 to 8), a varint base, then width planes of one byte a row:
 *                 plane 0 has the lowest byte of each row's number, and so on. The number is the
 *                 value less base, or the zigzag difference from the row before, the first from
 *                 base. Bytes of like significance lie together, and zstd's entropy coder, which
 *                 has one table for a run of bytes, comes close to what they tell.
 *
 * The reader follows the coding stored, so a writer may choose another one for a scalar column. A
 * varint is LEB128: 7 bits a byte, lowest first, the top bit set on all but the last; at most 10
 * bytes, and nothing past 64 bits. Differences wrap around at 2^64.
 */
#ifndef WAITSCOPE_FORMAT_COLUMNS_H
#define WAITSCOPE_FORMAT_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/trace.h"

/* Codings of scalar columns that are only in files, never in TRACE_KINDS. */
#define COLUMNS_SAME 5U
#define COLUMNS_PLANES 6U
#define COLUMNS_DELTA_PLANES 7U

/* Most bytes a varint takes. */
#define COLUMNS_VARINT_MAX 10U

/*
 * Where the nature of the bytes in a payload changes: a compressor does well to begin a new block
 * there. Offsets from the payload's start, rising; neither 0 nor the end is among them.
 */
#define COLUMNS_BORDERS_MAX 128U
struct columns_borders {
    uint32_t count;
    uint32_t at[COLUMNS_BORDERS_MAX];
};

/* Bytes that columns_encode() needs at most for these rows. */
size_t columns_bound(const struct trace_kind *kind, const void *rows, uint32_t row_count);

/*
 * Encodes row_count (at least 1) structs of kind->row_bytes each into buffer; ret_borders may be
 * NULL. Returns 0, -EINVAL for no rows, or -ENOSPC if the buffer is smaller than columns_bound().
 */
int columns_encode(const struct trace_kind *kind, const void *rows, uint32_t row_count, void *buffer,
                   size_t buffer_bytes, size_t *ret_bytes, struct columns_borders *ret_borders);

/*
 * The list items that decoding will need room for: at most payload_bytes, because each takes a byte
 * there or more. Returns 0 or -EBADMSG if the payload cannot be right for that many rows; no more
 * of it is checked than is needed for this answer.
 */
int columns_measure(const struct trace_kind *kind, const void *payload, size_t payload_bytes,
                    uint32_t row_count, size_t *ret_items);

/*
 * Decodes into row_count structs at ret_rows (kind->row_bytes * row_count bytes, contents before do
 * not matter) and item_count places for list items at items (as columns_measure() said; may be NULL
 * for 0). Bytes columns point into the payload. Returns 0 or -EBADMSG; ret_rows is then undefined.
 */
int columns_decode(const struct trace_kind *kind, const void *payload, size_t payload_bytes,
                   uint32_t row_count, void *ret_rows, uint64_t *items, size_t item_count);

/*
 * Begin and end of what a row tells of, ns. Returns false if rows of this kind have no time or this
 * one's is unknown.
 */
bool columns_row_times(enum trace_kind_id kind, const void *row, uint64_t *ret_begin, uint64_t *ret_end);

#endif
