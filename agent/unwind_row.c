/* SPDX-License-Identifier: MIT */
#include "agent/unwind_row.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* DWARF register numbers, AMD64 ABI figure 3.36. */
enum { REGISTER_RBP = 6, REGISTER_RSP = 7, REGISTER_RA = 16 };

/* Pointer encodings, LSB 5 section 10.5. */
enum {
    ENCODING_FORMAT = 0x0f,
    ENCODING_PCREL = 0x10,
    ENCODING_APPLICATION = 0x70,
    ENCODING_DATAREL_SDATA4 = 0x3b
};

struct cursor {
    const uint8_t *at, *end;
};

static uint64_t read_uleb(struct cursor *cursor) {
    uint64_t value = 0;
    for (unsigned shift = 0; cursor->at < cursor->end && shift < 64; shift += 7) {
        uint8_t byte = *cursor->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            break;
    }
    return value;
}

static int64_t read_sleb(struct cursor *cursor) {
    uint64_t value = 0;
    for (unsigned shift = 0; cursor->at < cursor->end && shift < 64;) {
        uint8_t byte = *cursor->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
        if (!(byte & 0x80)) {
            if (shift < 64 && (byte & 0x40))
                value |= ~0ULL << shift;
            break;
        }
    }
    return (int64_t)value;
}

static uint64_t read_fixed(struct cursor *cursor, unsigned bytes) {
    uint64_t value = 0;
    if ((size_t)(cursor->end - cursor->at) < bytes) {
        cursor->at = cursor->end;
        return 0;
    }
    memcpy(&value, cursor->at, bytes);
    cursor->at += bytes;
    return value;
}

static uint64_t read_encoded(struct cursor *cursor, uint8_t encoding) {
    const uint8_t *place = cursor->at;
    uint64_t value;
    switch (encoding & ENCODING_FORMAT) {
    case 0x1:
        value = read_uleb(cursor);
        break;
    case 0x2:
        value = read_fixed(cursor, 2);
        break;
    case 0x3:
        value = read_fixed(cursor, 4);
        break;
    case 0x9:
        value = (uint64_t)read_sleb(cursor);
        break;
    case 0xa:
        value = (uint64_t)(int64_t)(int16_t)read_fixed(cursor, 2);
        break;
    case 0xb:
        value = (uint64_t)(int64_t)(int32_t)read_fixed(cursor, 4);
        break;
    default:
        value = read_fixed(cursor, 8);
        break;
    }
    if ((encoding & ENCODING_APPLICATION) == ENCODING_PCREL)
        value += (uint64_t)(uintptr_t)place;
    return value;
}

struct common_information {
    uint64_t code_align;
    int64_t data_align;
    uint8_t pointer_encoding;
    bool has_augmentation, signal_frame;
    struct cursor instructions;
};

/* A length-prefixed entry of .eh_frame; the cursor covers what follows the length. */
static struct cursor entry_cursor(const uint8_t *entry) {
    uint32_t length32;
    memcpy(&length32, entry, 4);
    uint64_t length = length32;
    const uint8_t *at = entry + 4;
    if (length32 == UINT32_MAX) {
        memcpy(&length, at, 8);
        at += 8;
    }
    return (struct cursor){at, at + length};
}

static bool common_information_read(const uint8_t *entry, struct common_information *ret_cie) {
    struct common_information cie = {0};
    struct cursor cursor = entry_cursor(entry);
    if (read_fixed(&cursor, 4) != 0)
        return false;
    uint8_t version = (uint8_t)read_fixed(&cursor, 1);
    const char *augmentation = (const char *)cursor.at;
    cursor.at += strnlen(augmentation, (size_t)(cursor.end - cursor.at)) + 1;
    cie.code_align = read_uleb(&cursor);
    cie.data_align = read_sleb(&cursor);
    uint64_t return_register = version == 1 ? read_fixed(&cursor, 1) : read_uleb(&cursor);
    if (return_register != REGISTER_RA)
        return false;
    if (augmentation[0] == 'z') {
        cie.has_augmentation = true;
        uint64_t bytes = read_uleb(&cursor);
        struct cursor data = {cursor.at, cursor.at + bytes};
        if (bytes > (size_t)(cursor.end - cursor.at))
            return false;
        for (const char *letter = augmentation + 1; *letter; letter++) {
            if (*letter == 'R')
                cie.pointer_encoding = (uint8_t)read_fixed(&data, 1);
            else if (*letter == 'L')
                read_fixed(&data, 1);
            else if (*letter == 'P')
                read_encoded(&data, (uint8_t)read_fixed(&data, 1));
            else if (*letter == 'S')
                cie.signal_frame = true;
        }
        cursor.at += bytes;
    }
    cie.instructions = cursor;
    *ret_cie = cie;
    return true;
}

