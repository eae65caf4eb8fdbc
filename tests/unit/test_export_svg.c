/* SPDX-License-Identifier: MIT */
/* Without arguments the tests; `test_export_svg SAMPLE FILE` writes one of the samples below, to look at. */
#include <errno.h>

#include "test_export_tree.h"
#include "viewer/export/svg_layout.h"

enum { LARGE_ROWS = 100000, LARGE_DEPTH = 40, NAMES = 512 };

struct large {
    struct tree_row *rows;
    unsigned used;
    char names[NAMES][64];
};

/* A node and `below` nodes under it: the first child gets half of them, the next half of the rest. */
static void large_fill(struct large *large, unsigned depth, unsigned below) {
    unsigned i = large->used++;
    large->rows[i] = (struct tree_row){.depth = depth,
                                       .function = large->names[(i * 2654435761U >> 16) % NAMES],
                                       .module = depth % 3 ? "application" : "libc.so.6",
                                       .file = "/src/component.cc",
                                       .line = 1 + i % 1000,
                                       .self_ns = 1000,
                                       .count = 1};
    while (below > 0) {
        unsigned child = depth + 1 == LARGE_DEPTH ? 1 : (below + 1) / 2;
        large_fill(large, depth + 1, child - 1);
        below -= child;
    }
}

static struct tree make_large(void) {
    struct large *large = calloc(1, sizeof(*large));
    struct tree_row *rows = calloc(LARGE_ROWS, sizeof(*rows));
    if (!large || !rows)
        abort();
    for (unsigned i = 0; i < NAMES; i++)
        snprintf(large->names[i], sizeof(large->names[i]), "component_%u::operation_%u(unsigned long)",
                 i % 23, i);
    large->rows = rows;
    large_fill(large, 1, LARGE_ROWS - 1);
    struct tree tree = tree_make(rows, LARGE_ROWS);
    free(rows);
    tree.names = large;
    return tree;
}

static struct tree make_server(void) {
    return TREE_OF(TREE_SERVER);
}

static struct tree make_hostile(void) {
    return TREE_OF(TREE_HOSTILE);
}

/* Taller than a window. */
static struct tree make_tall(void) {
    static char names[70][16];
    struct tree_row rows[140];
    for (unsigned i = 0; i < 70; i++) {
        snprintf(names[i], sizeof(names[i]), "recurse_%u", i);
        rows[i] = (struct tree_row){
            .depth = i + 1, .function = names[i], .module = "app", .self_ns = 1000000, .count = 1};
        rows[139 - i] = (struct tree_row){
            .depth = i + 2, .function = "return_path", .module = "libc.so.6", .self_ns = 300000, .count = 1};
    }
    return TREE_OF(rows);
}

static const struct sample {
    const char *name;
    struct tree (*make)(void);
    struct export_flame flame; /* without its nodes */
} SAMPLES[] = {
    {"wait", make_server, {.command = "./server --threads 8", .duration_ns = 10012345678}},
    {"blame",
     make_server,
     {.kind = MODEL_TREE_BLAME,
      .inverted = true,
      .command = "./server --threads 8",
      .selection = "thread worker-3 (4711), idle waiting included",
      .duration_ns = 10012345678}},
    {"hostile",
     make_hostile,
     {.title = "</title><script>alert(3)</script>",
      .command = "]]></script><script>alert(4)</script>\"' \xff\x02",
      .selection = "lock <&>",
      .duration_ns = 1}},
    {"tall", make_tall, {.command = "tall", .duration_ns = 70000000}},
    {"large", make_large, {.command = "large", .duration_ns = 1}},
};

static const struct sample *sample_find(const char *name) {
    for (size_t i = 0; i < sizeof(SAMPLES) / sizeof(SAMPLES[0]); i++)
        if (strcmp(SAMPLES[i].name, name) == 0)
            return &SAMPLES[i];
    return NULL;
}

static struct export_flame flame_of(const struct sample *sample, const struct tree *tree) {
    struct export_flame flame = sample->flame;
    flame.nodes = tree->nodes;
    flame.node_count = tree->node_count;
    return flame;
}

static char *sample_write(const char *name, size_t *ret_bytes) {
    const struct sample *sample = sample_find(name);
    struct tree tree = sample->make();
    struct export_flame flame = flame_of(sample, &tree);
    char *text;
    CHECK_EQ_INT(write_to_memory(svg_write, &flame, &text, ret_bytes), 0);
    CHECK_EQ_U64(strlen(text), *ret_bytes);
    tree_release(&tree);
    return text;
}

static unsigned occurrences(const char *text, const char *part) {
    unsigned count = 0;
    for (; (text = strstr(text, part)) != NULL; text += strlen(part))
        count++;
    return count;
}

/* Whole files, so that the browser test can take these and need not wait for a build. */
static void test_golden(void) {
    static const char *const samples[] = {"wait", "blame", "hostile", "tall"};
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        size_t bytes;
        char *text = sample_write(samples[i], &bytes), name[32];
        snprintf(name, sizeof(name), "%s.svg", samples[i]);
        check_golden(name, text, bytes);
        free(text);
    }
}

/* That the file is well-formed is for the browser's parser to say; here: nothing got through. */
static void test_escaping(void) {
    size_t bytes;
    char *text = sample_write("hostile", &bytes);
    CHECK_EQ_INT(occurrences(text, "<script"), 1);
    CHECK_EQ_INT(occurrences(text, "</script"), 1);
    CHECK_EQ_INT(occurrences(text, "]]>"), 1);
    CHECK_EQ_INT(occurrences(text, "<image"), 0);
    CHECK_EQ_INT(occurrences(text, "<b>"), 0);
    CHECK_EQ_INT(occurrences(text, "href=\""), 0);
    CHECK(strstr(text, "href=&quot;http://192.0.2.1/x&quot;") != NULL);
    CHECK(strstr(text, "&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;") != NULL);
    /* Addresses that a browser never fetches: names of XML namespaces. */
    CHECK_EQ_INT(occurrences(text, "http:") - occurrences(text, "http://192.0.2.1"),
                 occurrences(text, "http://www.w3.org/"));
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)text[i] < 0x20 && text[i] != '\n')
            CHECK(text[i] == '\n');
    free(text);
}

