/* SPDX-License-Identifier: MIT */
#include "format/cfi_row.h"

#include <stdbool.h>
#include <stddef.h>

/* DW_OP_* (DWARF 5 section 7.7.1), those that compilers and linkers put into call frame information. */
enum {
    OP_DEREF = 0x06,
    OP_PLUS_CONSTANT = 0x23,
    OP_BREG_RBP = 0x70 + CFI_RBP,
    OP_BREG_RSP = 0x70 + CFI_RSP,
    OP_BREG_RETURN = 0x80
};

/* In units of 8 bytes, where that is a whole number and fits. */
static bool words_of(int64_t bytes, int32_t *ret_words) {
    *ret_words = (int32_t)(bytes / 8);
    return bytes % 8 == 0 && bytes / 8 <= INT16_MAX && bytes / 8 >= INT16_MIN;
}

/*
 * CFA expressions: a PLT entry's (DW_OP_breg7 8, DW_OP_breg16 0, ..., binutils' elf_x86_64_eh_frame_plt);
 * *(rbp + n) of a realigned stack; *(rsp + n) + 8 of OpenSSL's assembly, which saves rsp on the stack.
 */
static bool expression_row(struct cfi_cursor expression, struct cfi_row *row) {
    const uint8_t *code = expression.at;
    size_t bytes = (size_t)(expression.end - expression.at);
    if (bytes >= 11 && code[0] == OP_BREG_RSP && code[1] == 8 && code[2] == OP_BREG_RETURN && code[3] == 0) {
        row->kind = CFI_ROW_PLT;
        return true;
    }
    if (bytes < 3 || (code[0] != OP_BREG_RBP && code[0] != OP_BREG_RSP))
        return false;
    struct cfi_cursor cursor = {code + 1, expression.end};
    if (!words_of(cfi_read_sleb(&cursor), &row->cfa))
        return false;
    size_t rest = (size_t)(cursor.end - cursor.at);
    if (code[0] == OP_BREG_RBP) {
        row->kind = CFI_ROW_DEREFERENCE;
        return rest == 1 && cursor.at[0] == OP_DEREF;
    }
    row->kind = CFI_ROW_SAVED_RSP;
    return rest == 3 && cursor.at[0] == OP_DEREF && cursor.at[1] == OP_PLUS_CONSTANT && cursor.at[2] == 8;
}

static bool cfa_row(const struct cfi *cfi, struct cfi_row *row) {
    const struct cfi_state *state = &cfi->state;
    if (state->cfa_expression)
        return expression_row(cfi_expression(cfi, state->cfa_value), row);
    if (state->cfa_register != CFI_RSP && state->cfa_register != CFI_RBP)
        return false;
    row->kind = state->cfa_register == CFI_RSP ? CFI_ROW_RSP : CFI_ROW_RBP;
    return words_of(state->cfa_value, &row->cfa);
}

/* How rbp is had, given how the CFA is. A realigned function saves it where rbp points: DW_OP_breg6 0. */
static bool bp_row(const struct cfi *cfi, struct cfi_row *row) {
    int32_t value = cfi->state.values[CFI_RBP];
    switch (cfi->state.rules[CFI_RBP]) {
    case CFI_SAME:
        return row->kind != CFI_ROW_DEREFERENCE;
    case CFI_OFFSET:
        row->bp = value / 8;
        return row->kind != CFI_ROW_DEREFERENCE && row->kind != CFI_ROW_PLT && value % 8 == 0 && value != 0 &&
               value / 8 >= -512 && value / 8 <= 511;
    case CFI_EXPRESSION: {
        struct cfi_cursor expression = cfi_expression(cfi, value);
        return row->kind == CFI_ROW_DEREFERENCE && expression.end - expression.at == 2 &&
               expression.at[0] == OP_BREG_RBP && expression.at[1] == 0;
    }
    default:
        return false;
    }
}

struct cfi_row cfi_row_of(const struct cfi *cfi) {
    const struct cfi_state *state = &cfi->state;
    struct cfi_row row = {0};
    if (cfi->signal_frame)
        return (struct cfi_row){.kind = CFI_ROW_SIGNAL};
    if (state->rules[CFI_RETURN] == CFI_UNDEFINED)
        return (struct cfi_row){.kind = CFI_ROW_END};
    if (state->rules[CFI_RETURN] == CFI_OFFSET && state->values[CFI_RETURN] == -8 &&
        state->rules[CFI_RSP] == CFI_SAME && cfa_row(cfi, &row) && bp_row(cfi, &row))
        return row;
    return (struct cfi_row){.kind = CFI_ROW_FULL};
}
