/* SPDX-License-Identifier: MIT */
/*
 * Writes JSON (RFC 8259) to a file as it comes, in the order of the calls: nothing is kept but the
 * nesting. Strings may be any bytes; what is not UTF-8 becomes U+FFFD. Write failures are left to
 * the caller's ferror().
 */
#ifndef WAITSCOPE_VIEWER_REPORT_JSON_WRITER_H
#define WAITSCOPE_VIEWER_REPORT_JSON_WRITER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_DEPTH_MAX 32

enum json_layout {
    JSON_LINES,  /* each member on a line of its own, indented */
    JSON_INLINE, /* all on the line it begins on */
};

struct json_writer {
    FILE *file;
    unsigned depth;        /* at most JSON_DEPTH_MAX: deeper is a mistake of the program, not of its input */
    unsigned inline_depth; /* containers from here on are inline; 0: none */
    bool begun[JSON_DEPTH_MAX + 1]; /* has a member already */
};

void json_begin(struct json_writer *writer, FILE *file);
void json_end(struct json_writer *writer); /* a final newline */

/* key: the member's name inside an object; NULL inside an array and for the whole. */
void json_object_begin(struct json_writer *writer, const char *key, enum json_layout layout);
void json_object_end(struct json_writer *writer);
void json_array_begin(struct json_writer *writer, const char *key, enum json_layout layout);
void json_array_end(struct json_writer *writer);
void json_string(struct json_writer *writer, const char *key, const char *value); /* NULL: null */
void json_number(struct json_writer *writer, const char *key, uint64_t value);
void json_boolean(struct json_writer *writer, const char *key, bool value);
void json_null(struct json_writer *writer, const char *key);

#endif
