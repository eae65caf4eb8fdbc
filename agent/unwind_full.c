/* SPDX-License-Identifier: MIT */
#include "agent/unwind_full.h"

#include <errno.h>

#include "agent/unwind_step.h"

struct full_state {
    uint64_t values[CFI_REGISTERS]; /* [CFI_RETURN] is the pc */
    uint32_t known;                 /* a bit for each of values */
    bool is_return;
    struct unwind_bounds bounds;
};

static bool register_get(const struct full_state *state, uint64_t reg, uint64_t *ret_value) {
    if (reg >= CFI_REGISTERS || !(state->known >> reg & 1))
        return false;
    *ret_value = state->values[reg];
    return true;
}

/* --- expressions: DWARF 5 section 2.5 ----------------------------------------------------------------- */

#define OPERANDS_MAX 16
#define OPERATIONS_MAX 64U /* an expression may branch backwards */

struct operands {
    uint64_t values[OPERANDS_MAX];
    unsigned count;
};

static bool operand_push(struct operands *operands, uint64_t value) {
    if (operands->count == OPERANDS_MAX)
        return false;
    operands->values[operands->count++] = value;
    return true;
}

static bool binary_evaluate(uint8_t operation, uint64_t left, uint64_t right, uint64_t *ret_value) {
    int64_t left_signed = (int64_t)left, right_signed = (int64_t)right;
    switch (operation) {
    case 0x1a: /* and */
        *ret_value = left & right;
        return true;
    case 0x1c: /* minus */
        *ret_value = left - right;
        return true;
    case 0x1e: /* mul */
        *ret_value = left * right;
        return true;
    case 0x21: /* or */
        *ret_value = left | right;
        return true;
    case 0x22: /* plus */
        *ret_value = left + right;
        return true;
    case 0x24: /* shl */
        *ret_value = right < 64 ? left << right : 0;
        return true;
    case 0x25: /* shr */
        *ret_value = right < 64 ? left >> right : 0;
        return true;
    case 0x26: /* shra */
        *ret_value = (uint64_t)(left_signed >> (right < 64 ? right : 63));
        return true;
    case 0x27: /* xor */
        *ret_value = left ^ right;
        return true;
    case 0x29: /* eq */
        *ret_value = left_signed == right_signed;
        return true;
    case 0x2a: /* ge */
        *ret_value = left_signed >= right_signed;
        return true;
    case 0x2b: /* gt */
        *ret_value = left_signed > right_signed;
        return true;
    case 0x2c: /* le */
        *ret_value = left_signed <= right_signed;
        return true;
    case 0x2d: /* lt */
        *ret_value = left_signed < right_signed;
        return true;
    case 0x2e: /* ne */
        *ret_value = left_signed != right_signed;
        return true;
    default:
        return false;
    }
}

/* What an operation has in its own bytes; the signed ones are 0x09, 0x0b, 0x0d, 0x0f. */
static uint64_t constant_read(uint8_t operation, struct cfi_cursor *code) {
    unsigned bytes = 1U << ((operation - 0x08U) / 2);
    uint64_t value = cfi_read_fixed(code, bytes);
    if ((operation & 1) && bytes < 8)
        return (uint64_t)((int64_t)(value << (64 - 8 * bytes)) >> (64 - 8 * bytes));
    return value;
}

