/* SPDX-License-Identifier: MIT */
/*
 * The file under a trace writer: whole blocks at a tracked offset, and what happens when the disk
 * will not take one. Used by collector/trace_writer.c only.
 */
#ifndef WAITSCOPE_COLLECTOR_TRACE_FILE_H
#define WAITSCOPE_COLLECTOR_TRACE_FILE_H

#include "collector/trace_writer.h"
#include "format/trace.h"

struct trace_file;

/* See trace_writer_open(). */
int trace_file_create(const char *path, const struct trace_writer_options *options,
                      struct trace_file **ret_file);
void trace_file_free(struct trace_file *file); /* closes; NULL is fine */

/*
 * Appends one block of row_count rows, which may be 0 where lost is not. Returns 0, -ENOMEM (nothing
 * happened, the file goes on), or the negative errno that stopped the file, now or earlier.
 */
int trace_file_append(struct trace_file *file, enum trace_kind_id kind, uint32_t thread, const void *rows,
                      uint32_t row_count, uint64_t lost);

/* Writes the index, if it can be, and marks the file complete. Returns as trace_file_append(). */
int trace_file_finish(struct trace_file *file);

/* state, stop_errno and stop_ns as they are in the file, or should be if even that write failed. */
const struct trace_file_header *trace_file_header(const struct trace_file *file);
uint64_t trace_file_bytes(const struct trace_file *file);

/* As trace_writer_give(). */
int trace_file_give(struct trace_file *file, uid_t uid, gid_t gid);
/* As trace_writer_breathe(). */
void trace_file_breathe(struct trace_file *file, void (*breathe)(void *context), void *context);

#endif
