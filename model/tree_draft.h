/* SPDX-License-Identifier: MIT */
/* A stack tree while it is drawn: nodes are found by parent and what they show, and made where there is none.
 */
#ifndef WAITSCOPE_MODEL_TREE_DRAFT_H
#define WAITSCOPE_MODEL_TREE_DRAFT_H

#include "model/internal.h"

struct model_tree {
    struct arena arena;
    struct model_tree_node *nodes;
    uint32_t count;
};

struct tree_draft {
    const struct model *model;
    enum model_tree_kind kind;
    struct model_tree *tree;
    struct model_tree_node *nodes; /* in the order they were made: a parent before its children */
    uint32_t count, room;
    struct hash_set children;
    uint32_t *path_node; /* by stack: the node of its leaf frame, MODEL_NONE not made yet */
    struct {
        const char *name, *text;
    } * labels; /* one for each different name */
    uint32_t label_count, label_room;
    struct hash_set label_set;
    struct blame_space blame;
};

/* One of frame and label is NULL; both are told apart by address. */
struct child_key {
    uint32_t parent;
    const struct model_frame *frame;
    const char *label;
};

/* Each returns 0 or -ENOMEM. */
int draft_node(struct tree_draft *draft, const struct child_key *key, uint32_t *ret_node);
/* The node of a stack's leaf; MODEL_NONE: of the stand-in for what is not known. Thread starts are left out.
 */
int draft_path(struct tree_draft *draft, uint32_t stack, uint32_t *ret_node);
/* The text for a name, which is told apart by address. */
int draft_label(struct tree_draft *draft, const char *name, const char **ret_label);

/* schedule_tree.c */
int schedule_tree_draw(struct tree_draft *draft, const struct model_tree_filter *filter);

#endif
