/* SPDX-License-Identifier: MIT */
#include "format/cfi.h"

#include <errno.h>
#include <string.h>

/* Pointer encodings, LSB 5 section 10.5. */
enum { ENCODING_FORMAT = 0x0f, ENCODING_PCREL = 0x10, ENCODING_APPLICATION = 0x70 };

uint64_t cfi_read_uleb(struct cfi_cursor *cursor) {
    uint64_t value = 0;
    for (unsigned shift = 0; cursor->at < cursor->end && shift < 64; shift += 7) {
        uint8_t byte = *cursor->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            break;
    }
    return value;
}

int64_t cfi_read_sleb(struct cfi_cursor *cursor) {
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

uint64_t cfi_read_fixed(struct cfi_cursor *cursor, unsigned bytes) {
    uint64_t value = 0;
    if ((size_t)(cursor->end - cursor->at) < bytes) {
        cursor->at = cursor->end;
        return 0;
    }
    memcpy(&value, cursor->at, bytes);
    cursor->at += bytes;
    return value;
}

uint64_t cfi_read_encoded(struct cfi_cursor *cursor, uint8_t encoding, uint64_t bias) {
    const uint8_t *place = cursor->at;
    uint64_t value;
    switch (encoding & ENCODING_FORMAT) {
    case 0x1:
        value = cfi_read_uleb(cursor);
        break;
    case 0x2:
        value = cfi_read_fixed(cursor, 2);
        break;
    case 0x3:
        value = cfi_read_fixed(cursor, 4);
        break;
    case 0x9:
        value = (uint64_t)cfi_read_sleb(cursor);
        break;
    case 0xa:
        value = (uint64_t)(int64_t)(int16_t)cfi_read_fixed(cursor, 2);
        break;
    case 0xb:
        value = (uint64_t)(int64_t)(int32_t)cfi_read_fixed(cursor, 4);
        break;
    default:
        value = cfi_read_fixed(cursor, 8);
        break;
    }
    if ((encoding & ENCODING_APPLICATION) == ENCODING_PCREL)
        value += (uint64_t)(uintptr_t)place + bias;
    return value;
}

/* A length-prefixed entry: the cursor covers what follows the length, nothing where that does not fit. */
static struct cfi_cursor entry_cursor(const struct cfi_memory *memory, const uint8_t *entry) {
    struct cfi_cursor cursor = {entry, memory->end};
    uint64_t length = cfi_read_fixed(&cursor, 4);
    if (length == UINT32_MAX)
        length = cfi_read_fixed(&cursor, 8);
    if (length > (size_t)(cursor.end - cursor.at))
        length = 0;
    cursor.end = cursor.at + length;
    return cursor;
}

static bool common_information_read(const struct cfi_memory *memory, const uint8_t *entry,
                                    struct cfi_common *ret_cie) {
    struct cfi_common cie = {0};
    struct cfi_cursor cursor = entry_cursor(memory, entry);
    if (cursor.at == cursor.end || cfi_read_fixed(&cursor, 4) != 0)
        return false;
    uint8_t version = (uint8_t)cfi_read_fixed(&cursor, 1);
    const char *augmentation = (const char *)cursor.at;
    size_t letters = strnlen(augmentation, (size_t)(cursor.end - cursor.at));
    if (letters == (size_t)(cursor.end - cursor.at))
        return false;
    cursor.at += letters + 1;
    cie.code_align = cfi_read_uleb(&cursor);
    cie.data_align = cfi_read_sleb(&cursor);
    uint64_t return_register = version == 1 ? cfi_read_fixed(&cursor, 1) : cfi_read_uleb(&cursor);
    if (return_register != CFI_RETURN)
        return false;
    if (augmentation[0] == 'z') {
        cie.has_augmentation = true;
        uint64_t bytes = cfi_read_uleb(&cursor);
        if (bytes > (size_t)(cursor.end - cursor.at))
            return false;
        struct cfi_cursor data = {cursor.at, cursor.at + bytes};
        for (const char *letter = augmentation + 1; *letter; letter++) {
            if (*letter == 'R')
                cie.pointer_encoding = (uint8_t)cfi_read_fixed(&data, 1);
            else if (*letter == 'L')
                cfi_read_fixed(&data, 1);
            else if (*letter == 'P')
                cfi_read_encoded(&data, (uint8_t)cfi_read_fixed(&data, 1), memory->bias);
            else if (*letter == 'S')
                cie.signal_frame = true;
        }
        cursor.at += bytes;
    }
    cie.instructions = cursor;
    *ret_cie = cie;
    return true;
}

static struct cfi_cursor read_block(struct cfi_cursor *cursor) {
    uint64_t bytes = cfi_read_uleb(cursor);
    if (bytes > (size_t)(cursor->end - cursor->at))
        bytes = (size_t)(cursor->end - cursor->at);
    struct cfi_cursor block = {cursor->at, cursor->at + bytes};
    cursor->at += bytes;
    return block;
}

struct cfi_cursor cfi_expression(const struct cfi *cfi, int32_t distance) {
    struct cfi_cursor cursor = {cfi->anchor + distance, cfi->end};
    return read_block(&cursor);
}

#define STATES_REMEMBERED 8

struct program {
    const struct cfi_description *description;
    const struct cfi_state *initial; /* what restore goes back to */
    uint64_t pc;                     /* stop at the range that holds it */
    cfi_range *range;                /* NULL: nobody wants to know of those before */
    void *argument;
};

static bool rule_set(struct cfi_state *state, uint64_t reg, enum cfi_rule rule, int64_t value) {
    if (reg >= CFI_REGISTERS)
        return true;
    state->rules[reg] = (uint8_t)rule;
    state->values[reg] = (int32_t)value;
    return value == (int32_t)value;
}

static void rule_restore(struct cfi_state *state, uint64_t reg, const struct cfi_state *initial) {
    if (reg >= CFI_REGISTERS)
        return;
    state->rules[reg] = initial->rules[reg];
    state->values[reg] = initial->values[reg];
}

static bool cfa_set(struct cfi_state *state, uint64_t reg, int64_t value) {
    state->cfa_expression = false;
    state->cfa_register = (uint8_t)reg;
    state->cfa_value = (int32_t)value;
    return reg < CFI_REGISTERS && value == (int32_t)value;
}

/* Factors come from the file, and their product may be anything. */
static int64_t factored(uint64_t value, int64_t factor) {
    return (int64_t)(value * (uint64_t)factor);
}

/* The state holds from one location to the next. Returns true where that was the last one wanted. */
static bool range_end(const struct program *about, uint64_t from, uint64_t to, struct cfi *cfi) {
    const struct cfi_description *description = about->description;
    uint64_t high = description->start + description->bytes;
    if (about->range && from >= description->start && from < to && from < high)
        about->range(about->argument, from, to < high ? to : high, cfi);
    return to > about->pc;
}

/* Runs call frame instructions until the state for pc is reached. Returns false on what cannot be read;
 * *location is as far as it came. */
static bool instructions_run(const struct program *about, struct cfi_cursor program, uint64_t *location,
                             struct cfi *cfi) {
    struct cfi_state remembered[STATES_REMEMBERED], *state = &cfi->state;
    const struct cfi_common *cie = &about->description->common;
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
            fine = rule_set(state, low, CFI_OFFSET, factored(cfi_read_uleb(&program), cie->data_align));
            continue;
        case 0xc0: /* restore */
            rule_restore(state, low, about->initial);
            continue;
        default:
            switch (opcode) {
            case 0x00: /* nop */
                continue;
            case 0x01: /* set_loc */
                advance = *location;
                *location = cfi_read_encoded(&program, cie->pointer_encoding, about->description->bias);
                if (range_end(about, advance, *location, cfi))
                    return true;
                continue;
            case 0x02: /* advance_loc1 */
                advance = cfi_read_fixed(&program, 1);
                break;
            case 0x03: /* advance_loc2 */
                advance = cfi_read_fixed(&program, 2);
                break;
            case 0x04: /* advance_loc4 */
                advance = cfi_read_fixed(&program, 4);
                break;
            case 0x05:   /* offset_extended */
            case 0x14: { /* val_offset */
                reg = cfi_read_uleb(&program);
                int64_t offset = factored(cfi_read_uleb(&program), cie->data_align);
                fine = rule_set(state, reg, opcode == 0x05 ? CFI_OFFSET : CFI_VALUE_OFFSET, offset);
                continue;
            }
            case 0x11:   /* offset_extended_sf */
            case 0x15: { /* val_offset_sf */
                reg = cfi_read_uleb(&program);
                int64_t offset = factored((uint64_t)cfi_read_sleb(&program), cie->data_align);
                fine = rule_set(state, reg, opcode == 0x11 ? CFI_OFFSET : CFI_VALUE_OFFSET, offset);
                continue;
            }
            case 0x06: /* restore_extended */
                rule_restore(state, cfi_read_uleb(&program), about->initial);
                continue;
            case 0x07: /* undefined */
                rule_set(state, cfi_read_uleb(&program), CFI_UNDEFINED, 0);
                continue;
            case 0x08: /* same_value */
                rule_set(state, cfi_read_uleb(&program), CFI_SAME, 0);
                continue;
            case 0x09: { /* register */
                reg = cfi_read_uleb(&program);
                uint64_t other = cfi_read_uleb(&program);
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
                reg = cfi_read_uleb(&program);
                fine = cfa_set(state, reg, (int64_t)cfi_read_uleb(&program));
                continue;
            case 0x12: /* def_cfa_sf */
                reg = cfi_read_uleb(&program);
                fine = cfa_set(state, reg, factored((uint64_t)cfi_read_sleb(&program), cie->data_align));
                continue;
            case 0x0d: /* def_cfa_register */
                fine = cfa_set(state, cfi_read_uleb(&program), state->cfa_value);
                continue;
            case 0x0e: /* def_cfa_offset */
                fine = cfa_set(state, state->cfa_register, (int64_t)cfi_read_uleb(&program));
                continue;
            case 0x13: /* def_cfa_offset_sf */
                fine = cfa_set(state, state->cfa_register,
                               factored((uint64_t)cfi_read_sleb(&program), cie->data_align));
                continue;
            case 0x0f: { /* def_cfa_expression */
                int64_t distance = program.at - cfi->anchor;
                state->cfa_expression = true;
                state->cfa_value = (int32_t)distance;
                fine = distance == (int32_t)distance;
                read_block(&program);
                continue;
            }
            case 0x10: /* expression */
            case 0x16: /* val_expression */
                reg = cfi_read_uleb(&program);
                fine = rule_set(state, reg, opcode == 0x10 ? CFI_EXPRESSION : CFI_VALUE,
                                program.at - cfi->anchor);
                read_block(&program);
                continue;
            case 0x2d: /* GNU_window_save */
                continue;
            case 0x2e: /* GNU_args_size */
                cfi_read_uleb(&program);
                continue;
            default:
                return false;
            }
        }
        reg = *location;
        *location += advance * cie->code_align;
        if (range_end(about, reg, *location, cfi))
            return true;
    }
    return fine;
}