enum rule { RULE_SAME, RULE_OFFSET, RULE_UNDEFINED, RULE_SELF_FRAME, RULE_OTHER };

struct frame_state {
    bool cfa_expression;
    uint64_t cfa_register;
    int64_t cfa_offset;
    struct cursor expression;
    enum rule bp_rule, ra_rule;
    int64_t bp_offset, ra_offset;
};

#define STATES_REMEMBERED 8

static void rule_set(struct frame_state *state, uint64_t reg, enum rule rule, int64_t offset) {
    if (reg == REGISTER_RBP) {
        state->bp_rule = rule;
        state->bp_offset = offset;
    } else if (reg == REGISTER_RA) {
        state->ra_rule = rule;
        state->ra_offset = offset;
    }
}

static void rule_restore(struct frame_state *state, uint64_t reg, const struct frame_state *initial) {
    if (reg == REGISTER_RBP)
        rule_set(state, reg, initial->bp_rule, initial->bp_offset);
    else if (reg == REGISTER_RA)
        rule_set(state, reg, initial->ra_rule, initial->ra_offset);
}

/* DW_CFA_expression: rbp saved where rbp points (DW_OP_breg6 0), as in a function that realigns its
 * stack; anything else is not followed. */
static enum rule expression_rule(uint64_t reg, const struct cursor *expression) {
    bool self_frame =
        expression->end - expression->at == 2 && expression->at[0] == 0x76 && expression->at[1] == 0;
    return reg == REGISTER_RBP && self_frame ? RULE_SELF_FRAME : RULE_OTHER;
}

static struct cursor read_block(struct cursor *cursor) {
    uint64_t bytes = read_uleb(cursor);
    if (bytes > (size_t)(cursor->end - cursor->at))
        bytes = (size_t)(cursor->end - cursor->at);
    struct cursor block = {cursor->at, cursor->at + bytes};
    cursor->at += bytes;
    return block;
}

