/* SPDX-License-Identifier: MIT */
/*
 * A flame graph as one SVG file. It is a complete picture without its script, drawn for a width of
 * PAGE pixels; the script then fits it to the window. What the script needs of a frame is in its
 * markup:
 *
 *   <g class="a3" data-t="begin,total,self,count,row" data-l="file.c:12">
 *     <title>function (file.c:12)
 *     module, path/file.c:12
 *     1.23 ms, 4.5 % of all, 7 waits</title><rect/><text/></g>
 *
 * Times are ns, begin counts from the left edge; data-l is left out where no line is known, the
 * title's second line where it would be empty. Everything that comes from the trace goes through
 * put_escaped(), and the script makes text nodes of it only.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "viewer/export/flame.h"
#include "viewer/export/output.h"
#include "viewer/export/svg_layout.h"
#include "viewer/export/svg_script.h"
#include "viewer/export/svg_style.h"
#include "viewer/export/text.h"

/* Pixels. */
#define PAGE 1200U
#define MARGIN 10U
#define ROW 18U
#define FRAME_HEIGHT 17U
#define FRAME_GAP 0.5
#define LABEL_INDENT 4U
#define LABEL_BASELINE 12U
#define COLUMN 7.23 /* DejaVu Sans Mono at 12 px, the widest of the usual monospace fonts */
#define HEADER 136U
#define LEGEND_Y 86U
#define FOOTER 40U

#define LABEL_COLUMNS_LEAST 3U
#define SELECTION_COLUMNS 90U
#define COMMAND_COLUMNS 118U /* leaves room for what a search found */

static const struct {
    const char *title, *reading, *waited;
    const char *unit;  /* what is counted; its plural has an s */
    const char *label; /* what the synthetic nodes are */
} KINDS[MODEL_TREE_COUNT] = {
    [MODEL_TREE_WAIT] = {"Lock wait by waiter", "The width is the time waited", "waited", "wait", "lock"},
    [MODEL_TREE_BLAME] = {"Blame: who made others wait", "The width is the time that others waited for it",
                          "waited by others", "wait", "lock"},
    [MODEL_TREE_CPU] = {"On a CPU", "The width is the time on a CPU, by samples", "on a CPU", "sample", ""},
    [MODEL_TREE_OFFCPU] = {"Off the CPU", "The width is the time on no CPU", "off the CPU", "pause",
                           "what for"},
    [MODEL_TREE_OFFWAKE] = {"Off the CPU, and who ended it",
                            "The width is the time blocked; above the line, upside down, who ended it",
                            "blocked", "wake-up", "woken by"},
};

static void put_escaped_character(struct output *out, uint32_t character) {
    char bytes[4];
    switch (character) {
    case '&':
        output_text(out, "&amp;");
        break;
    case '<':
        output_text(out, "&lt;");
        break;
    case '>': /* as part of ]]> too */
        output_text(out, "&gt;");
        break;
    case '"':
        output_text(out, "&quot;");
        break;
    case '\'':
        output_text(out, "&#39;");
        break;
    default:
        output_bytes(out, bytes, text_encode(character, bytes));
    }
}

static void put_escaped(struct output *out, const char *text) {
    uint32_t character;
    while ((character = text_next(&text)) != 0)
        put_escaped_character(out, character);
}

/* At most `columns` wide, the last of them an ellipsis where the text is longer. */
static void put_cut(struct output *out, const char *text, unsigned columns) {
    bool whole = text_width(text) <= columns;
    unsigned used = 0;
    uint32_t character;
    while ((character = text_next(&text)) != 0) {
        used += text_columns(character);
        if (!whole && used > columns - 1)
            break;
        put_escaped_character(out, character);
    }
    if (!whole)
        output_text(out, "…");
}

