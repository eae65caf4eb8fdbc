/* SPDX-License-Identifier: MIT */
/*
 * Writes a model to a file in a format that other tools, or a browser, read. A new format is one
 * file and one row of the table in export.c.
 */
#ifndef WAITSCOPE_VIEWER_EXPORT_EXPORT_H
#define WAITSCOPE_VIEWER_EXPORT_EXPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "model/model.h"

struct export_options {
    enum model_tree_kind kind;
    /* Which waits: idle ones too, of one process, thread or lock. Indexes, MODEL_NONE: any. */
    struct model_tree_filter filter;
    bool inverted;     /* the root above, growing downwards (icicle); the merge stays root first */
    const char *title; /* NULL: made from the kind */
};

/* Contention of the whole trace, by waiter. */
#define EXPORT_OPTIONS_DEFAULT                                                                               \
    ((struct export_options){                                                                                \
        .kind = MODEL_TREE_WAIT,                                                                             \
        .filter = {.process = MODEL_NONE, .thread = MODEL_NONE, .lock = MODEL_NONE},                         \
    })

struct export_format {
    const char *name;        /* as in `export -f NAME` */
    const char *extension;   /* of the file, without the dot */
    const char *description; /* one line for --help */
    /*
     * Writes everything and flushes, but does not close the file; any FILE that is open for writing
     * will do, a pipe too. Returns 0; -ENODATA where there is nothing of the kind in the selection (then
     * nothing was written); -EINVAL where an index of the filter is out of range, or a lock is given and
     * the kind knows none; -ENOMEM; or
     * -errno of the first write that failed. What was written before a failure stays.
     */
    int (*write)(const struct model *model, const struct export_options *options, FILE *file);
};

/* The formats, ended by a row whose name is NULL. */
extern const struct export_format export_formats[];

/* NULL if there is no such format. */
const struct export_format *export_format_find(const char *name);

/* "wait", "blame", "cpu", "offcpu" and "offwake", as in `export --kind NAME`: 0, or -EINVAL and ret_kind is
 * untouched. */
int export_kind_find(const char *name, enum model_tree_kind *ret_kind);

#endif
