/* SPDX-License-Identifier: MIT */
#ifndef WAITSCOPE_VIEWER_REPORT_THREAD_ORDER_H
#define WAITSCOPE_VIEWER_REPORT_THREAD_ORDER_H

#include "model/model.h"

/* Indexes of all threads, those that waited most for locks first, then for events, then as they
 * came. malloc'ed; NULL when out of memory. */
uint32_t *thread_order(const struct model *model);

#endif
