/* SPDX-License-Identifier: MIT */
#include "viewer/report/page.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "model/utf8.h"

#define ELLIPSIS "…"
#define PLACE_BYTES 8192
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

/* A number stays with its unit. */
static bool may_break(const char *text, size_t at) {
    bool number = at > 0 && text[at - 1] >= '0' && text[at - 1] <= '9';
    return text[at] == ' ' && !(number && text[at + 1] && strchr("nmsh%KMGT\xc2", text[at + 1]));
}

/* Where the line that text begins with ends: the bytes of it, at a space if there is one. */
static size_t line_bytes(const char *text, unsigned room, bool cut_short) {
    size_t fits = prefix_bytes(text, room), cut = fits;
    if (text[fits] == '\0')
        return fits;
    if (cut_short)
        fits = prefix_bytes(text, room - 1);
    for (cut = fits; cut > 0 && !may_break(text, cut);)
        cut--;
    return cut > 0 ? cut : fits;
}

static unsigned wrapped_room(const struct page *page, unsigned indent) {
    return page->width > indent + 10 ? page->width - indent : 10;
}

unsigned page_wrapped(const struct page *page, enum page_style style, unsigned indent, unsigned max_lines,
                      const char *text) {
    unsigned lines = 0, room = wrapped_room(page, indent);
    while (*text) {
        bool last = max_lines != 0 && lines + 1 == max_lines;
        size_t cut = line_bytes(text, room, last);
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

/* Copies name with what is in angle brackets as "<…>"; operators and what is not balanced stay. */
static void drop_arguments(const char *name, char *ret_text, size_t bytes) {
    size_t out = 0;
    unsigned depth = 0;
    for (size_t i = 0; name[i] && out + sizeof("<" ELLIPSIS ">") < bytes; i++) {
        bool is_operator = i >= 8 && memcmp(name + i - 8, "operator", 8) == 0;
        bool arrow = i > 0 && name[i] == '>' && name[i - 1] == '-';
        if (name[i] == '<' && !is_operator && depth++ == 0)
            out += (size_t)sprintf(ret_text + out, "<" ELLIPSIS ">");
        else if (name[i] == '>' && !is_operator && !arrow && depth > 0)
            depth--;
        else if (depth == 0)
            ret_text[out++] = name[i];
    }
    ret_text[out] = '\0';
    if (depth > 0)
        snprintf(ret_text, bytes, "%s", name);
}

void page_cut_name(const char *name, unsigned width, char *ret_text, size_t bytes) {
    char plain[PLACE_BYTES];
    if (utf8_width(name) <= width) {
        snprintf(ret_text, bytes, "%s", name);
        return;
    }
    drop_arguments(name, plain, sizeof(plain));
    if (utf8_width(plain) <= width) {
        snprintf(ret_text, bytes, "%s", plain);
        return;
    }
    /* "node::…::TaskQueue::Push": the first part if there is room for it, and as many of the last. */
    const char *first = strstr(plain, "::"), *last = NULL;
    size_t lead = first ? (size_t)(first - plain) + 2 : 0;
    for (const char *at = first; at; at = strstr(at + 2, "::"))
        last = at + 2;
    if (!last) {
        page_cut_right(plain, width, ret_text, bytes);
        return;
    }
    const unsigned mark = 3; /* "…::" */
    /* Of "condition from v8::internal::Isolate" what it is, if not also the first scope. */
    const char *space = strchr(plain, ' ');
    if (lead + mark + utf8_width(last) > width && space && space < first)
        lead = (size_t)(space - plain) + 1;
    bool with_lead = lead + mark + utf8_width(last) <= width && plain + lead < last;
    size_t before = (with_lead ? lead : 0) + mark;
    for (const char *at = first; at; at = strstr(at + 2, "::"))
        if (at + 2 > plain + lead && before + utf8_width(at + 2) <= width && at + 2 < last)
            last = at + 2;
    char tail[PLACE_BYTES];
    page_cut_right(last, width > before ? width - (unsigned)before : 1, tail, sizeof(tail));
    snprintf(ret_text, bytes, "%.*s" ELLIPSIS "::%s", with_lead ? (int)lead : 0, plain, tail);
}

/* A file as a reader looks for it: below the current directory without that, "x/.." left out. */
static void shorten_path(const char *file, char *ret_text, size_t bytes) {
    char here[PLACE_BYTES], *up;
    snprintf(ret_text, bytes, "%s", file);
    while ((up = strstr(ret_text, "/../")) && up > ret_text) {
        char *parent = up;
        while (parent > ret_text && parent[-1] != '/')
            parent--;
        if (parent == ret_text || strncmp(parent, "../", 3) == 0)
            break;
        memmove(parent, up + 4, strlen(up + 4) + 1);
    }
    size_t size = getcwd(here, sizeof(here)) ? strlen(here) : 0;
    if (size > 1 && strncmp(ret_text, here, size) == 0 && ret_text[size] == '/')
        memmove(ret_text, ret_text + size + 1, strlen(ret_text + size + 1) + 1);
}

/* The path whole, or as many of its last parts as fit behind "…/", or its end. */
static void cut_path(const char *place, unsigned width, char *ret_text, size_t bytes) {
    if (utf8_width(place) <= width) {
        snprintf(ret_text, bytes, "%s", place);
        return;
    }
    const char *slash = strrchr(place, '/');
    for (const char *at = strchr(place, '/'); at; at = strchr(at + 1, '/'))
        if (1 + utf8_width(at) <= width && at < slash) {
            snprintf(ret_text, bytes, ELLIPSIS "%s", at);
            return;
        }
    page_cut_left(slash ? slash + 1 : place, width, ret_text, bytes);
}

void page_place(const char *name, const char *file, uint32_t line, unsigned width, char *ret_text,
                size_t bytes) {
    char path[PLACE_BYTES], place[PLACE_BYTES], cut_place[PLACE_BYTES], cut_name[PLACE_BYTES];
    if (!file) {
        page_cut_name(name, width, ret_text, bytes);
        return;
    }
    shorten_path(file, path, sizeof(path));
    if (line)
        snprintf(place, sizeof(place), "%.4000s:%" PRIu32, path, line);
    else
        snprintf(place, sizeof(place), "%s", path);
    const unsigned brackets = 3;
    const char *slash = strrchr(place, '/');
    unsigned base_width = (unsigned)utf8_width(slash ? slash + 1 : place);
    /* The file's own name and line are kept whole unless they leave too little for the function. */
    unsigned least = base_width + brackets + NAME_COLUMNS_MIN <= width ? base_width : width / 2 - brackets;
    page_cut_name(name, width - least - brackets, cut_name, sizeof(cut_name));
    cut_path(place, width - (unsigned)utf8_width(cut_name) - brackets, cut_place, sizeof(cut_place));
    snprintf(ret_text, bytes, "%s (%s)", cut_name, cut_place);
}
