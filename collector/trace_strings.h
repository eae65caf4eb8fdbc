/* SPDX-License-Identifier: MIT */
/* Which strings a trace has already, and their ids. Used by collector/trace_writer.c only. */
#ifndef WAITSCOPE_COLLECTOR_TRACE_STRINGS_H
#define WAITSCOPE_COLLECTOR_TRACE_STRINGS_H

#include <stddef.h>
#include <stdint.h>

struct trace_strings;

int trace_strings_new(struct trace_strings **ret_strings); /* 0 or -ENOMEM */
void trace_strings_free(struct trace_strings *strings);    /* NULL is fine */

/*
 * The id of a string of size bytes, copied if it is new; ids count up from 1. Returns 1 if it is
 * new, 0 if not, or -ENOMEM.
 */
int trace_strings_intern(struct trace_strings *strings, const char *bytes, size_t size, uint64_t *ret_id);

/* Forgets the string that was new last, so that its id is given again. */
void trace_strings_undo(struct trace_strings *strings);

#endif
