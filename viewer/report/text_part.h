/* SPDX-License-Identifier: MIT */
/* What the files of the text report share. */
#ifndef WAITSCOPE_VIEWER_REPORT_TEXT_PART_H
#define WAITSCOPE_VIEWER_REPORT_TEXT_PART_H

#include "model/model.h"
#include "viewer/report/page.h"

#define LINE_BYTES 1024

struct report {
    const struct model *model;
    struct page page;
    unsigned top_locks;
    bool show_idle;
};

/* Contention, waiting for something to happen, and what was idle altogether. */
enum lock_group { GROUP_LOCKS, GROUP_EVENTS, GROUP_IDLE, GROUP_COUNT };

/* The worst locks of a group, with both sides; nothing where the group is empty. */
void text_lock_group(const struct report *report, enum lock_group group);
/* One line about locks that nobody waited for, where others were waited for. */
void text_uncontended(const struct report *report);

/* The regions that the program marked, worst first; nothing where it marked none. */
void text_regions(const struct report *report);

/* All threads, where their time went, and of the worst what kept them from running. Returns 0 or -ENOMEM. */
int text_threads(const struct report *report);

#endif
