/* SPDX-License-Identifier: MIT */
/*
 * Stack trees: stacks merged from the root, with the lock's name as a leaf below each. The path of a
 * stack is walked once, however many waits it has. Those of the scheduler's are drawn in schedule_tree.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/tree_draft.h"

static bool child_equal(const void *context, uint32_t index, const void *key) {
    const struct model_tree_node *have = &((const struct tree_draft *)context)->nodes[index];
    const struct child_key *wanted = key;
    return have->parent == wanted->parent && have->frame == wanted->frame && have->label == wanted->label;
}

int draft_node(struct tree_draft *draft, const struct child_key *key, uint32_t *ret_node) {
    uint64_t hash = hash_mix(hash_mix((uintptr_t)key->frame ^ (uintptr_t)key->label) ^ key->parent);
    uint32_t index = hash_set_find(&draft->children, hash, child_equal, draft, key);
    if (index == UINT32_MAX) {
        int rc = array_reserve(&draft->nodes, draft->count, &draft->room, sizeof(*draft->nodes));
        if (rc == 0)
            rc = hash_set_add(&draft->children, hash, draft->count);
        if (rc < 0)
            return rc;
        index = draft->count++;
        draft->nodes[index] = (struct model_tree_node){
            .frame = key->frame,
            .label = key->label,
            .parent = key->parent,
            .depth = key->parent == MODEL_NONE ? 0 : draft->nodes[key->parent].depth + 1,
        };
    }
    *ret_node = index;
    return 0;
}

/* What a name is told with, at the end of a path. */
static const char *const LABEL_PREFIXES[MODEL_TREE_COUNT] = {[MODEL_TREE_WAIT] = "wait: ",
                                                             [MODEL_TREE_BLAME] = "blocks: ",
                                                             [MODEL_TREE_CPU] = "",
                                                             [MODEL_TREE_OFFCPU] = "off-CPU: ",
                                                             [MODEL_TREE_OFFWAKE] = "woken by: "};

static bool label_equal(const void *context, uint32_t index, const void *key) {
    return ((const struct tree_draft *)context)->labels[index].name == key;
}

int draft_label(struct tree_draft *draft, const char *name, const char **ret_label) {
    uint64_t hash = hash_mix((uintptr_t)name);
    uint32_t index = hash_set_find(&draft->label_set, hash, label_equal, draft, name);
    if (index == UINT32_MAX) {
        const char *before = LABEL_PREFIXES[draft->kind];
        char *text = arena_alloc(&draft->tree->arena, strlen(before) + strlen(name) + 1);
        int rc = text ? array_reserve(&draft->labels, draft->label_count, &draft->label_room,
                                      sizeof(*draft->labels))
                      : -ENOMEM;
        if (rc == 0)
            rc = hash_set_add(&draft->label_set, hash, draft->label_count);
        if (rc < 0)
            return rc;
        strcpy(stpcpy(text, before), name);
        index = draft->label_count++;
        draft->labels[index].name = name;
        draft->labels[index].text = text;
    }
    *ret_label = draft->labels[index].text;
    return 0;
}

int draft_path(struct tree_draft *draft, uint32_t stack_index, uint32_t *ret_node) {
    stack_index = stack_index == MODEL_NONE ? draft->model->unknown_stack : stack_index;
    if (draft->path_node[stack_index] == MODEL_NONE) {
        const struct model_stack *stack = &draft->model->stacks[stack_index];
        uint32_t outermost = stack->frame_count, node = 0;
        while (outermost > 1 && frame_nature(stack->frames[outermost - 1]) == FRAME_START)
            outermost--;
        for (uint32_t i = outermost; i-- > 0;) {
            struct child_key key = {.parent = node, .frame = stack->frames[i]};
            int rc = draft_node(draft, &key, &node);
            if (rc < 0)
                return rc;
        }
        draft->path_node[stack_index] = node;
    }
    *ret_node = draft->path_node[stack_index];
    return 0;
}

static int draft_add(struct tree_draft *draft, uint32_t lock, uint32_t stack, uint64_t ns, uint64_t count) {
    struct child_key key = {0};
    uint32_t node;
    int rc = draft_path(draft, stack, &key.parent);
    if (rc == 0)
        rc = draft_label(draft, draft->model->locks[lock].name, &key.label);
    if (rc == 0)
        rc = draft_node(draft, &key, &node);
    if (rc < 0)
        return rc;
    draft->nodes[node].self_ns += ns;
    draft->nodes[node].count += count;
    return 0;
}

struct draft_lock {
    struct tree_draft *draft;
    uint32_t lock;
};

static int draft_blame(void *context, const struct blame_share *share) {
    struct draft_lock *to = context;
    return draft_add(to->draft, to->lock, share->stack, share->ns, share->count);
}