/* Of what is not negative. Not %f: its point is the locale's. */
static void put_pixels(struct output *out, double pixels) {
    unsigned long hundredths = (unsigned long)(pixels * 100 + 0.5);
    output_format(out, "%lu", hundredths / 100);
    if (hundredths % 10 != 0)
        output_format(out, ".%02lu", hundredths % 100);
    else if (hundredths % 100 != 0)
        output_format(out, ".%lu", hundredths % 100 / 10);
}

/* Where a node's function is, as it is shown: without folders. */
static const char *node_file(const struct model_tree_node *node) {
    return node->label || !node->frame || !node->frame->file ? NULL : text_base_name(node->frame->file);
}

static void put_place(struct output *out, const char *file, uint32_t line) {
    put_escaped(out, file);
    if (line > 0)
        output_format(out, ":%u", line);
}

static unsigned place_width(const char *file, uint32_t line) {
    char digits[16];
    return text_width(file) + (line > 0 ? (unsigned)snprintf(digits, sizeof(digits), ":%u", line) : 0);
}

/* As much as fits of "function (file:line)": all of it, else the function, else its beginning. */
static void put_label(struct output *out, const char *name, const char *file, uint32_t line,
                      unsigned columns) {
    unsigned width = text_width(name);
    if (width > columns) {
        put_cut(out, name, columns);
        return;
    }
    put_escaped(out, name);
    if (file && width + place_width(file, line) + 3 <= columns) {
        output_text(out, " (");
        put_place(out, file, line);
        output_text(out, ")");
    }
}

static const char *plural(uint64_t count) {
    return count == 1 ? "" : "s";
}

static void put_frame_title(struct output *out, const struct model_tree_node *node, const char *name,
                            const struct svg_frame *frame, uint64_t whole, const char *unit) {
    const struct model_frame *source = node->label || frame->merged > 0 ? NULL : node->frame;
    const char *file = frame->merged > 0 ? NULL : node_file(node);
    char time[TEXT_TIME_BYTES], share[TEXT_SHARE_BYTES];
    output_text(out, "<title>");
    put_escaped(out, name);
    if (file) {
        output_text(out, " (");
        put_place(out, file, source->line);
        output_text(out, ")");
    }
    bool module = source && source->module;
    if (module || (source && file && file != source->file)) {
        output_text(out, "\n");
        if (module)
            put_escaped(out, source->module);
        if (file && file != source->file) {
            output_text(out, module ? ", " : "");
            put_place(out, source->file, source->line);
        }
        if (source->inlined)
            output_text(out, ", inlined");
    }
    text_time(frame->total, time);
    text_share(frame->total, whole, share);
    output_format(out, "\n%s, ", time);
    put_escaped(out, share);
    output_format(out, " of all, %" PRIu64 " %s%s</title>", frame->count, unit, plural(frame->count));
}

