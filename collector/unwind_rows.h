/* SPDX-License-Identifier: MIT */
/*
 * The unwind rows of one ELF file, from its .eh_frame. The file is a target's and may hold anything: it is
 * read, not mapped, since who owns it may truncate it; all in it is checked before it is used.
 */
#ifndef WAITSCOPE_COLLECTOR_UNWIND_ROWS_H
#define WAITSCOPE_COLLECTOR_UNWIND_ROWS_H

#include <stddef.h>
#include <stdint.h>

#define UNWIND_SEGMENTS_MAX 8U

/* Code as the file has it: an executable PT_LOAD. */
struct unwind_segment {
    uint64_t offset, address, bytes;
};

struct unwind_row_at {
    uint32_t distance; /* of where it begins, from struct unwind_rows.low */
    uint32_t row;      /* unwind_row_pack() */
};

struct unwind_rows {
    uint64_t low, high; /* addresses around all code, multiples of 4096 */
    struct unwind_segment segments[UNWIND_SEGMENTS_MAX];
    unsigned segment_count;
    struct unwind_row_at *rows; /* sorted; each holds until the next. Code before the first has none */
    size_t count, room;
    size_t unsupported; /* rows that stand for more than a row can say */
};

/* fd is of a regular file and stays the caller's. Returns 0; -ENOEXEC for what is no program of this machine
 * or has no code; -EFBIG for more of it than is ever unwound; -ENOMEM; what read gives. A file without call
 * frame information has no rows. */
int unwind_rows_read(int fd, struct unwind_rows *ret_rows);
/* Zero-filled is fine. */
void unwind_rows_free(struct unwind_rows *rows);

#endif
