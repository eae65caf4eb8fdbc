/* SPDX-License-Identifier: MIT */
/* The rows of a file in the form and in the memory that the kernel reads them in (bpf/unwind_table.h). */
#ifndef WAITSCOPE_COLLECTOR_UNWIND_PAGES_H
#define WAITSCOPE_COLLECTOR_UNWIND_PAGES_H

#include <stdint.h>

#include "collector/unwind_pool.h"
#include "collector/unwind_rows.h"

struct unwind_placed {
    uint32_t page, pages;          /* a run in the pool of pages */
    uint32_t run, units;           /* a run in the pool of rows, codes included */
    uint32_t codes;                /* the unit the codes begin at */
    uint32_t single, shared, full; /* pages: of one row, like another, with a row that has no code */
};

/* Returns 0, -ENOMEM, -ENOSPC where the pools are full, -EFBIG, or what making memory for the kernel gives.
 */
int unwind_pages_place(const struct unwind_rows *rows, struct unwind_pool *page_pool,
                       struct unwind_pool *row_pool, struct unwind_placed *ret_placed);
/* No program may be reading them any more. Zero-filled is fine. */
void unwind_pages_remove(struct unwind_pool *page_pool, struct unwind_pool *row_pool,
                         const struct unwind_placed *placed);

#endif
