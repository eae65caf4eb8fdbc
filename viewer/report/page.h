/* SPDX-License-Identifier: MIT */
/* Text of a given width: wrapped, cut and aligned by characters, with or without colours. */
#ifndef WAITSCOPE_VIEWER_REPORT_PAGE_H
#define WAITSCOPE_VIEWER_REPORT_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "model/model.h"

struct page {
    FILE *file;
    unsigned width;
    bool color;
};

enum page_style { PAGE_PLAIN, PAGE_BOLD, PAGE_DIM, PAGE_WARNING };

/* Prints text in a style, no line end. */
void page_styled(const struct page *page, enum page_style style, const char *text);
/* Prints text broken at spaces, each line behind indent spaces, in at most max_lines lines (0: any);
 * what does not fit ends in "…". Returns the lines printed. */
unsigned page_wrapped(const struct page *page, enum page_style style, unsigned indent, unsigned max_lines,
                      const char *text);
void page_heading(const struct page *page, const char *text); /* behind an empty line */
/* Prints to the end of line, which has bytes in all; what does not fit is cut. */
void page_append(char *line, size_t bytes, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Cuts text to width columns: the end, or for a path the beginning, becomes "…". */
void page_cut_right(const char *text, unsigned width, char *ret_text, size_t bytes);
void page_cut_left(const char *text, unsigned width, char *ret_text, size_t bytes);
/* Cuts a function's name: first its template arguments, then the middle of its scopes; its last part stays
 * as long as it can: "node::…::TaskQueue<…>::Push". */
void page_cut_name(const char *name, unsigned width, char *ret_text, size_t bytes);
/* Prints text in width columns, cut or filled with spaces; negative: aligned right. */
void page_column(const struct page *page, int width, const char *text);
/* "function (file:line)" in width columns: the path relative to the current directory where it is below
 * it, cut from the left if it does not fit, and the function cut only where that is not enough. line 0:
 * unknown, file NULL: unknown. */
void page_place(const char *name, const char *file, uint32_t line, unsigned width, char *ret_text,
                size_t bytes);

#endif
