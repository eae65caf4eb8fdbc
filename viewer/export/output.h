/* SPDX-License-Identifier: MIT */
/*
 * A FILE that remembers its first failure, so that a writer can put a whole document and ask once.
 * After a failure nothing more is written.
 */
#ifndef WAITSCOPE_VIEWER_EXPORT_OUTPUT_H
#define WAITSCOPE_VIEWER_EXPORT_OUTPUT_H

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

struct output {
    FILE *file;
    int error; /* 0, or -errno of the first write that failed */
};

void output_bytes(struct output *out, const char *bytes, size_t count);
void output_text(struct output *out, const char *text);
void output_format(struct output *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Flushes; 0, or -errno of the first failure from the beginning on. */
int output_finish(struct output *out);

#endif