/* Runs call frame instructions until the state for pc is reached. Returns false on one it does not know. */
static bool instructions_run(const struct common_information *cie, struct cursor program, uint64_t location,
                             uint64_t pc, const struct frame_state *initial, struct frame_state *state) {
    struct frame_state remembered[STATES_REMEMBERED];
    unsigned depth = 0;

    while (program.at < program.end) {
        uint8_t opcode = *program.at++;
        uint8_t low = opcode & 0x3f;
        uint64_t advance = 0, reg;
        switch (opcode & 0xc0) {
        case 0x40: /* advance_loc */
            advance = low;
            break;
        case 0x80: /* offset */
            rule_set(state, low, RULE_OFFSET, (int64_t)read_uleb(&program) * cie->data_align);
            continue;
        case 0xc0: /* restore */
            rule_restore(state, low, initial);
            continue;
        default:
            switch (opcode) {
            case 0x00: /* nop */
                continue;
            case 0x01: /* set_loc */
                location = read_encoded(&program, cie->pointer_encoding);
                if (location > pc)
                    return true;
                continue;
            case 0x02: /* advance_loc1 */
                advance = read_fixed(&program, 1);
                break;
            case 0x03: /* advance_loc2 */
                advance = read_fixed(&program, 2);
                break;
            case 0x04: /* advance_loc4 */
                advance = read_fixed(&program, 4);
                break;
            case 0x05: /* offset_extended */
                reg = read_uleb(&program);
                rule_set(state, reg, RULE_OFFSET, (int64_t)read_uleb(&program) * cie->data_align);
                continue;
            case 0x06: /* restore_extended */
                rule_restore(state, read_uleb(&program), initial);
                continue;
            case 0x07: /* undefined */
                rule_set(state, read_uleb(&program), RULE_UNDEFINED, 0);
                continue;
            case 0x08: /* same_value */
                rule_set(state, read_uleb(&program), RULE_SAME, 0);
                continue;
            case 0x09: /* register */
                reg = read_uleb(&program);
                read_uleb(&program);
                rule_set(state, reg, RULE_OTHER, 0);
                continue;
            case 0x0a: /* remember_state */
                if (depth == STATES_REMEMBERED)
                    return false;
                remembered[depth++] = *state;
                continue;
            case 0x0b: /* restore_state */
                if (depth == 0)
                    return false;
                *state = remembered[--depth];
                continue;
            case 0x0c: /* def_cfa */
                state->cfa_expression = false;
                state->cfa_register = read_uleb(&program);
                state->cfa_offset = (int64_t)read_uleb(&program);
                continue;
            case 0x0d: /* def_cfa_register */
                state->cfa_expression = false;
                state->cfa_register = read_uleb(&program);
                continue;
            case 0x0e: /* def_cfa_offset */
                state->cfa_expression = false;
                state->cfa_offset = (int64_t)read_uleb(&program);
                continue;
            case 0x0f: /* def_cfa_expression */
                state->cfa_expression = true;
                state->expression = read_block(&program);
                continue;
            case 0x10:   /* expression */
            case 0x16: { /* val_expression */
                reg = read_uleb(&program);
                struct cursor expression = read_block(&program);
                rule_set(state, reg, opcode == 0x10 ? expression_rule(reg, &expression) : RULE_OTHER, 0);
                continue;
            }
            case 0x11: /* offset_extended_sf */
                reg = read_uleb(&program);
                rule_set(state, reg, RULE_OFFSET, read_sleb(&program) * cie->data_align);
                continue;
            case 0x12: /* def_cfa_sf */
                state->cfa_expression = false;
                state->cfa_register = read_uleb(&program);
                state->cfa_offset = read_sleb(&program) * cie->data_align;
                continue;
            case 0x13: /* def_cfa_offset_sf */
                state->cfa_expression = false;
                state->cfa_offset = read_sleb(&program) * cie->data_align;
                continue;
            case 0x14: /* val_offset */
                reg = read_uleb(&program);
                read_uleb(&program);
                rule_set(state, reg, RULE_OTHER, 0);
                continue;
            case 0x15: /* val_offset_sf */
                reg = read_uleb(&program);
                read_sleb(&program);
                rule_set(state, reg, RULE_OTHER, 0);
                continue;
            case 0x2d: /* GNU_window_save */
                continue;
            case 0x2e: /* GNU_args_size */
                read_uleb(&program);
                continue;
            default:
                return false;
            }
        }
        location += advance * cie->code_align;
        if (location > pc)
            return true;
    }
    return true;
}

/* CFA expressions that compilers and linkers make: a PLT entry's (DW_OP_breg7 8, DW_OP_breg16 0, ...,
 * binutils' elf_x86_64_eh_frame_plt) and *(rbp + n) of a realigned stack. */
static bool expression_row(struct cursor expression, struct unwind_row *row) {
    const uint8_t *code = expression.at;
    size_t bytes = (size_t)(expression.end - expression.at);
    if (bytes >= 11 && code[0] == 0x77 && code[1] == 8 && code[2] == 0x80 && code[3] == 0) {
        row->kind = UNWIND_PLT;
        return true;
    }
    if (bytes >= 3 && code[0] == 0x76) {
        struct cursor cursor = {code + 1, expression.end};
        int64_t offset = read_sleb(&cursor);
        if (cursor.end - cursor.at == 1 && *cursor.at == 0x06 && offset % 8 == 0) {
            row->kind = UNWIND_DEREFERENCE;
            row->cfa = (int32_t)(offset / 8);
            return true;
        }
    }
    return false;
}

