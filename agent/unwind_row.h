/* SPDX-License-Identifier: MIT */
/*
 * From a pc to what unwinds it.
 */
#ifndef WAITSCOPE_AGENT_UNWIND_ROW_H
#define WAITSCOPE_AGENT_UNWIND_ROW_H

#include <stdint.h>

#include "agent/unwind.h"
#include "format/cfi_row.h"

/* By the object's unwind tables; pc is inside the instruction. Returns 0; -ENOENT where the object says
 * nothing of pc; -ENOTSUP where it says what we cannot read. */
int unwind_cfi_find(const struct unwind_object *object, uint64_t pc, struct cfi *ret_cfi);

/* The same as a row, the slow path behind the cache: CFI_ROW_FRAME where nothing is said, CFI_ROW_FULL where
 * unwind_full.h may know more. */
void unwind_row_compute(const struct unwind_object *object, uint64_t pc, struct cfi_row *ret_row);

#endif
