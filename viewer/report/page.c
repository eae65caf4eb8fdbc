/* SPDX-License-Identifier: MIT */
#include "viewer/report/page.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "model/utf8.h"

#define ELLIPSIS "…"
#define PLACE_BYTES 2048
#define NAME_COLUMNS_MIN 6

static const char *const STYLES[] = {
    [PAGE_PLAIN] = "", [PAGE_BOLD] = "\033[1m", [PAGE_DIM] = "\033[2m", [PAGE_WARNING] = "\033[1;33m"};

static void style_begin(const struct page *page, enum page_style style) {
    if (page->color)
        fputs(STYLES[style], page->file);
}

static void style_end(const struct page *page, enum page_style style) {
    if (page->color && style != PAGE_PLAIN)
        fputs("\033[0m", page->file);
}

void page_styled(const struct page *page, enum page_style style, const char *text) {
    style_begin(page, style);
    fputs(text, page->file);
    style_end(page, style);
}

/* Bytes of the first `width` characters. */
static size_t prefix_bytes(const char *text, size_t width) {
    size_t bytes = 0;
    for (; width > 0 && text[bytes]; width--)
        for (bytes++; ((unsigned char)text[bytes] & 0xc0) == 0x80;)
            bytes++;
    return bytes;
}

unsigned page_wrapped(const struct page *page, enum page_style style, unsigned indent, unsigned max_lines,
                      const char *text) {
    unsigned lines = 0, room = page->width > indent + 10 ? page->width - indent : 10;
    while (*text) {
        size_t fits = prefix_bytes(text, room), cut = fits;
        bool last = max_lines != 0 && lines + 1 == max_lines;
        if (text[fits] != '\0') {
            if (last)
                fits = prefix_bytes(text, room - 1);
            for (cut = fits; cut > 0 && text[cut] != ' ';)
                cut--;
            if (cut == 0)
                cut = fits;
        }
        fprintf(page->file, "%*s", (int)indent, "");
        style_begin(page, style);
        fwrite(text, 1, cut, page->file);
        if (last && text[cut] != '\0')
            fputs(ELLIPSIS, page->file);
        style_end(page, style);
        putc('\n', page->file);
        lines++;
        if (last)
            break;
        for (text += cut; *text == ' ';)
            text++;
    }
    return lines;
}

void page_append(char *line, size_t bytes, const char *format, ...) {
    size_t used = strlen(line);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + used, bytes - used, format, arguments);
    va_end(arguments);
}

void page_heading(const struct page *page, const char *text) {
    putc('\n', page->file);
    page_styled(page, PAGE_BOLD, text);
    putc('\n', page->file);
}

void page_cut_right(const char *text, unsigned width, char *ret_text, size_t bytes) {
    bool whole = utf8_width(text) <= width;
    size_t keep = whole ? strlen(text) : prefix_bytes(text, width > 0 ? width - 1 : 0);
    snprintf(ret_text, bytes, "%.*s%s", (int)keep, text, whole ? "" : ELLIPSIS);
}

void page_cut_left(const char *text, unsigned width, char *ret_text, size_t bytes) {
    size_t have = utf8_width(text);
    if (have <= width)
        snprintf(ret_text, bytes, "%s", text);
    else
        snprintf(ret_text, bytes, ELLIPSIS "%s",
                 text + prefix_bytes(text, have - (width > 0 ? width - 1 : 0)));
}

void page_column(const struct page *page, int width, const char *text) {
    char cut[PLACE_BYTES];
    unsigned columns = (unsigned)(width < 0 ? -width : width);
    page_cut_right(text, columns, cut, sizeof(cut));
    unsigned used = (unsigned)utf8_width(cut), fill = used < columns ? columns - used : 0;
    fprintf(page->file, "%*s%s%*s", width < 0 ? (int)fill : 0, "", cut, width < 0 ? 0 : (int)fill, "");
}

void page_place(const char *name, const char *file, uint32_t line, unsigned width, char *ret_text,
                size_t bytes) {
    char place[PLACE_BYTES], cut_place[PLACE_BYTES], cut_name[PLACE_BYTES];
    if (!file) {
        page_cut_right(name, width, ret_text, bytes);
        return;
    }
    if (line)
        snprintf(place, sizeof(place), "%s:%" PRIu32, file, line);
    else
        snprintf(place, sizeof(place), "%s", file);
    const unsigned brackets = 3;
    const char *slash = strrchr(place, '/');
    unsigned base_width = (unsigned)utf8_width(slash ? slash + 1 : place);
    /* The file's own name and line are kept whole unless they leave too little for the function. */
    unsigned least = base_width + brackets + NAME_COLUMNS_MIN <= width ? base_width : width / 2 - brackets;
    unsigned name_room = width - least - brackets;
    page_cut_right(name, name_room, cut_name, sizeof(cut_name));
    unsigned room = width - (unsigned)utf8_width(cut_name) - brackets;
    /* Half a path says no more than the file's name does. */
    const char *shown = utf8_width(place) <= room || base_width > room ? place : slash ? slash + 1 : place;
    page_cut_left(shown, room, cut_place, sizeof(cut_place));
    snprintf(ret_text, bytes, "%s (%s)", cut_name, cut_place);
}
