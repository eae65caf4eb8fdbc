/* SPDX-License-Identifier: MIT */
#include "agent/unwind_row.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent/unwind_cfi.h"

/* DW_OP_* (DWARF 5 section 7.7.1), those that compilers and linkers put into call frame information. */
enum { OP_DEREF = 0x06, OP_BREG_RBP = 0x70 + CFI_RBP, OP_BREG_RSP = 0x70 + CFI_RSP, OP_BREG_RETURN = 0x80 };

/* CFA expressions: a PLT entry's (DW_OP_breg7 8, DW_OP_breg16 0, ..., binutils' elf_x86_64_eh_frame_plt) and
 * *(rbp + n) of a realigned stack. */
static bool expression_row(struct unwind_cursor expression, struct unwind_row *row) {
    const uint8_t *code = expression.at;
    size_t bytes = (size_t)(expression.end - expression.at);
    if (bytes >= 11 && code[0] == OP_BREG_RSP && code[1] == 8 && code[2] == OP_BREG_RETURN && code[3] == 0) {
        row->kind = UNWIND_PLT;
        return true;
    }
    if (bytes >= 3 && code[0] == OP_BREG_RBP) {
        struct unwind_cursor cursor = {code + 1, expression.end};
        int64_t offset = unwind_read_sleb(&cursor);
        if (cursor.end - cursor.at == 1 && *cursor.at == OP_DEREF && offset % 8 == 0 &&
            offset / 8 <= INT16_MAX && offset / 8 >= INT16_MIN) {
            row->kind = UNWIND_DEREFERENCE;
            row->cfa = (int32_t)(offset / 8);
            return true;
        }
    }
    return false;
}

static bool cfa_row(const struct unwind_cfi *cfi, struct unwind_row *row) {
    const struct unwind_cfi_state *state = &cfi->state;
    if (state->cfa_expression)
        return expression_row(unwind_cfi_expression(cfi, state->cfa_value), row);
    if (state->cfa_register != CFI_RSP && state->cfa_register != CFI_RBP)
        return false;
    if (state->cfa_value % 8 != 0 || state->cfa_value / 8 > INT16_MAX || state->cfa_value / 8 < INT16_MIN)
        return false;
    row->kind = state->cfa_register == CFI_RSP ? UNWIND_RSP : UNWIND_RBP;
    row->cfa = state->cfa_value / 8;
    return true;
}

/* How rbp is had, given how the CFA is. A realigned function saves it where rbp points: DW_OP_breg6 0. */
static bool bp_row(const struct unwind_cfi *cfi, struct unwind_row *row) {
    int32_t value = cfi->state.values[CFI_RBP];
    switch (cfi->state.rules[CFI_RBP]) {
    case CFI_SAME:
        return row->kind != UNWIND_DEREFERENCE;
    case CFI_OFFSET:
        row->bp = value / 8;
        return row->kind != UNWIND_DEREFERENCE && row->kind != UNWIND_PLT && value % 8 == 0 && value != 0 &&
               value / 8 >= -512 && value / 8 <= 511;
    case CFI_EXPRESSION: {
        struct unwind_cursor expression = unwind_cfi_expression(cfi, value);
        return row->kind == UNWIND_DEREFERENCE && expression.end - expression.at == 2 &&
               expression.at[0] == OP_BREG_RBP && expression.at[1] == 0;
    }
    default:
        return false;
    }
}

void unwind_row_compute(const struct unwind_object *object, uint64_t pc, struct unwind_row *ret_row) {
    struct unwind_cfi cfi;
    struct unwind_row row = {0};

    *ret_row = (struct unwind_row){.kind = UNWIND_FRAME};
    int error = unwind_cfi_find(object, pc, &cfi);
    if (error == -ENOENT)
        return;
    ret_row->kind = UNWIND_FULL;
    if (error < 0)
        return;
    if (cfi.signal_frame)
        ret_row->kind = UNWIND_SIGNAL;
    else if (cfi.state.rules[CFI_RETURN] == CFI_UNDEFINED)
        ret_row->kind = UNWIND_END;
    else if (cfi.state.rules[CFI_RETURN] == CFI_OFFSET && cfi.state.values[CFI_RETURN] == -8 &&
             cfi.state.rules[CFI_RSP] == CFI_SAME && cfa_row(&cfi, &row) && bp_row(&cfi, &row))
        *ret_row = row;
}
