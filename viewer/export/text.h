/* SPDX-License-Identifier: MIT */
/* Names and figures as text, for every format: names come from foreign binaries and may be any bytes. */
#ifndef WAITSCOPE_VIEWER_EXPORT_TEXT_H
#define WAITSCOPE_VIEWER_EXPORT_TEXT_H

#include <stddef.h>
#include <stdint.h>

/*
 * The next character of a NUL-terminated text, moving *text past it; 0 at the end. What is no valid
 * UTF-8, or is no character one should see in a name (controls, surrogates, non-characters, and the
 * marks that turn the direction of the text around it), comes out as U+FFFD; tabs and line ends as a
 * space.
 */
uint32_t text_next(const char **text);
/* Writes up to 4 bytes, returns how many. */
size_t text_encode(uint32_t character, char *ret_bytes);
/* Columns of a monospace font that a character takes: 0, 1 or 2. */
unsigned text_columns(uint32_t character);
unsigned text_width(const char *text);
/* The part of a path after its last slash. */
const char *text_base_name(const char *path);

/* For people: "0", "812 ns", "45.6 µs", "1.23 s", "125 s". Three digits or more. */
#define TEXT_TIME_BYTES 32
void text_time(uint64_t ns, char ret_text[TEXT_TIME_BYTES]);
/* "100 %", "4.51 %", "0 %"; "< 0.01 %" for what would round to nothing. */
#define TEXT_SHARE_BYTES 16
void text_share(uint64_t part, uint64_t whole, char ret_text[TEXT_SHARE_BYTES]);

#endif