static void state_row(const struct frame_state *state, struct unwind_row *row) {
    *row = (struct unwind_row){.kind = UNWIND_UNSUPPORTED};
    if (state->ra_rule == RULE_UNDEFINED) {
        row->kind = UNWIND_END;
        return;
    }
    if (state->cfa_expression) {
        if (!expression_row(state->expression, row) || row->kind == UNWIND_PLT)
            return;
    } else {
        if (state->cfa_register != REGISTER_RSP && state->cfa_register != REGISTER_RBP)
            return;
        if (state->cfa_offset % 8 != 0 || state->cfa_offset / 8 > INT16_MAX ||
            state->cfa_offset / 8 < INT16_MIN)
            return;
        row->kind = state->cfa_register == REGISTER_RSP ? UNWIND_RSP : UNWIND_RBP;
        row->cfa = (int32_t)(state->cfa_offset / 8);
    }
    bool return_at_top = state->ra_rule == RULE_OFFSET && state->ra_offset == -8;
    bool bp_known = state->bp_rule == RULE_SAME ||
                    (state->bp_rule == RULE_OFFSET && state->bp_offset % 8 == 0 &&
                     state->bp_offset / 8 >= -512 && state->bp_offset / 8 <= 511) ||
                    (state->bp_rule == RULE_SELF_FRAME && row->kind == UNWIND_DEREFERENCE);
    if (!return_at_top || !bp_known) {
        row->kind = UNWIND_UNSUPPORTED;
        return;
    }
    row->bp = state->bp_rule == RULE_OFFSET ? (int32_t)(state->bp_offset / 8) : 0;
}

/* The FDE that may cover pc by the header's sorted table, NULL if there is none. */
static const uint8_t *description_find(const uint8_t *header, uint64_t pc) {
    struct search_entry {
        int32_t start, description;
    };
    if (header[0] != 1 || header[3] != ENCODING_DATAREL_SDATA4)
        return NULL;
    struct cursor cursor = {header + 4, header + 4 + 32};
    read_encoded(&cursor, header[1]);
    uint64_t count = read_encoded(&cursor, header[2]);
    const struct search_entry *table = (const struct search_entry *)cursor.at;
    int64_t offset = (int64_t)(pc - (uint64_t)(uintptr_t)header);

    uint64_t low = 0, high = count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (table[middle].start <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? header + table[low - 1].description : NULL;
}

void unwind_row_compute(const struct unwind_object *object, uint64_t pc, struct unwind_row *ret_row) {
    *ret_row = (struct unwind_row){.kind = UNWIND_FRAME};
    const uint8_t *description = object->eh_frame_hdr ? description_find(object->eh_frame_hdr, pc) : NULL;
    if (!description)
        return;

    struct cursor cursor = entry_cursor(description);
    const uint8_t *place = cursor.at;
    uint32_t common_offset = (uint32_t)read_fixed(&cursor, 4);
    struct common_information cie;
    if (common_offset == 0 || !common_information_read(place - common_offset, &cie))
        return;
    uint64_t start = read_encoded(&cursor, cie.pointer_encoding);
    uint64_t bytes = read_encoded(&cursor, cie.pointer_encoding & ENCODING_FORMAT);
    if (pc < start || pc - start >= bytes)
        return;
    if (cie.signal_frame) {
        ret_row->kind = UNWIND_SIGNAL;
        return;
    }
    if (cie.has_augmentation)
        read_block(&cursor);

    struct frame_state initial = {0}, state;
    ret_row->kind = UNWIND_UNSUPPORTED;
    if (!instructions_run(&cie, cie.instructions, 0, UINT64_MAX, &initial, &initial))
        return;
    state = initial;
    if (instructions_run(&cie, cursor, start, pc, &initial, &state))
        state_row(&state, ret_row);
}
