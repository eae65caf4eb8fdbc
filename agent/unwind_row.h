/* SPDX-License-Identifier: MIT */
/*
 * From a pc to the row that unwinds it.
 */
#ifndef WAITSCOPE_AGENT_UNWIND_ROW_H
#define WAITSCOPE_AGENT_UNWIND_ROW_H

#include <stdint.h>

#include "agent/unwind.h"

enum unwind_kind {
    UNWIND_RSP = 0,         /* CFA = rsp + cfa */
    UNWIND_RBP = 1,         /* CFA = rbp + cfa */
    UNWIND_END = 2,         /* the outermost frame: its return address is undefined */
    UNWIND_PLT = 3,         /* a PLT entry: CFA = rsp + 8, 16 past the push in its second half */
    UNWIND_DEREFERENCE = 4, /* CFA = *(rbp + cfa), rbp = *rbp: a realigned stack */
    UNWIND_SIGNAL = 5,      /* the kernel's signal frame at rsp */
    UNWIND_FRAME = 6,       /* no information: by the frame pointer */
    UNWIND_FULL = 7,        /* a row cannot say it: unwind_full.h */
};

struct unwind_row {
    uint8_t kind;
    int32_t cfa; /* in units of 8 bytes, 16 bits signed */
    int32_t bp;  /* rbp is at CFA + 8 * bp, 10 bits signed; 0: unchanged */
};

/* Reads the object's unwind tables; the slow path behind the cache. pc is inside the instruction. */
void unwind_row_compute(const struct unwind_object *object, uint64_t pc, struct unwind_row *ret_row);

#endif