int cfi_description_read(const struct cfi_memory *memory, const uint8_t *entry,
                         struct cfi_description *ret_description) {
    struct cfi_description description = {.entry = entry, .end = memory->end, .bias = memory->bias};
    if (entry < memory->start || entry >= memory->end)
        return -ENOTSUP;
    struct cfi_cursor cursor = entry_cursor(memory, entry);
    const uint8_t *place = cursor.at;
    if (cursor.at == cursor.end)
        return -ENOENT;
    uint64_t distance = cfi_read_fixed(&cursor, 4);
    if (distance == 0)
        return -ENOENT;
    if (distance > (size_t)(place - memory->start) ||
        !common_information_read(memory, place - distance, &description.common))
        return -ENOTSUP;
    uint8_t encoding = description.common.pointer_encoding;
    description.start = cfi_read_encoded(&cursor, encoding, memory->bias);
    description.bytes = cfi_read_encoded(&cursor, encoding & ENCODING_FORMAT, memory->bias);
    if (description.bytes > UINT64_MAX - description.start)
        return -ENOTSUP;
    if (description.common.has_augmentation)
        read_block(&cursor);
    description.instructions = cursor;
    *ret_description = description;
    return 0;
}

const uint8_t *cfi_entry_next(const struct cfi_memory *memory, const uint8_t *entry) {
    struct cfi_cursor cursor = entry_cursor(memory, entry);
    /* A length of 0 ends it all, as does one that does not fit. */
    return cursor.at == cursor.end || cursor.end == memory->end ? NULL : cursor.end;
}