/* One operation; false: unknown, or it needs what is not there. */
static bool operation_run(const struct full_state *state, uint8_t operation, struct cfi_cursor *code,
                          struct operands *operands) {
    uint64_t *top = &operands->values[operands->count ? operands->count - 1 : 0], value;
    bool constant = operation == 0x03 || (operation >= 0x08 && operation <= 0x11) || operation >= 0x30;

    if (constant) {
        if (operation >= 0x30 && operation <= 0x4f) /* lit */
            return operand_push(operands, operation - 0x30U);
        if (operation >= 0x70 && operation <= 0x8f) { /* breg */
            int64_t offset = cfi_read_sleb(code);
            return register_get(state, operation - 0x70U, &value) &&
                   operand_push(operands, value + (uint64_t)offset);
        }
        if (operation == 0x92) { /* bregx */
            uint64_t reg = cfi_read_uleb(code);
            int64_t offset = cfi_read_sleb(code);
            return register_get(state, reg, &value) && operand_push(operands, value + (uint64_t)offset);
        }
        if (operation == 0x96) /* nop */
            return true;
        if (operation == 0x03) /* addr */
            return operand_push(operands, cfi_read_fixed(code, 8));
        if (operation == 0x10) /* constu */
            return operand_push(operands, cfi_read_uleb(code));
        if (operation == 0x11) /* consts */
            return operand_push(operands, (uint64_t)cfi_read_sleb(code));
        return operation <= 0x0f && operand_push(operands, constant_read(operation, code));
    }
    if (operation == 0x2f) { /* skip */
        int16_t distance = (int16_t)cfi_read_fixed(code, 2);
        code->at += distance;
        return true;
    }
    if (operands->count == 0)
        return false;
    switch (operation) {
    case 0x06: /* deref */
        return unwind_word_read(&state->bounds, *top, top);
    case 0x12: /* dup */
        return operand_push(operands, *top);
    case 0x13: /* drop */
        operands->count--;
        return true;
    case 0x15: { /* pick */
        uint64_t depth = cfi_read_fixed(code, 1);
        return depth < operands->count && operand_push(operands, top[-(int64_t)depth]);
    }
    case 0x19: /* abs */
        *top = (int64_t)*top < 0 ? -*top : *top;
        return true;
    case 0x1f: /* neg */
        *top = -*top;
        return true;
    case 0x20: /* not */
        *top = ~*top;
        return true;
    case 0x23: /* plus_uconst */
        *top += cfi_read_uleb(code);
        return true;
    case 0x28: { /* bra */
        int16_t distance = (int16_t)cfi_read_fixed(code, 2);
        operands->count--;
        if (*top != 0)
            code->at += distance;
        return true;
    }
    default:
        break;
    }
    if (operands->count < 2)
        return false;
    switch (operation) {
    case 0x14: /* over */
        return operand_push(operands, top[-1]);
    case 0x16: /* swap */
        value = *top;
        *top = top[-1];
        top[-1] = value;
        return true;
    default:
        operands->count--;
        return binary_evaluate(operation, top[-1], *top, &top[-1]);
    }
}

static bool expression_evaluate(const struct full_state *state, struct cfi_cursor code, const uint64_t *first,
                                uint64_t *ret_value) {
    struct operands operands = {.count = 0};
    const uint8_t *begin = code.at;
    if (first)
        operand_push(&operands, *first);
    for (unsigned i = 0; code.at < code.end; i++) {
        if (i == OPERATIONS_MAX || code.at < begin)
            return false;
        uint8_t operation = *code.at++;
        if (!operation_run(state, operation, &code, &operands))
            return false;
    }
    if (operands.count == 0)
        return false;
    *ret_value = operands.values[operands.count - 1];
    return true;
}

/* --- frames ------------------------------------------------------------------------------------------- */

/* The caller's value of a register. Returns whether it is known. */
static bool rule_apply(const struct full_state *state, const struct cfi *cfi, uint64_t cfa, unsigned reg,
                       uint64_t *ret_value) {
    int32_t value = cfi->state.values[reg];
    uint64_t address;
    switch (cfi->state.rules[reg]) {
    case CFI_SAME:
        if (reg == CFI_RSP) {
            *ret_value = cfa;
            return true;
        }
        return register_get(state, reg, ret_value);
    case CFI_OFFSET:
        return unwind_word_read(&state->bounds, cfa + (uint64_t)(int64_t)value, ret_value);
    case CFI_VALUE_OFFSET:
        *ret_value = cfa + (uint64_t)(int64_t)value;
        return true;
    case CFI_EXPRESSION:
        return expression_evaluate(state, cfi_expression(cfi, value), &cfa, &address) &&
               unwind_word_read(&state->bounds, address, ret_value);
    case CFI_VALUE:
        return expression_evaluate(state, cfi_expression(cfi, value), &cfa, ret_value);
    case CFI_OTHER_REGISTER:
        return register_get(state, (uint64_t)value, ret_value);
    default:
        return false;
    }
}

