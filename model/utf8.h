/* SPDX-License-Identifier: MIT */
/* Text of unknown origin made safe to show: valid UTF-8 without control characters. */
#ifndef WAITSCOPE_MODEL_UTF8_H
#define WAITSCOPE_MODEL_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the character at text (1 to 4), or 0 if it is not valid UTF-8. */
size_t utf8_character(const char *text, size_t size);

/* Whether text is valid UTF-8 without control characters (C0, DEL, C1) and without NUL. */
bool utf8_is_clean(const char *text, size_t size);

/* Puts U+FFFD for each byte or character that is not clean, and a space for tab and newline. buffer
 * has room for 3 * size bytes. Returns the bytes written, no terminator. */
size_t utf8_clean(const char *text, size_t size, char *buffer);

/* Columns on a terminal, each character counted as one. text is valid UTF-8. */
size_t utf8_width(const char *text);

#endif
