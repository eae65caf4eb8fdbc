/* SPDX-License-Identifier: MIT */
#include "viewer/export/svg_layout.h"

#include <errno.h>
#include <stdlib.h>

/* Places frames in one walk; with no array to fill it only counts them. */
struct walk {
    const struct export_flame *flame;
    struct svg_layout *layout;
    uint64_t *next;     /* by row: where the next frame begins */
    uint64_t *end;      /* by row: where its parent ends, so that no sum error draws beyond it */
    uint32_t row_limit; /* of frames; next and end have one more */
};

/* Takes the space from its row; the rows below start where this frame starts. */
static void walk_place(struct walk *walk, uint32_t node, uint32_t merged, uint32_t row, uint64_t total,
                       uint64_t count) {
    struct svg_layout *layout = walk->layout;
    uint64_t begin = walk->next[row], room = walk->end[row] - begin;
    if (total > room)
        total = room;
    walk->next[row] = begin + total;
    walk->next[row + 1] = begin;
    walk->end[row + 1] = begin + total;
    if (row + 1 > layout->row_count)
        layout->row_count = row + 1;
    if (layout->frames)
        layout->frames[layout->frame_count] = (struct svg_frame){
            .node = node, .merged = merged, .row = row, .begin = begin, .total = total, .count = count};
    layout->frame_count++;
}

static bool walk_omits(const struct walk *walk, const struct model_tree_node *node) {
    return node->depth >= walk->row_limit || node->total_ns < walk->layout->least_ns || node->total_ns == 0;
}

/*
 * The siblings from `node` on that get no frame of their own: as siblings come widest first, all that
 * are left below their parent. Returns the first node after them.
 */
static uint32_t walk_omit(struct walk *walk, uint32_t node, uint32_t last) {
    const struct model_tree_node *nodes = walk->flame->nodes;
    struct svg_layout *layout = walk->layout;
    uint32_t first = node, siblings = 0, row = nodes[node].depth;
    uint64_t total = 0, count = 0;
    while (node <= last && nodes[node].depth == row && walk_omits(walk, &nodes[node])) {
        total += nodes[node].total_ns;
        count += nodes[node].count;
        layout->omitted_nodes += (uint64_t)nodes[node].subtree + 1;
        siblings++;
        node += nodes[node].subtree + 1;
    }
    layout->omitted_ns += total;
    if (total >= layout->least_ns && total > 0 && row < walk->row_limit)
        walk_place(walk, first, siblings, row, total, count);
    return node;
}

static void walk_run(struct walk *walk) {
    const struct export_flame *flame = walk->flame;
    const struct model_tree_node *nodes = flame->nodes;
    struct svg_layout *layout = walk->layout;
    uint32_t last = flame->node_count - 1;
    layout->frame_count = layout->row_count = 0;
    layout->omitted_nodes = layout->omitted_ns = 0;
    walk->next[0] = 0;
    walk->end[0] = nodes[0].total_ns;
    for (uint32_t i = 0; i <= last;) {
        const struct model_tree_node *node = &nodes[i];
        if (walk_omits(walk, node)) {
            i = walk_omit(walk, i, last);
        } else {
            walk_place(walk, i, 0, node->depth, node->total_ns, node->count);
            i++;
        }
    }
}

int svg_layout_make(const struct export_flame *flame, unsigned pixels, struct svg_layout *ret_layout) {
    uint32_t rows = 0;
    for (uint32_t i = 0; i < flame->node_count; i++)
        if (flame->nodes[i].depth >= rows)
            rows = flame->nodes[i].depth + 1;
    struct svg_layout layout = {0};
    struct walk walk = {
        .flame = flame,
        .layout = &layout,
        .row_limit = rows < SVG_ROWS_MAXIMUM ? rows : SVG_ROWS_MAXIMUM,
    };
    int error = -ENOMEM;
    walk.next = calloc((size_t)walk.row_limit + 2, sizeof(*walk.next));
    walk.end = calloc((size_t)walk.row_limit + 2, sizeof(*walk.end));
    if (!walk.next || !walk.end)
        goto cleanup;

    /* A row holds at most total / least_ns frames, so doubling ends before least_ns passes total. */
    uint64_t total = flame->nodes[0].total_ns;
    layout.least_ns = (uint64_t)((double)total * SVG_PIXELS_LEAST / pixels);
    if (layout.least_ns == 0)
        layout.least_ns = 1;
    walk_run(&walk);
    while (layout.frame_count > SVG_FRAMES_MAXIMUM) {
        layout.least_ns *= 2;
        walk_run(&walk);
    }

    layout.frames = calloc(layout.frame_count, sizeof(*layout.frames));
    if (!layout.frames)
        goto cleanup;
    walk_run(&walk);
    *ret_layout = layout;
    error = 0;

cleanup:
    free(walk.end);
    free(walk.next);
    return error;
}

void svg_layout_release(struct svg_layout *layout) {
    free(layout->frames);
    layout->frames = NULL;
}
