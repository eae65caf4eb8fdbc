/* SPDX-License-Identifier: MIT */
/*
 * Which nodes of a stack tree become frames of the picture, and where they begin. A picture cannot
 * show what is narrower than a pixel, and a file of a million frames opens nowhere: siblings too
 * narrow to see are merged into one frame that says so, what is narrower still is left out, and
 * both are counted.
 */
#ifndef WAITSCOPE_VIEWER_EXPORT_SVG_LAYOUT_H
#define WAITSCOPE_VIEWER_EXPORT_SVG_LAYOUT_H

#include "viewer/export/flame.h"

#define SVG_FRAMES_MAXIMUM 12000U /* at about 350 bytes each */
#define SVG_ROWS_MAXIMUM 300U
#define SVG_PIXELS_LEAST 0.3 /* narrower nodes are no frames of their own */

struct svg_frame {
    uint32_t node;   /* the first of them, where several are merged */
    uint32_t merged; /* siblings that this frame stands for, 0: one node itself */
    uint32_t row;    /* 0: the root */
    uint64_t begin;  /* ns from the left edge of the picture */
    uint64_t total;  /* ns */
    uint64_t count;  /* waits, samples ... */
};

struct svg_layout {
    struct svg_frame *frames; /* depth first */
    uint32_t frame_count;
    uint32_t row_count;
    uint64_t least_ns; /* narrower ones are no frames of their own */
    /* What has no frame of its own, merged or left out: nodes with all below them, and their time. */
    uint64_t omitted_nodes, omitted_ns;
};

/* `pixels` is the width of the picture. 0 or -ENOMEM. */
int svg_layout_make(const struct export_flame *flame, unsigned pixels, struct svg_layout *ret_layout);
/* Frees what it holds; fine on a zeroed one. */
void svg_layout_release(struct svg_layout *layout);

#endif
