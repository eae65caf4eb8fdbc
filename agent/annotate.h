/* SPDX-License-Identifier: MIT */
#ifndef WAITSCOPE_AGENT_ANNOTATE_H
#define WAITSCOPE_AGENT_ANNOTATE_H

#include "format/slab.h"

/* Ends the regions that are still open: the thread or the program ends. Busy only. */
void annotate_regions_end(struct thread_slot *slot);
/* In a forked child: its collector knows none of the names yet. */
void annotate_forked(void);

#endif
