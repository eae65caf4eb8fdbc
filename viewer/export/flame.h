/* SPDX-License-Identifier: MIT */
/*
 * A stack tree with what a flame graph says about it: all that the writers of flame graph formats
 * take, so that they can be fed without a trace. Nothing here is owned by the struct.
 */
#ifndef WAITSCOPE_VIEWER_EXPORT_FLAME_H
#define WAITSCOPE_VIEWER_EXPORT_FLAME_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "model/model.h"

struct export_flame {
    const struct model_tree_node *nodes; /* as model_tree_nodes() gives them */
    uint32_t node_count;
    enum model_tree_kind kind;
    bool inverted;
    const char *title;     /* NULL: the kind's own */
    const char *command;   /* NULL unknown */
    const char *selection; /* what was selected, in words; NULL: the whole trace */
    uint64_t duration_ns;  /* of the trace, 0 unknown */
};

/* Both return what export_format.write does. */
int folded_write(const struct export_flame *flame, FILE *file);
int svg_write(const struct export_flame *flame, FILE *file);

/* True where there is no time to show: an empty picture would say nothing. */
static inline bool export_flame_is_empty(const struct export_flame *flame) {
    return flame->node_count == 0 || flame->nodes[0].total_ns == 0;
}

/* What a node is called where no source line is shown. */
static inline const char *export_node_name(const struct model_tree_node *node) {
    const char *name = node->label ? node->label : node->frame ? node->frame->function : NULL;
    return name && name[0] != '\0' ? name : "[unknown]";
}

#endif
