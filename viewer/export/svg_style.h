/* SPDX-License-Identifier: MIT */
/* The colours of an SVG flame graph: what they mean, and the style sheet that gives them. */
#ifndef WAITSCOPE_VIEWER_EXPORT_SVG_STYLE_H
#define WAITSCOPE_VIEWER_EXPORT_SVG_STYLE_H

#include "model/model.h"
#include "viewer/export/output.h"

enum svg_category {
    SVG_APPLICATION,
    SVG_RUNTIME,
    SVG_NODE,
    SVG_LIBRARY,
    SVG_KERNEL,
    SVG_UNKNOWN,
    SVG_LABEL, /* synthetic nodes: a lock, a thread */
    SVG_ROOT,
    SVG_MERGED, /* frames too narrow to be drawn one by one */
    SVG_CATEGORY_COUNT
};

/* What the legend calls it. */
const char *svg_category_name(enum svg_category category);
enum svg_category svg_category_of(const struct model_tree_node *node);
/*
 * The class attribute of a frame, such as "a3": the category and, where it has several, a shade that
 * is the function's own wherever and whenever it is drawn.
 */
#define SVG_CLASS_BYTES 4
void svg_class_name(enum svg_category category, const char *function, char ret_name[SVG_CLASS_BYTES]);

/* The content of <style>: no url(), no import, nothing from the trace. */
void svg_style_put(struct output *out);

#endif
