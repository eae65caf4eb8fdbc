/* SPDX-License-Identifier: MIT */
/*
 * Stack trees from what the scheduler told
 *
 *   CPU      the program's frames, then the kernel's on top of them; as long as the samples stand for
 *   OFFCPU   the stack that left the CPU, and on top what for: a system call, or a page fault, storage ...
 * The time it was ready to run and had no CPU is a leaf of its own OFFWAKE  the stack that left the CPU to
 * wait, "--", the stack that ended that turned over, and whose it is; the time until then. What nobody has
 * ended yet is not in it
 *
 * Idle is of a thread's time off a CPU what counts as MODEL_IDLE (timeline.h).
 */
#include <errno.h>

#include "model/syscall.h"
#include "model/tree_draft.h"

static bool thread_matches(const struct model *model, const struct model_tree_filter *filter,
                           uint32_t thread) {
    return (filter->thread == MODEL_NONE || filter->thread == thread) &&
           (filter->process == MODEL_NONE || filter->process == model->threads[thread].process);
}

static void node_add(struct tree_draft *draft, uint32_t node, uint64_t ns, uint64_t count) {
    draft->nodes[node].self_ns += ns;
    draft->nodes[node].count += count;
}

/* Adds the frames of a stack one on the other on top of *node, from its root or from its leaf on. */
static int frames_add(struct tree_draft *draft, uint32_t stack_index, bool leaf_first, uint32_t *node) {
    if (stack_index == MODEL_NONE)
        return 0;
    const struct model_stack *stack = &draft->model->stacks[stack_index];
    uint32_t count = stack->frame_count;
    while (count > 1 && frame_nature(stack->frames[count - 1]) == FRAME_START)
        count--;
    for (uint32_t i = 0; i < count; i++) {
        struct child_key key = {.parent = *node, .frame = stack->frames[leaf_first ? i : count - 1 - i]};
        int rc = draft_node(draft, &key, node);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int sample_draw(struct tree_draft *draft, const struct off_sample *sample) {
    uint32_t node;
    int rc = draft_path(draft, sample->stack, &node);
    if (rc == 0)
        rc = frames_add(draft, sample->kernel_stack, false, &node);
    if (rc == 0)
        node_add(draft, node, sample->ns, sample->count);
    return rc;
}

static const char *origin_name(const struct off_origin *origin) {
    bool in_call = origin->kind != MODEL_OFF_PAGE_FAULT && origin->kind != MODEL_OFF_STOPPED;
    const char *call = in_call && origin->syscall ? syscall_name(origin->syscall - 1U) : NULL;
    return call ? call : model_off_kind_name((enum model_off_kind)origin->kind);
}

static int leaf_add(struct tree_draft *draft, uint32_t parent, const char *name, uint64_t ns,
                    uint64_t count) {
    struct child_key key = {.parent = parent};
    uint32_t node;
    int rc = draft_label(draft, name, &key.label);
    if (rc == 0)
        rc = draft_node(draft, &key, &node);
    if (rc == 0)
        node_add(draft, node, ns, count);
    return rc;
}

static int stretches_draw(struct tree_draft *draft, const struct off_origin *origin, uint64_t blocked) {
    static const char NO_CPU[] = "no CPU";
    uint32_t node;
    if (blocked + origin->delay == 0)
        return 0;
    int rc = draft_path(draft, origin->stack, &node);
    /* A stretch counts once, also where it has two parts. */
    if (rc == 0 && blocked > 0)
        rc = leaf_add(draft, node, origin_name(origin), blocked, origin->count);
    if (rc == 0 && origin->delay > 0)
        rc = leaf_add(draft, node, NO_CPU, origin->delay, blocked > 0 ? 0 : origin->count);
    return rc;
}

static int wakes_draw(struct tree_draft *draft, const struct off_origin *origin, uint64_t blocked) {
    struct model_waker waker = off_origin_waker(draft->model, origin);
    struct child_key border = {.label = "--"};
    uint32_t node;
    if (blocked == 0 || !off_origin_was_woken(origin))
        return 0;
    int rc = draft_path(draft, origin->stack, &border.parent);
    if (rc == 0)
        rc = draft_node(draft, &border, &node);
    if (rc == 0)
        rc = frames_add(draft, origin->waker_stack, true, &node);
    return rc == 0 ? leaf_add(draft, node, waker.name, blocked, origin->count) : rc;
}

int schedule_tree_draw(struct tree_draft *draft, const struct model_tree_filter *filter) {
    const struct off_cpu *off_cpu = &draft->model->off_cpu;
    int rc = 0;
    if (draft->kind == MODEL_TREE_CPU) {
        for (uint32_t i = 0; rc == 0 && i < off_cpu->sample_count; i++)
            if (thread_matches(draft->model, filter, off_cpu->samples[i].thread))
                rc = sample_draw(draft, &off_cpu->samples[i]);
        return rc;
    }
    for (uint32_t i = 0; rc == 0 && i < off_cpu->origin_count; i++) {
        const struct off_origin *origin = &off_cpu->origins[i];
        uint64_t blocked = origin->ns - origin->delay - (filter->include_idle ? 0 : origin->idle);
        if (thread_matches(draft->model, filter, origin->thread))
            rc = draft->kind == MODEL_TREE_OFFCPU ? stretches_draw(draft, origin, blocked)
                                                  : wakes_draw(draft, origin, blocked);
    }
    return rc;
}
