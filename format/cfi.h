/* SPDX-License-Identifier: MIT */
/*
 * Call frame information, .eh_frame: how each register of the caller is had. Read where it lies, in the
 * agent's own process one pc at a time, in the collector all of a file's. No reads outside the memory given,
 * whatever is in it.
 *
 * Sources: LSB 5 "Exception Frames" (.eh_frame), DWARF 5 section 6.4 (call frame instructions).
 */
#ifndef WAITSCOPE_FORMAT_CFI_H
#define WAITSCOPE_FORMAT_CFI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* DWARF register numbers, AMD64 ABI figure 3.36. Vector registers are of no use to an unwinder. */
enum { CFI_RBP = 6, CFI_RSP = 7, CFI_RETURN = 16, CFI_REGISTERS = 17 };

enum cfi_rule {
    CFI_SAME = 0,       /* also where nothing is said */
    CFI_OFFSET,         /* saved at CFA + value */
    CFI_VALUE_OFFSET,   /* is CFA + value */
    CFI_EXPRESSION,     /* saved where the expression says */
    CFI_VALUE,          /* is what the expression says */
    CFI_OTHER_REGISTER, /* is in register value */
    CFI_UNDEFINED,
};

/* An expression is told by how far its block (ULEB128 length, operations) lies from cfi.anchor. */
struct cfi_state {
    bool cfa_expression;
    uint8_t cfa_register;
    uint8_t rules[CFI_REGISTERS]; /* enum cfi_rule */
    int32_t cfa_value;            /* offset, or the expression's distance */
    int32_t values[CFI_REGISTERS];
};

struct cfi {
    struct cfi_state state;
    bool signal_frame; /* its caller was interrupted: the pc there is no return address */
    const uint8_t *anchor, *end;
};

struct cfi_cursor {
    const uint8_t *at, *end;
};

/* Past the end there are zeros. */
uint64_t cfi_read_uleb(struct cfi_cursor *cursor);
int64_t cfi_read_sleb(struct cfi_cursor *cursor);
uint64_t cfi_read_fixed(struct cfi_cursor *cursor, unsigned bytes);
/* By a pointer encoding, LSB 5 section 10.5; bias as of struct cfi_memory. */
uint64_t cfi_read_encoded(struct cfi_cursor *cursor, uint8_t encoding, uint64_t bias);

/* What is read: a section, or a whole object where it is mapped. An address is a pointer plus bias. */
struct cfi_memory {
    const uint8_t *start, *end;
    uint64_t bias;
};

/* What descriptions have in common: a CIE. */
struct cfi_common {
    uint64_t code_align;
    int64_t data_align;
    uint8_t pointer_encoding;
    bool has_augmentation, signal_frame;
    struct cfi_cursor instructions;
};

/* The information for one piece of code: an FDE. It points into the memory it was read from. */
struct cfi_description {
    uint64_t start, bytes;
    struct cfi_common common;
    struct cfi_cursor instructions;
    const uint8_t *entry, *end;
    uint64_t bias;
};

/* The entry behind this one, NULL behind the last; that it is a description remains to be seen. */
const uint8_t *cfi_entry_next(const struct cfi_memory *memory, const uint8_t *entry);

/* Returns 0; -ENOENT for an entry that is no description; -ENOTSUP for one that we cannot read. */
int cfi_description_read(const struct cfi_memory *memory, const uint8_t *entry,
                         struct cfi_description *ret_description);

/* pc is inside the instruction (for a return address: one less). Returns 0; -ENOENT where the description
 * is of other code; -ENOTSUP where it says what we cannot read. */
int cfi_find(const struct cfi_description *description, uint64_t pc, struct cfi *ret_cfi);

/* Calls back for each range of addresses with one state, in order and without gaps; cfi is NULL for what
 * cannot be read. */
typedef void cfi_range(void *argument, uint64_t low, uint64_t high, const struct cfi *cfi);
void cfi_ranges(const struct cfi_description *description, cfi_range *range, void *argument);

/* The operations of an expression, without its length. */
struct cfi_cursor cfi_expression(const struct cfi *cfi, int32_t distance);

#endif
