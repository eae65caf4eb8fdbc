/* SPDX-License-Identifier: MIT */
#include "model/utf8.h"

#include <stdint.h>
#include <string.h>

/* Table 3-7 of the Unicode standard: which second bytes may follow which first byte. */
static const struct utf8_form {
    unsigned char first_low, first_high, second_low, second_high, bytes;
} UTF8_FORMS[] = {
    {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
    {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
    {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
};

size_t utf8_character(const char *text, size_t size) {
    const unsigned char *at = (const unsigned char *)text;
    if (size == 0)
        return 0;
    if (at[0] < 0x80)
        return 1;
    for (size_t i = 0; i < sizeof(UTF8_FORMS) / sizeof(UTF8_FORMS[0]); i++) {
        const struct utf8_form *form = &UTF8_FORMS[i];
        if (at[0] < form->first_low || at[0] > form->first_high)
            continue;
        if (size < form->bytes || at[1] < form->second_low || at[1] > form->second_high)
            return 0;
        for (size_t k = 2; k < form->bytes; k++)
            if ((at[k] & 0xc0) != 0x80)
                return 0;
        return form->bytes;
    }
    return 0;
}

static bool is_control(const char *text) {
    const unsigned char *at = (const unsigned char *)text;
    return at[0] < 0x20 || at[0] == 0x7f || (at[0] == 0xc2 && at[1] < 0xa0);
}

bool utf8_is_clean(const char *text, size_t size) {
    for (size_t i = 0; i < size;) {
        size_t bytes = utf8_character(text + i, size - i);
        if (bytes == 0 || is_control(text + i))
            return false;
        i += bytes;
    }
    return true;
}

size_t utf8_clean(const char *text, size_t size, char *buffer) {
    size_t out = 0;
    for (size_t i = 0; i < size;) {
        size_t bytes = utf8_character(text + i, size - i);
        if (text[i] == '\t' || text[i] == '\n' || text[i] == '\r') {
            buffer[out++] = ' ';
        } else if (bytes == 0 || is_control(text + i)) {
            memcpy(buffer + out, "\xef\xbf\xbd", 3);
            out += 3;
        } else {
            memcpy(buffer + out, text + i, bytes);
            out += bytes;
        }
        i += bytes ? bytes : 1;
    }
    return out;
}

size_t utf8_width(const char *text) {
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}
