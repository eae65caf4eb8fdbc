/* SPDX-License-Identifier: MIT */
#include "viewer/export/text.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define REPLACEMENT 0xfffdU

struct range {
    uint32_t first, last;
};

/* Not allowed in XML 1.0, or misleading in a name. Those of ASCII are in text_next(). */
static const struct range UNSEEN[] = {
    {0x7f, 0x9f},     {0x200e, 0x200f}, {0x2028, 0x2029}, {0x202a, 0x202e},
    {0x2066, 0x2069}, {0xfdd0, 0xfdef}, {0xfeff, 0xfeff}, {0xfff9, 0xfffb},
};

/* Unicode's East Asian Width W and F, in coarse blocks. */
static const struct range WIDE[] = {
    {0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},   {0xac00, 0xd7a3},
    {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},   {0xffe0, 0xffe6},
    {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd},
};

static const struct range COMBINING[] = {
    {0x300, 0x36f}, {0x200b, 0x200d}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f},
};

#define IN_RANGES(character, ranges) in_ranges((character), (ranges), sizeof(ranges) / sizeof((ranges)[0]))

static bool in_ranges(uint32_t character, const struct range *ranges, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (character >= ranges[i].first && character <= ranges[i].last)
            return true;
    return false;
}

/* Decodes as RFC 3629 wants it. A bad sequence takes one byte, so that the next may begin anew. */
static uint32_t decode(const unsigned char *bytes, size_t *ret_length) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    *ret_length = 1;
    if (bytes[0] < 0x80)
        return bytes[0];
    size_t length = bytes[0] >= 0xf0 ? 4 : bytes[0] >= 0xe0 ? 3 : 2;
    if (bytes[0] < 0xc0 || bytes[0] > 0xf4)
        return REPLACEMENT;
    uint32_t character = bytes[0] & (0x7fU >> length);
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80) /* the closing NUL too */
            return REPLACEMENT;
        character = character << 6 | (bytes[i] & 0x3fU);
    }
    if (character < least[length] || character > 0x10ffff || (character >= 0xd800 && character <= 0xdfff))
        return REPLACEMENT;
    *ret_length = length;
    return character;
}

uint32_t text_next(const char **text) {
    unsigned char first = (unsigned char)**text;
    if (first == '\0')
        return 0;
    if (first >= 0x20 && first < 0x7f) {
        ++*text;
        return first;
    }
    size_t length;
    uint32_t character = decode((const unsigned char *)*text, &length);
    *text += length;
    if (character == '\t' || character == '\n' || character == '\r')
        return ' ';
    if (character < 0x20 || (character & 0xfffe) == 0xfffe || IN_RANGES(character, UNSEEN))
        return REPLACEMENT;
    return character;
}

size_t text_encode(uint32_t character, char *ret_bytes) {
    if (character < 0x80) {
        ret_bytes[0] = (char)character;
        return 1;
    }
    size_t length = character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--) {
        ret_bytes[i] = (char)(0x80 | (character & 0x3f));
        character >>= 6;
    }
    ret_bytes[0] = (char)((0xf00U >> length & 0xff) | character);
    return length;
}

unsigned text_columns(uint32_t character) {
    if (character < 0x300)
        return 1;
    if (IN_RANGES(character, COMBINING))
        return 0;
    return IN_RANGES(character, WIDE) ? 2 : 1;
}

unsigned text_width(const char *text) {
    unsigned width = 0;
    uint32_t character;
    while ((character = text_next(&text)) != 0)
        width += text_columns(character);
    return width;
}

const char *text_base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] != '\0' ? slash + 1 : path;
}

/* Three significant digits, or all of them before the point. Not by %f, whose point is the locale's. */
static void text_digits(double value, const char *unit, char *ret_text, size_t bytes) {
    if (value >= 99.95) {
        snprintf(ret_text, bytes, "%" PRIu64 " %s", (uint64_t)(value + 0.5), unit);
    } else if (value >= 9.995) {
        unsigned tenths = (unsigned)(value * 10 + 0.5);
        snprintf(ret_text, bytes, "%u.%u %s", tenths / 10, tenths % 10, unit);
    } else {
        unsigned hundredths = (unsigned)(value * 100 + 0.5);
        snprintf(ret_text, bytes, "%u.%02u %s", hundredths / 100, hundredths % 100, unit);
    }
}

void text_time(uint64_t ns, char ret_text[TEXT_TIME_BYTES]) {
    if (ns == 0)
        snprintf(ret_text, TEXT_TIME_BYTES, "0");
    else if (ns < 1000)
        snprintf(ret_text, TEXT_TIME_BYTES, "%" PRIu64 " ns", ns);
    else if (ns < 999500)
        text_digits((double)ns / 1e3, "µs", ret_text, TEXT_TIME_BYTES);
    else if (ns < 999500000)
        text_digits((double)ns / 1e6, "ms", ret_text, TEXT_TIME_BYTES);
    else
        text_digits((double)ns / 1e9, "s", ret_text, TEXT_TIME_BYTES);
}

void text_share(uint64_t part, uint64_t whole, char ret_text[TEXT_SHARE_BYTES]) {
    double percent = whole > 0 ? 100.0 * (double)part / (double)whole : 0;
    if (part == 0)
        snprintf(ret_text, TEXT_SHARE_BYTES, "0 %%");
    else if (percent < 0.01)
        snprintf(ret_text, TEXT_SHARE_BYTES, "< 0.01 %%");
    else if (percent > 999)
        snprintf(ret_text, TEXT_SHARE_BYTES, "> 999 %%");
    else
        text_digits(percent, "%", ret_text, TEXT_SHARE_BYTES);
}
