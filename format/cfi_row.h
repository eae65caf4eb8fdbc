/* SPDX-License-Identifier: MIT */
/*
 * What compilers and linkers write as call frame information, as one row of three numbers.
 */
#ifndef WAITSCOPE_FORMAT_CFI_ROW_H
#define WAITSCOPE_FORMAT_CFI_ROW_H

#include <stdint.h>

#include "format/cfi.h"

enum cfi_row_kind {
    CFI_ROW_RSP = 0,         /* CFA = rsp + cfa */
    CFI_ROW_RBP = 1,         /* CFA = rbp + cfa */
    CFI_ROW_END = 2,         /* the outermost frame: its return address is undefined */
    CFI_ROW_PLT = 3,         /* a PLT entry: CFA = rsp + 8, 16 past the push in its second half */
    CFI_ROW_DEREFERENCE = 4, /* CFA = *(rbp + cfa), rbp = *rbp: a realigned stack */
    CFI_ROW_SIGNAL = 5,      /* the kernel's signal frame at rsp */
    CFI_ROW_FRAME = 6,       /* no information: by the frame pointer */
    CFI_ROW_FULL = 7,        /* a row cannot say it */
    CFI_ROW_SAVED_RSP = 8,   /* CFA = *(rsp + cfa) + 8 */
};

struct cfi_row {
    uint8_t kind;
    int32_t cfa; /* in units of 8 bytes, 16 bits signed */
    int32_t bp;  /* rbp is at CFA + 8 * bp, 10 bits signed; 0: unchanged */
};

/* Of kind CFI_ROW_FULL where none of the others fits; never CFI_ROW_FRAME. */
struct cfi_row cfi_row_of(const struct cfi *cfi);

#endif
