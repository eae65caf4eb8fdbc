/* SPDX-License-Identifier: MIT */
/* Paths and numbers put together without libc's printf. */
#ifndef WAITSCOPE_AGENT_TEXT_H
#define WAITSCOPE_AGENT_TEXT_H

#include <stdint.h>
#include <string.h>

/* Appends text to at; returns its end, or NULL once it does not fit before end or at is NULL. */
static inline char *text_append(char *at, const char *end, const char *text) {
    size_t length = strlen(text);
    if (!at || length >= (size_t)(end - at))
        return NULL;
    memcpy(at, text, length + 1);
    return at + length;
}

static inline char *text_append_number(char *at, const char *end, uint64_t number, unsigned base) {
    char digits[24], *digit = digits + sizeof(digits) - 1;
    *digit = '\0';
    do
        *--digit = "0123456789abcdef"[number % base];
    while ((number /= base) != 0);
    return text_append(at, end, digit);
}

#endif
