/* SPDX-License-Identifier: MIT */
/*
 * How far the stacks of the recorded waits and releases reach. Each event counts, not each different stack:
 * it is told how much of what the report says rests on stacks that are cut off.
 */
#include <errno.h>
#include <stdlib.h>

#include "model/internal.h"

static enum model_stack_end stack_end(const struct model_stack *stack) {
    if (stack->flags & STACK_NO_INFORMATION)
        return MODEL_STACK_NO_INFORMATION;
    if (stack->flags & STACK_NO_RULE)
        return MODEL_STACK_NO_RULE;
    if (stack->flags & STACK_INCOMPLETE)
        return MODEL_STACK_UNREADABLE;
    return stack->flags & STACK_TRUNCATED ? MODEL_STACK_TRUNCATED : MODEL_STACK_COMPLETE;
}

int stack_ends_count(struct model *model) {
    /* By stack; the last is that of events that have none. */
    uint8_t *ends = malloc((size_t)model->stack_count + 1);
    if (!ends)
        return -ENOMEM;
    for (uint32_t i = 0; i < model->stack_count; i++)
        ends[i] = (uint8_t)stack_end(&model->stacks[i]);
    ends[model->stack_count] = MODEL_STACK_UNKNOWN;

    for (uint32_t i = 0; i < model->wait_count; i++) {
        uint32_t stack = model->waits[i].stack;
        if (model->waits[i].mode != LOCK_CLASS_FUTEX) /* of the kernel's, counted below */
            model->stack_ends[ends[stack < model->stack_count ? stack : model->stack_count]]++;
    }
    for (uint32_t i = 0; i < model->release_count; i++) {
        uint32_t stack = model->releases[i].stack;
        if (model->releases[i].mode != LOCK_CLASS_FUTEX)
            model->stack_ends[ends[stack < model->stack_count ? stack : model->stack_count]]++;
    }
    for (uint32_t i = 0; i < model->off_cpu.origin_count; i++) {
        const struct off_origin *origin = &model->off_cpu.origins[i];
        uint32_t stack = origin->stack < model->stack_count ? origin->stack : model->stack_count;
        model->kernel_stack_ends[ends[stack]] += origin->count;
    }
    for (uint32_t i = 0; i < model->off_cpu.sample_count; i++) {
        const struct off_sample *sample = &model->off_cpu.samples[i];
        uint32_t stack = sample->stack < model->stack_count ? sample->stack : model->stack_count;
        model->kernel_stack_ends[ends[stack]] += sample->count;
    }
    free(ends);
    return 0;
}

uint64_t model_stack_ends(const struct model *model, enum model_stack_end end) {
    return model->stack_ends[end];
}

uint64_t model_kernel_stack_ends(const struct model *model, enum model_stack_end end) {
    return model->kernel_stack_ends[end];
}