static void put_frame(struct output *out, const struct export_flame *flame, const struct svg_layout *layout,
                      const struct svg_frame *frame) {
    const struct model_tree_node *node = &flame->nodes[frame->node];
    uint64_t whole = flame->nodes[0].total_ns;
    const char *name = frame->node == 0 ? "all" : export_node_name(node);
    const char *file = node_file(node);
    uint32_t line = file ? node->frame->line : 0;
    enum svg_category category = svg_category_of(node);
    uint64_t self = node->self_ns;
    char merged[48], class_name[SVG_CLASS_BYTES];
    if (frame->merged > 0) {
        snprintf(merged, sizeof(merged), "%" PRIu32 " narrow frames", frame->merged);
        name = merged;
        file = NULL;
        category = SVG_MERGED;
        self = 0;
    }
    svg_class_name(category, name, class_name);

    output_format(out, "<g class=\"%s\" data-t=\"%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%u\"",
                  class_name, frame->begin, frame->total, self, frame->count, frame->row);
    if (file) {
        output_text(out, " data-l=\"");
        put_place(out, file, line);
        output_text(out, "\"");
    }
    output_text(out, ">");
    put_frame_title(out, node, name, frame, whole, KINDS[flame->kind].unit);

    double scale = (double)(PAGE - 2 * MARGIN) / (double)whole;
    double x = MARGIN + (double)frame->begin * scale, width = (double)frame->total * scale;
    uint32_t y = HEADER + ROW * (flame->inverted ? frame->row : layout->row_count - 1 - frame->row);
    output_text(out, "<rect x=\"");
    put_pixels(out, x);
    output_format(out, "\" y=\"%u\" width=\"", y);
    put_pixels(out, width > 2 * FRAME_GAP ? width - FRAME_GAP : width / 2);
    output_format(out, "\" height=\"%u\" rx=\"1.5\"/>", FRAME_HEIGHT);
    unsigned columns = width > 2 * LABEL_INDENT ? (unsigned)((width - 2 * LABEL_INDENT) / COLUMN) : 0;
    if (columns >= LABEL_COLUMNS_LEAST) {
        output_text(out, "<text x=\"");
        put_pixels(out, x + LABEL_INDENT);
        output_format(out, "\" y=\"%u.5\">", y + LABEL_BASELINE);
        put_label(out, name, file, line, columns);
        output_text(out, "</text>");
    }
    output_text(out, "</g>\n");
}

/* The categories that the picture has, in words. */
static void put_legend(struct output *out, const struct export_flame *flame,
                       const struct svg_layout *layout) {
    bool present[SVG_CATEGORY_COUNT] = {false};
    for (uint32_t i = 0; i < layout->frame_count; i++) {
        const struct svg_frame *frame = &layout->frames[i];
        present[frame->merged > 0 ? SVG_MERGED : svg_category_of(&flame->nodes[frame->node])] = true;
    }
    output_text(out, "<g id=\"legend\">\n");
    double x = MARGIN;
    for (unsigned i = 0; i < SVG_CATEGORY_COUNT; i++) {
        if (!present[i] || i == SVG_ROOT)
            continue;
        const char *name = i == SVG_LABEL ? KINDS[flame->kind].label : svg_category_name(i);
        char class_name[SVG_CLASS_BYTES];
        svg_class_name(i, "", class_name);
        output_format(out, "<g class=\"%s\" transform=\"translate(", class_name);
        put_pixels(out, x);
        output_format(out, " %u)\"><rect width=\"14\" height=\"12\" rx=\"2\"/></g>", LEGEND_Y);
        output_text(out, "<text class=\"quiet\" x=\"");
        put_pixels(out, x + 20);
        output_format(out, "\" y=\"%u\">%s</text>\n", LEGEND_Y + 10, name);
        x += 20 + 20 + COLUMN * text_width(name);
    }
    output_text(out, "</g>\n");
}

static void put_header(struct output *out, const struct export_flame *flame,
                       const struct svg_layout *layout) {
    const struct model_tree_node *root = &flame->nodes[0];
    char time[TEXT_TIME_BYTES];
    output_format(out, "<g id=\"head\"><rect class=\"page\" width=\"100%%\" height=\"%u\"/>\n", HEADER - 2);
    output_format(out, "<text class=\"heading\" x=\"%u\" y=\"30\">", MARGIN);
    put_escaped(out, flame->title ? flame->title : KINDS[flame->kind].title);
    output_text(out, "</text>\n");

    output_format(out, "<text id=\"command\" x=\"%u\" y=\"54\"", MARGIN);
    if (flame->command) {
        output_text(out, " data-whole=\"");
        put_escaped(out, flame->command);
        output_text(out, "\">");
        put_cut(out, flame->command, COMMAND_COLUMNS);
    } else {
        output_text(out, ">");
    }
    output_text(out, "</text>\n");

    text_time(root->total_ns, time);
    output_format(out, "<text id=\"totals\" x=\"%u\" y=\"74\"><tspan class=\"strong\">%s %s</tspan><tspan>",
                  MARGIN, time, KINDS[flame->kind].waited);
    output_format(out, " in %" PRIu64 " %s%s", root->count, KINDS[flame->kind].unit, plural(root->count));
    if (flame->duration_ns > 0) {
        text_time(flame->duration_ns, time);
        output_format(out, ", during %s of recording", time);
    }
    if (flame->selection) {
        output_text(out, "; ");
        put_cut(out, flame->selection, SELECTION_COLUMNS);
    }
    output_text(out, "</tspan></text>\n");
    put_legend(out, flame, layout);
    output_format(
        out, "<text id=\"details\" class=\"quiet\" x=\"%u\" y=\"%u\">%s; a frame %s its caller.</text>\n",
        MARGIN, HEADER - 14, KINDS[flame->kind].reading, flame->inverted ? "hangs from" : "stands on");
    output_text(out, "</g>\n");
}