/* Every node is a frame or counted as left out, and no frame leaves its parent. */
static void check_layout(const struct tree *tree) {
    struct export_flame flame = {.nodes = tree->nodes, .node_count = tree->node_count};
    struct svg_layout layout;
    if (!CHECK_EQ_INT(svg_layout_make(&flame, 1180, &layout), 0))
        return;
    CHECK(layout.frame_count > 0 && layout.frame_count <= SVG_FRAMES_MAXIMUM);
    CHECK(layout.row_count <= SVG_ROWS_MAXIMUM);
    uint64_t drawn = 0, omitted_ns = 0, begins[SVG_ROWS_MAXIMUM] = {0}, ends[SVG_ROWS_MAXIMUM] = {0};
    bool inside = true, wide = true;
    for (uint32_t i = 0; i < layout.frame_count; i++) {
        const struct svg_frame *frame = &layout.frames[i];
        if (frame->merged == 0)
            drawn++;
        else
            omitted_ns += frame->total;
        wide &= frame->total >= layout.least_ns;
        if (frame->row > 0)
            inside &=
                frame->begin >= begins[frame->row - 1] && frame->begin + frame->total <= ends[frame->row - 1];
        begins[frame->row] = frame->begin;
        ends[frame->row] = frame->begin + frame->total;
    }
    CHECK(inside);
    CHECK(wide);
    CHECK_EQ_U64(drawn + layout.omitted_nodes, tree->node_count);
    CHECK(layout.omitted_ns >= omitted_ns);
    CHECK(layout.omitted_ns == 0 || layout.omitted_nodes > 0);
    svg_layout_release(&layout);
}

static void test_layout(void) {
    for (size_t i = 0; i < sizeof(SAMPLES) / sizeof(SAMPLES[0]); i++) {
        struct tree tree = SAMPLES[i].make();
        check_layout(&tree);
        tree_release(&tree);
    }

    /* Deeper than the picture, and wider: 3000 on top of each other, 4000 beside each other. */
    enum { DEEP = 3000, WIDE = 4000 };
    struct tree_row *rows = calloc(WIDE, sizeof(*rows));
    if (!rows)
        abort();
    for (unsigned i = 0; i < DEEP; i++)
        rows[i] = (struct tree_row){.depth = i + 1, .function = "deep", .self_ns = 10, .count = 1};
    struct tree tree = tree_make(rows, DEEP);
    check_layout(&tree);
    tree_release(&tree);
    for (unsigned i = 0; i < WIDE; i++)
        rows[i] = (struct tree_row){.depth = 1, .function = "wide", .self_ns = 10, .count = 1};
    tree = tree_make(rows, WIDE);
    check_layout(&tree);
    tree_release(&tree);
    for (unsigned i = 0; i < WIDE; i++) /* chains of 200: more frames than the file may have */
        rows[i] = (struct tree_row){.depth = 1 + i % 200, .function = "f", .self_ns = 1, .count = 1};
    tree = tree_make(rows, WIDE);
    check_layout(&tree);
    tree_release(&tree);
    free(rows);
}

static void test_large(void) {
    struct tree tree = make_large();
    struct export_flame flame = flame_of(sample_find("large"), &tree);
    char *text;
    size_t bytes;
    CHECK_EQ_INT(write_to_memory(svg_write, &flame, &text, &bytes), 0);
    CHECK(bytes < (size_t)SVG_FRAMES_MAXIMUM * 450);
    CHECK(strstr(text, "of 100001 frames are narrower than") != NULL);
    printf("%d nodes: %zu bytes of SVG\n", LARGE_ROWS, bytes);
    free(text);
    tree_release(&tree);
}

static void test_failures(void) {
    struct model_tree_node root = {0};
    struct export_flame flame = {.nodes = &root, .node_count = 1};
    char *text;
    size_t bytes;
    CHECK_EQ_INT(write_to_memory(svg_write, &flame, &text, &bytes), -ENODATA);
    CHECK_EQ_U64(bytes, 0);
    free(text);
    flame.node_count = 0;
    CHECK_EQ_INT(write_to_memory(svg_write, &flame, &text, &bytes), -ENODATA);
    free(text);

    struct tree tree = make_server();
    flame = flame_of(sample_find("wait"), &tree);
    FILE *full = fopen("/dev/full", "w");
    if (CHECK(full != NULL)) {
        CHECK_EQ_INT(svg_write(&flame, full), -ENOSPC);
        fclose(full);
    }
    tree_release(&tree);
}

static int write_file(const char *name, const char *path) {
    const struct sample *sample = sample_find(name);
    if (!sample) {
        fprintf(stderr, "no sample %s\n", name);
        return 2;
    }
    FILE *file = fopen(path, "w");
    if (!file) {
        perror(path);
        return 1;
    }
    struct tree tree = sample->make();
    struct export_flame flame = flame_of(sample, &tree);
    int error = svg_write(&flame, file);
    tree_release(&tree);
    if (fclose(file) != 0 && error == 0)
        error = -errno;
    if (error != 0)
        fprintf(stderr, "%s: %s\n", path, strerror(-error));
    return error == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc == 3)
        return write_file(argv[1], argv[2]);
    test_golden();
    test_escaping();
    test_layout();
    test_large();
    test_failures();
    return check_summary();
}
