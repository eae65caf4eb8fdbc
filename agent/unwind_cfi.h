/* SPDX-License-Identifier: MIT */
/*
 * From a pc to what its object's call frame information says: how each register of the caller is had.
 * Used twice: unwind_row.c makes a word of it for what compilers write, unwind_full.c follows all of it.
 */
#ifndef WAITSCOPE_AGENT_UNWIND_CFI_H
#define WAITSCOPE_AGENT_UNWIND_CFI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/unwind.h"

/* DWARF register numbers, AMD64 ABI figure 3.36. Vector registers are of no use to an unwinder. */
enum { CFI_RBP = 6, CFI_RSP = 7, CFI_RETURN = 16, CFI_REGISTERS = 17 };

enum unwind_cfi_rule {
    CFI_SAME = 0,       /* also where nothing is said */
    CFI_OFFSET,         /* saved at CFA + value */
    CFI_VALUE_OFFSET,   /* is CFA + value */
    CFI_EXPRESSION,     /* saved where the expression says */
    CFI_VALUE,          /* is what the expression says */
    CFI_OTHER_REGISTER, /* is in register value */
    CFI_UNDEFINED,
};

/* An expression is told by how far its block (ULEB128 length, operations) lies from unwind_cfi.anchor. */
struct unwind_cfi_state {
    bool cfa_expression;
    uint8_t cfa_register;
    uint8_t rules[CFI_REGISTERS]; /* enum unwind_cfi_rule */
    int32_t cfa_value;            /* offset, or the expression's distance */
    int32_t values[CFI_REGISTERS];
};

struct unwind_cfi {
    struct unwind_cfi_state state;
    bool signal_frame; /* its caller was interrupted: the pc there is no return address */
    const uint8_t *anchor;
};

struct unwind_cursor {
    const uint8_t *at, *end;
};

uint64_t unwind_read_uleb(struct unwind_cursor *cursor);
int64_t unwind_read_sleb(struct unwind_cursor *cursor);
uint64_t unwind_read_fixed(struct unwind_cursor *cursor, unsigned bytes);
struct unwind_cursor unwind_cfi_expression(const struct unwind_cfi *cfi, int32_t distance);

/* pc is inside the instruction (for a return address: one less). Returns 0; -ENOENT where the object says
 * nothing of pc; -ENOTSUP where it says what we cannot read. */
int unwind_cfi_find(const struct unwind_object *object, uint64_t pc, struct unwind_cfi *ret_cfi);

#endif