static void put_footer(struct output *out, const struct export_flame *flame,
                       const struct svg_layout *layout) {
    char time[TEXT_TIME_BYTES], least[TEXT_TIME_BYTES], share[TEXT_SHARE_BYTES];
    output_format(out, "<text id=\"omitted\" class=\"quiet\" x=\"%u\" y=\"%u\">", MARGIN,
                  HEADER + ROW * layout->row_count + 24);
    if (layout->omitted_nodes == 0) {
        output_format(out, "Nothing is left out: %" PRIu32 " frame%s.", layout->frame_count,
                      plural(layout->frame_count));
    } else {
        text_time(layout->omitted_ns, time);
        text_time(layout->least_ns, least);
        text_share(layout->omitted_ns, flame->nodes[0].total_ns, share);
        output_format(out,
                      "%" PRIu64 " of %" PRIu32 " frames are narrower than %s%s and merged or left out: ",
                      layout->omitted_nodes, flame->node_count, least,
                      layout->row_count == SVG_ROWS_MAXIMUM ? ", or too deep," : "");
        output_format(out, "%s, ", time);
        put_escaped(out, share);
        output_text(out, " of the time, shown by their callers only.");
    }
    output_text(out, "</text>\n");
}

int svg_write(const struct export_flame *flame, FILE *file) {
    if (export_flame_is_empty(flame))
        return -ENODATA;
    struct svg_layout layout;
    int error = svg_layout_make(flame, PAGE - 2 * MARGIN, &layout);
    if (error < 0)
        return error;

    struct output output = {.file = file}, *out = &output;
    unsigned height = HEADER + ROW * layout.row_count + FOOTER;
    output_format(out,
                  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" viewBox=\"0 0 %u %u\""
                  " data-total=\"%" PRIu64 "\" data-header=\"%u\" data-margin=\"%u\" data-indent=\"%u\""
                  " data-upward=\"%d\" data-unit=\"%s\">\n<title>",
                  PAGE, height, PAGE, height, flame->nodes[0].total_ns, HEADER, MARGIN, LABEL_INDENT,
                  !flame->inverted, KINDS[flame->kind].unit);
    put_escaped(out, flame->title ? flame->title : KINDS[flame->kind].title);
    if (flame->command) {
        output_text(out, ": ");
        put_escaped(out, flame->command);
    }
    output_text(out, "</title>\n<desc>A flame graph made by waitscope.</desc>\n<style>\n");
    svg_style_put(out);
    output_text(out, "</style>\n<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n<g id=\"frames\">\n");
    for (uint32_t i = 0; i < layout.frame_count && output.error == 0; i++)
        put_frame(out, flame, &layout, &layout.frames[i]);
    output_text(out, "</g>\n");
    put_footer(out, flame, &layout);
    put_header(out, flame, &layout);
    output_text(out, "<script><![CDATA[\n");
    output_text(out, svg_script);
    output_text(out, "]]></script>\n</svg>\n");
    svg_layout_release(&layout);
    return output_finish(out);
}