static enum unwind_stepped frame_pointer_step(struct full_state *state, const struct unwind_stack *stack) {
    struct unwind_state simple = {state->values[CFI_RETURN], state->values[CFI_RSP], state->values[CFI_RBP],
                                  state->is_return};
    if (!(state->known >> CFI_RBP & 1))
        return UNWIND_STUCK;
    enum unwind_stepped stepped = unwind_step(&simple, &state->bounds, stack, CFI_ROW_FRAME);
    state->values[CFI_RETURN] = simple.pc;
    state->values[CFI_RSP] = simple.sp;
    state->values[CFI_RBP] = simple.bp;
    state->known = 1U << CFI_RETURN | 1U << CFI_RSP | 1U << CFI_RBP;
    state->is_return = true;
    return stepped;
}

static enum unwind_stepped full_step(struct full_state *state, const struct unwind_stack *stack) {
    struct unwind_object object;
    struct cfi cfi;
    uint64_t pc = state->values[CFI_RETURN], sp = state->values[CFI_RSP], cfa;

    if (!unwind_object_find(state->is_return ? pc - 1 : pc, &object))
        return frame_pointer_step(state, stack);
    int error = unwind_cfi_find(&object, state->is_return ? pc - 1 : pc, &cfi);
    if (error < 0)
        return error == -ENOENT ? frame_pointer_step(state, stack) : UNWIND_STUCK;
    if (cfi.state.rules[CFI_RETURN] == CFI_UNDEFINED)
        return UNWIND_COMPLETE;
    if (cfi.state.cfa_expression) {
        if (!expression_evaluate(state, cfi_expression(&cfi, cfi.state.cfa_value), NULL, &cfa))
            return UNWIND_STUCK;
    } else {
        if (!register_get(state, cfi.state.cfa_register, &cfa))
            return UNWIND_STUCK;
        cfa += (uint64_t)(int64_t)cfi.state.cfa_value;
    }

    struct full_state caller = {.is_return = !cfi.signal_frame, .bounds = state->bounds};
    for (unsigned i = 0; i < CFI_REGISTERS; i++)
        if (rule_apply(state, &cfi, cfa, i, &caller.values[i]))
            caller.known |= 1U << i;
    const uint32_t needed = 1U << CFI_RETURN | 1U << CFI_RSP;
    if ((caller.known & needed) != needed || cfi.state.rules[CFI_RETURN] == CFI_SAME)
        return UNWIND_STUCK;
    if (cfi.signal_frame)
        caller.bounds = unwind_bounds_interrupted(stack, caller.values[CFI_RSP]);
    else if (caller.values[CFI_RSP] < sp)
        return UNWIND_STUCK;
    if (caller.values[CFI_RETURN] == 0)
        return UNWIND_COMPLETE;
    *state = caller;
    return UNWIND_ON;
}

/* What a called function has of its caller's registers. */
#define REGISTERS_KEPT (1U << 3 | 1U << CFI_RBP | 1U << CFI_RSP | 0xfU << 12 | 1U << CFI_RETURN)
#define CALLS_BETWEEN_MAX 6U

__attribute__((noinline)) size_t unwind_full_walk(const struct unwind_registers *registers,
                                                  const struct unwind_stack *stack, uint64_t *ret_frames,
                                                  size_t frames_max, bool *ret_complete) {
    struct full_state state = {.known = REGISTERS_KEPT};
    __asm__ volatile("mov %%rbx, 3*8(%0)\n\tmov %%rbp, 6*8(%0)\n\tmov %%rsp, 7*8(%0)\n\t"
                     "mov %%r12, 12*8(%0)\n\tmov %%r13, 13*8(%0)\n\tmov %%r14, 14*8(%0)\n\t"
                     "mov %%r15, 15*8(%0)\n\tlea 0(%%rip), %%rax\n\tmov %%rax, 16*8(%0)"
                     :
                     : "r"(state.values)
                     : "rax", "memory");
    state.bounds = unwind_bounds_at(stack, state.values[CFI_RSP]);
    for (unsigned i = 0; state.values[CFI_RSP] != registers->sp; i++)
        if (i == CALLS_BETWEEN_MAX || full_step(&state, stack) != UNWIND_ON)
            return 0;

    state.values[CFI_RETURN] = registers->pc;
    state.is_return = false;
    size_t count = 0;
    while (count < frames_max) {
        ret_frames[count++] = state.values[CFI_RETURN];
        enum unwind_stepped stepped = full_step(&state, stack);
        *ret_complete = stepped == UNWIND_COMPLETE;
        if (stepped != UNWIND_ON)
            break;
    }
    return count;
}
