/* SPDX-License-Identifier: MIT */
#include "agent/unwind_cfi.h"

#include <errno.h>
#include <string.h>

/* Pointer encodings, LSB 5 section 10.5. */
enum {
    ENCODING_FORMAT = 0x0f,
    ENCODING_PCREL = 0x10,
    ENCODING_APPLICATION = 0x70,
    ENCODING_DATAREL_SDATA4 = 0x3b
};

uint64_t unwind_read_uleb(struct unwind_cursor *cursor) {
    uint64_t value = 0;
    for (unsigned shift = 0; cursor->at < cursor->end && shift < 64; shift += 7) {
        uint8_t byte = *cursor->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            break;
    }
    return value;
}

int64_t unwind_read_sleb(struct unwind_cursor *cursor) {
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

uint64_t unwind_read_fixed(struct unwind_cursor *cursor, unsigned bytes) {
    uint64_t value = 0;
    if ((size_t)(cursor->end - cursor->at) < bytes) {
        cursor->at = cursor->end;
        return 0;
    }
    memcpy(&value, cursor->at, bytes);
    cursor->at += bytes;
    return value;
}

static uint64_t read_encoded(struct unwind_cursor *cursor, uint8_t encoding) {
    const uint8_t *place = cursor->at;
    uint64_t value;
    switch (encoding & ENCODING_FORMAT) {
    case 0x1:
        value = unwind_read_uleb(cursor);
        break;
    case 0x2:
        value = unwind_read_fixed(cursor, 2);
        break;
    case 0x3:
        value = unwind_read_fixed(cursor, 4);
        break;
    case 0x9:
        value = (uint64_t)unwind_read_sleb(cursor);
        break;
    case 0xa:
        value = (uint64_t)(int64_t)(int16_t)unwind_read_fixed(cursor, 2);
        break;
    case 0xb:
        value = (uint64_t)(int64_t)(int32_t)unwind_read_fixed(cursor, 4);
        break;
    default:
        value = unwind_read_fixed(cursor, 8);
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
    struct unwind_cursor instructions;
};

/* A length-prefixed entry of .eh_frame; the cursor covers what follows the length. */
static struct unwind_cursor entry_cursor(const uint8_t *entry) {
    uint32_t length32;
    memcpy(&length32, entry, 4);
    uint64_t length = length32;
    const uint8_t *at = entry + 4;
    if (length32 == UINT32_MAX) {
        memcpy(&length, at, 8);
        at += 8;
    }
    return (struct unwind_cursor){at, at + length};
}

static bool common_information_read(const uint8_t *entry, struct common_information *ret_cie) {
    struct common_information cie = {0};
    struct unwind_cursor cursor = entry_cursor(entry);
    if (unwind_read_fixed(&cursor, 4) != 0)
        return false;
    uint8_t version = (uint8_t)unwind_read_fixed(&cursor, 1);
    const char *augmentation = (const char *)cursor.at;
    cursor.at += strnlen(augmentation, (size_t)(cursor.end - cursor.at)) + 1;
    cie.code_align = unwind_read_uleb(&cursor);
    cie.data_align = unwind_read_sleb(&cursor);
    uint64_t return_register = version == 1 ? unwind_read_fixed(&cursor, 1) : unwind_read_uleb(&cursor);
    if (return_register != CFI_RETURN)
        return false;
    if (augmentation[0] == 'z') {
        cie.has_augmentation = true;
        uint64_t bytes = unwind_read_uleb(&cursor);
        struct unwind_cursor data = {cursor.at, cursor.at + bytes};
        if (bytes > (size_t)(cursor.end - cursor.at))
            return false;
        for (const char *letter = augmentation + 1; *letter; letter++) {
            if (*letter == 'R')
                cie.pointer_encoding = (uint8_t)unwind_read_fixed(&data, 1);
            else if (*letter == 'L')
                unwind_read_fixed(&data, 1);
            else if (*letter == 'P')
                read_encoded(&data, (uint8_t)unwind_read_fixed(&data, 1));
            else if (*letter == 'S')
                cie.signal_frame = true;
        }
        cursor.at += bytes;
    }
    cie.instructions = cursor;
    *ret_cie = cie;
    return true;
}

static struct unwind_cursor read_block(struct unwind_cursor *cursor) {
    uint64_t bytes = unwind_read_uleb(cursor);
    if (bytes > (size_t)(cursor->end - cursor->at))
        bytes = (size_t)(cursor->end - cursor->at);
    struct unwind_cursor block = {cursor->at, cursor->at + bytes};
    cursor->at += bytes;
    return block;
}

struct unwind_cursor unwind_cfi_expression(const struct unwind_cfi *cfi, int32_t distance) {
    struct unwind_cursor cursor = {cfi->anchor + distance, cfi->anchor + distance + 10};
    uint64_t bytes = unwind_read_uleb(&cursor);
    return (struct unwind_cursor){cursor.at, cursor.at + bytes};
}

#define STATES_REMEMBERED 8

struct program {
    const struct common_information *cie;
    const uint8_t *anchor;
    const struct unwind_cfi_state *initial; /* what restore goes back to */
};

static bool rule_set(struct unwind_cfi_state *state, uint64_t reg, enum unwind_cfi_rule rule, int64_t value) {
    if (reg >= CFI_REGISTERS)
        return true;
    state->rules[reg] = (uint8_t)rule;
    state->values[reg] = (int32_t)value;
    return value == (int32_t)value;
}

static void rule_restore(struct unwind_cfi_state *state, uint64_t reg,
                         const struct unwind_cfi_state *initial) {
    if (reg >= CFI_REGISTERS)
        return;
    state->rules[reg] = initial->rules[reg];
    state->values[reg] = initial->values[reg];
}

static bool cfa_set(struct unwind_cfi_state *state, uint64_t reg, int64_t value) {
    state->cfa_expression = false;
    state->cfa_register = (uint8_t)reg;
    state->cfa_value = (int32_t)value;
    return reg < CFI_REGISTERS && value == (int32_t)value;
}
/* Runs call frame instructions until the state for pc is reached. Returns false on what cannot be read. */
static bool instructions_run(const struct program *about, struct unwind_cursor program, uint64_t location,
                             uint64_t pc, struct unwind_cfi_state *state) {
    struct unwind_cfi_state remembered[STATES_REMEMBERED];
    const struct common_information *cie = about->cie;
    unsigned depth = 0;
    bool fine = true;

    while (program.at < program.end && fine) {
        uint8_t opcode = *program.at++;
        uint8_t low = opcode & 0x3f;
        uint64_t advance = 0, reg;
        switch (opcode & 0xc0) {
        case 0x40: /* advance_loc */
            advance = low;
            break;
        case 0x80: /* offset */
            fine = rule_set(state, low, CFI_OFFSET, (int64_t)unwind_read_uleb(&program) * cie->data_align);
            continue;
        case 0xc0: /* restore */
            rule_restore(state, low, about->initial);
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
                advance = unwind_read_fixed(&program, 1);
                break;
            case 0x03: /* advance_loc2 */
                advance = unwind_read_fixed(&program, 2);
                break;
            case 0x04: /* advance_loc4 */
                advance = unwind_read_fixed(&program, 4);
                break;
            case 0x05:   /* offset_extended */
            case 0x14: { /* val_offset */
                reg = unwind_read_uleb(&program);
                int64_t offset = (int64_t)unwind_read_uleb(&program) * cie->data_align;
                fine = rule_set(state, reg, opcode == 0x05 ? CFI_OFFSET : CFI_VALUE_OFFSET, offset);
                continue;
            }
            case 0x11:   /* offset_extended_sf */
            case 0x15: { /* val_offset_sf */
                reg = unwind_read_uleb(&program);
                int64_t offset = unwind_read_sleb(&program) * cie->data_align;
                fine = rule_set(state, reg, opcode == 0x11 ? CFI_OFFSET : CFI_VALUE_OFFSET, offset);
                continue;
            }
            case 0x06: /* restore_extended */
                rule_restore(state, unwind_read_uleb(&program), about->initial);
                continue;
            case 0x07: /* undefined */
                rule_set(state, unwind_read_uleb(&program), CFI_UNDEFINED, 0);
                continue;
            case 0x08: /* same_value */
                rule_set(state, unwind_read_uleb(&program), CFI_SAME, 0);
                continue;
            case 0x09: { /* register */
                reg = unwind_read_uleb(&program);
                uint64_t other = unwind_read_uleb(&program);
                fine = rule_set(state, reg, CFI_OTHER_REGISTER, (int64_t)other) && other < CFI_REGISTERS;
                continue;
            }
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
                reg = unwind_read_uleb(&program);
                fine = cfa_set(state, reg, (int64_t)unwind_read_uleb(&program));
                continue;
            case 0x12: /* def_cfa_sf */
                reg = unwind_read_uleb(&program);
                fine = cfa_set(state, reg, unwind_read_sleb(&program) * cie->data_align);
                continue;
            case 0x0d: /* def_cfa_register */
                fine = cfa_set(state, unwind_read_uleb(&program), state->cfa_value);
                continue;
            case 0x0e: /* def_cfa_offset */
                fine = cfa_set(state, state->cfa_register, (int64_t)unwind_read_uleb(&program));
                continue;
            case 0x13: /* def_cfa_offset_sf */
                fine = cfa_set(state, state->cfa_register, unwind_read_sleb(&program) * cie->data_align);
                continue;
            case 0x0f: { /* def_cfa_expression */
                int64_t distance = program.at - about->anchor;
                state->cfa_expression = true;
                state->cfa_value = (int32_t)distance;
                fine = distance == (int32_t)distance;
                read_block(&program);
                continue;
            }
            case 0x10: /* expression */
            case 0x16: /* val_expression */
                reg = unwind_read_uleb(&program);
                fine = rule_set(state, reg, opcode == 0x10 ? CFI_EXPRESSION : CFI_VALUE,
                                program.at - about->anchor);
                read_block(&program);
                continue;
            case 0x2d: /* GNU_window_save */
                continue;
            case 0x2e: /* GNU_args_size */
                unwind_read_uleb(&program);
                continue;
            default:
                return false;
            }
        }
        location += advance * cie->code_align;
        if (location > pc)
            return true;
    }
    return fine;
}

/* The FDE that may cover pc by the header's sorted table, NULL if there is none. */
static const uint8_t *description_find(const uint8_t *header, uint64_t pc) {
    struct search_entry {
        int32_t start, description;
    };
    if (header[0] != 1 || header[3] != ENCODING_DATAREL_SDATA4)
        return NULL;
    struct unwind_cursor cursor = {header + 4, header + 4 + 32};
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

int unwind_cfi_find(const struct unwind_object *object, uint64_t pc, struct unwind_cfi *ret_cfi) {
    const uint8_t *description = object->eh_frame_hdr ? description_find(object->eh_frame_hdr, pc) : NULL;
    if (!description)
        return -ENOENT;

    struct unwind_cursor cursor = entry_cursor(description);
    const uint8_t *place = cursor.at;
    uint32_t common_offset = (uint32_t)unwind_read_fixed(&cursor, 4);
    struct common_information cie;
    if (common_offset == 0 || !common_information_read(place - common_offset, &cie))
        return -ENOENT;
    uint64_t start = read_encoded(&cursor, cie.pointer_encoding);
    uint64_t bytes = read_encoded(&cursor, cie.pointer_encoding & ENCODING_FORMAT);
    if (pc < start || pc - start >= bytes)
        return -ENOENT;
    if (cie.has_augmentation)
        read_block(&cursor);

    struct unwind_cfi_state initial = {0};
    struct program about = {&cie, description, &initial};
    memset(&ret_cfi->state, 0, sizeof(ret_cfi->state));
    ret_cfi->signal_frame = cie.signal_frame;
    ret_cfi->anchor = description;
    if (!instructions_run(&about, cie.instructions, 0, UINT64_MAX, &initial))
        return -ENOTSUP;
    ret_cfi->state = initial;
    return instructions_run(&about, cursor, start, pc, &ret_cfi->state) ? 0 : -ENOTSUP;
}