static int description_run(const struct program *program, struct cfi *ret_cfi) {
    const struct cfi_description *description = program->description;
    struct program first = {.description = description, .pc = UINT64_MAX};
    uint64_t location = 0;
    struct cfi cfi = {.signal_frame = description->common.signal_frame,
                      .anchor = description->entry,
                      .end = description->end};
    struct cfi_state initial = {0};
    first.initial = &initial;
    bool fine = instructions_run(&first, description->common.instructions, &location, &cfi);
    initial = cfi.state;
    struct program second = *program;
    second.initial = &initial;
    location = description->start;
    fine = fine && instructions_run(&second, description->instructions, &location, &cfi);
    if (program->range && location < description->start + description->bytes)
        program->range(program->argument, location, description->start + description->bytes,
                       fine ? &cfi : NULL);
    if (!fine)
        return -ENOTSUP;
    if (ret_cfi)
        *ret_cfi = cfi;
    return 0;
}

int cfi_find(const struct cfi_description *description, uint64_t pc, struct cfi *ret_cfi) {
    if (pc < description->start || pc - description->start >= description->bytes)
        return -ENOENT;
    struct program program = {.description = description, .pc = pc};
    return description_run(&program, ret_cfi);
}

void cfi_ranges(const struct cfi_description *description, cfi_range *range, void *argument) {
    struct program program = {
        .description = description, .pc = UINT64_MAX, .range = range, .argument = argument};
    description_run(&program, NULL);
}
