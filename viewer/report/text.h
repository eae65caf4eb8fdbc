/* SPDX-License-Identifier: MIT */
/* The report as text, for people: the answer in words first, then what it rests on. */
#ifndef WAITSCOPE_VIEWER_REPORT_TEXT_H
#define WAITSCOPE_VIEWER_REPORT_TEXT_H

#include <stdbool.h>
#include <stdio.h>

#include "model/model.h"

struct report_options {
    bool color;         /* ANSI colours; without it no escape code at all */
    unsigned width;     /* columns; 0: 80, but for the summary. At least 60 are used */
    unsigned top_locks; /* locks shown in full; 0: 5 */
    bool show_idle;     /* list what was idle too, not only its sum */
};

/* options may be NULL. Returns 0, -ENOMEM, or -EIO where the file took not all of it. Flushes. */
int report_text_print(const struct model *model, FILE *file, const struct report_options *options);

/*
 * What `record` says at its end: at most 8 lines, with the trace's path and the command to type next. Of
 * the options, color and width count; width 0: no terminal, nothing is cut or wrapped. Returns 0 or -EIO.
 */
int report_summary_print(const struct model *model, FILE *file, const char *trace_path,
                         const struct report_options *options);

#endif