static int draft_one_lock(struct tree_draft *draft, uint32_t lock, const struct wait_filter *filter) {
    const struct model *model = draft->model;
    if (draft->kind == MODEL_TREE_BLAME)
        return blame_lock(model, lock, filter, draft_blame, &(struct draft_lock){draft, lock}, &draft->blame);
    for (uint32_t i = model->lock_wait_first[lock]; i < model->lock_wait_first[lock + 1]; i++) {
        const struct model_wait *wait = &model->waits[i];
        if (!wait_matches(model, filter, wait))
            continue;
        int rc = draft_add(draft, lock, wait->stack, wait->end - wait->begin, 1);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static const char *node_name(const struct model_tree_node *node) {
    return node->label ? node->label : node->frame ? node->frame->function : "";
}

static int compare_children(const void *left, const void *right, void *context) {
    const struct model_tree_node *nodes = context;
    uint32_t a, b;
    memcpy(&a, left, sizeof(a));
    memcpy(&b, right, sizeof(b));
    if (nodes[a].parent != nodes[b].parent)
        return nodes[a].parent < nodes[b].parent ? -1 : 1;
    if (nodes[a].total_ns != nodes[b].total_ns)
        return nodes[a].total_ns > nodes[b].total_ns ? -1 : 1;
    int names = strcmp(node_name(&nodes[a]), node_name(&nodes[b]));
    return names ? names : a < b ? -1 : a > b;
}

/* Lays the nodes out depth first, children widest first. */
static int draft_finish(struct tree_draft *draft) {
    struct model_tree_node *nodes = draft->nodes;
    uint32_t count = draft->count;
    for (uint32_t i = count; i-- > 0;) {
        nodes[i].total_ns += nodes[i].self_ns;
        if (i == 0)
            break;
        nodes[nodes[i].parent].total_ns += nodes[i].total_ns;
        nodes[nodes[i].parent].count += nodes[i].count;
    }
    int rc = -ENOMEM;
    uint32_t *sorted = malloc((size_t)count * sizeof(*sorted));
    uint32_t *first = calloc((size_t)count + 2, sizeof(*first));
    uint32_t *pending = malloc((size_t)count * sizeof(*pending));
    uint32_t *place = malloc((size_t)count * sizeof(*place));
    struct model_tree_node *laid = malloc((size_t)count * sizeof(*laid));
    if (!sorted || !first || !pending || !place || !laid)
        goto cleanup;
    for (uint32_t i = 1; i < count; i++) {
        sorted[i - 1] = i;
        first[nodes[i].parent + 1]++;
    }
    for (uint32_t i = 0; i < count; i++)
        first[i + 1] += first[i];
    qsort_r(sorted, count - 1, sizeof(*sorted), compare_children, nodes);
    uint32_t depth = 0, used = 0;
    pending[depth++] = 0;
    while (depth > 0) {
        uint32_t node = pending[--depth];
        place[node] = used;
        laid[used] = nodes[node];
        if (node != 0)
            laid[used].parent = place[nodes[node].parent];
        used++;
        for (uint32_t i = first[node + 1]; i > first[node]; i--)
            pending[depth++] = sorted[i - 1];
    }
    for (uint32_t i = count; i-- > 1;)
        laid[laid[i].parent].subtree += laid[i].subtree + 1;
    draft->tree->nodes = laid;
    draft->tree->count = count;
    laid = NULL;
    rc = 0;
cleanup:
    free(sorted);
    free(first);
    free(pending);
    free(place);
    free(laid);
    return rc;
}

int model_tree_build(const struct model *model, enum model_tree_kind kind,
                     const struct model_tree_filter *filter, struct model_tree **ret_tree) {
    struct wait_filter waits = {.idle = filter->include_idle,
                                .contended = true,
                                .process = filter->process,
                                .thread = filter->thread};
    struct tree_draft draft = {.model = model, .kind = kind};
    struct child_key root = {.parent = MODEL_NONE};
    uint32_t root_node;
    bool of_scheduler = kind >= MODEL_TREE_CPU;
    if ((filter->process != MODEL_NONE && filter->process >= model->process_count) ||
        (filter->thread != MODEL_NONE && filter->thread >= model->thread_count) ||
        (filter->lock != MODEL_NONE && (filter->lock >= model->lock_count || of_scheduler)))
        return -EINVAL;

    int rc = -ENOMEM;
    draft.tree = calloc(1, sizeof(*draft.tree));
    draft.path_node = malloc((size_t)model->stack_count * sizeof(*draft.path_node));
    if (!draft.tree || !draft.path_node || draft_node(&draft, &root, &root_node) < 0)
        goto cleanup;
    memset(draft.path_node, 0xff, (size_t)model->stack_count * sizeof(*draft.path_node));
    uint32_t from = filter->lock == MODEL_NONE ? 0 : filter->lock;
    uint32_t to = of_scheduler ? 0 : filter->lock == MODEL_NONE ? model->lock_count : filter->lock + 1;
    rc = of_scheduler ? schedule_tree_draw(&draft, filter) : 0;
    if (rc < 0)
        goto cleanup;
    for (uint32_t lock = from; lock < to; lock++)
        if ((rc = draft_one_lock(&draft, lock, &waits)) < 0)
            goto cleanup;
    if ((rc = draft_finish(&draft)) < 0)
        goto cleanup;
    *ret_tree = draft.tree;
    draft.tree = NULL;
cleanup:
    free(draft.nodes);
    hash_set_free(&draft.children);
    free(draft.path_node);
    free(draft.labels);
    hash_set_free(&draft.label_set);
    blame_space_free(&draft.blame);
    model_tree_free(draft.tree);
    return rc;
}

void model_tree_free(struct model_tree *tree) {
    if (!tree)
        return;
    arena_free(&tree->arena);
    free(tree->nodes);
    free(tree);
}

const struct model_tree_node *model_tree_nodes(const struct model_tree *tree, uint32_t *ret_count) {
    *ret_count = tree->count;
    return tree->nodes;
}
