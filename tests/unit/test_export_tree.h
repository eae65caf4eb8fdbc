/* SPDX-License-Identifier: MIT */
/*
 * Stack trees made by hand for the tests of export formats: rows in depth-first order with a depth
 * and what each waited itself; the rest is summed up.
 */
#ifndef WAITSCOPE_TESTS_UNIT_TEST_EXPORT_TREE_H
#define WAITSCOPE_TESTS_UNIT_TEST_EXPORT_TREE_H

#include <stdlib.h>

#include "check.h"
#include "viewer/export/flame.h"

struct tree_row {
    uint32_t depth; /* 1: below the root, which has no row */
    const char *function, *module, *file;
    uint32_t line;
    const char *label;
    uint64_t self_ns, count;
};

struct tree {
    struct model_tree_node *nodes;
    struct model_frame *frames;
    uint32_t node_count;
    void *names; /* what the frames point into, if it is to be freed */
};

/* Rows must not skip a depth on the way down. */
static inline struct tree tree_make(const struct tree_row *rows, uint32_t row_count) {
    struct tree tree = {
        .nodes = calloc(row_count + 1, sizeof(*tree.nodes)),
        .frames = calloc(row_count + 1, sizeof(*tree.frames)),
        .node_count = row_count + 1,
    };
    if (!tree.nodes || !tree.frames)
        abort();
    uint32_t last = 0;
    for (uint32_t i = 1; i <= row_count; i++) {
        const struct tree_row *row = &rows[i - 1];
        struct model_tree_node *node = &tree.nodes[i];
        uint32_t parent = last;
        while (tree.nodes[parent].depth >= row->depth)
            parent = tree.nodes[parent].parent;
        tree.frames[i] = (struct model_frame){
            .function = row->function, .file = row->file, .line = row->line, .module = row->module};
        node->frame = row->label ? NULL : &tree.frames[i];
        node->label = row->label;
        node->parent = parent;
        node->depth = row->depth;
        node->self_ns = row->self_ns;
        last = i;
        for (uint32_t above = i;; above = tree.nodes[above].parent) {
            tree.nodes[above].total_ns += row->self_ns;
            tree.nodes[above].count += row->count;
            if (above != i)
                tree.nodes[above].subtree++;
            if (above == 0)
                break;
        }
    }
    return tree;
}

static inline void tree_release(struct tree *tree) {
    free(tree->nodes);
    free(tree->frames);
    free(tree->names);
}

/* Runs a writer into memory; the text ends with a NUL and is freed by the caller. */
static inline int write_to_memory(int (*write)(const struct export_flame *, FILE *),
                                  const struct export_flame *flame, char **ret_text, size_t *ret_bytes) {
    FILE *file = open_memstream(ret_text, ret_bytes);
    if (!file)
        abort();
    int error = write(flame, file);
    if (fclose(file) != 0)
        abort();
    return error;
}

/* The line that the byte at `offset` is in, and its number. */
static inline void print_line(const char *what, const char *text, size_t bytes, size_t offset) {
    size_t begin = 0, number = 1;
    for (size_t i = 0; i < offset; i++)
        if (text[i] == '\n') {
            begin = i + 1;
            number++;
        }
    const char *end = memchr(text + begin, '\n', bytes - begin);
    int length = (int)(end ? (size_t)(end - text) - begin : bytes - begin);
    fprintf(stderr, "  %s, line %zu: %.*s\n", what, number, length, text + begin);
}

/* Compares with tests/golden/export/<name>, or writes it anew where EXPORT_GOLDEN_WRITE is set. */
static inline bool check_golden(const char *name, const char *text, size_t bytes) {
    char path[512];
    snprintf(path, sizeof(path), "%s/tests/golden/export/%s", TEST_SOURCE_DIR, name);
    bool anew = getenv("EXPORT_GOLDEN_WRITE") != NULL;
    FILE *file = fopen(path, anew ? "w" : "r");
    if (!CHECK(file != NULL))
        return false;
    bool held;
    if (anew) {
        held = fwrite(text, 1, bytes, file) == bytes;
    } else {
        char *expected = malloc(bytes + 1);
        if (!expected)
            abort();
        size_t got = fread(expected, 1, bytes + 1, file), same = 0;
        while (same < got && same < bytes && expected[same] == text[same])
            same++;
        held = got == bytes && same == bytes;
        if (!held) {
            fprintf(stderr, "%s differs; EXPORT_GOLDEN_WRITE=1 writes it anew\n", path);
            print_line("written", text, bytes, same);
            print_line("expected", expected, got, same);
        }
        free(expected);
    }
    if (fclose(file) != 0)
        held = false;
    return CHECK(held);
}

#define TREE_OF(rows) tree_make((rows), sizeof(rows) / sizeof((rows)[0]))

/* A server that waits for two locks, with what a real tree has: libraries, C++, locks, threads. */
static const struct tree_row TREE_SERVER[] = {
    {.depth = 1,
     .function = "start_thread",
     .module = "libc.so.6",
     .file = "./nptl/pthread_create.c",
     .line = 442},
    {.depth = 2, .function = "worker_main", .module = "server", .file = "/src/server/worker.c", .line = 88},
    {.depth = 3,
     .function = "request_handle",
     .module = "server",
     .file = "/src/server/request.c",
     .line = 140},
    {.depth = 4, .function = "cache_get", .module = "server", .file = "/src/server/cache.c", .line = 57},
    {.depth = 5, .function = "cache_lock", .module = "server", .file = "/src/server/cache.c", .line = 21},
    {.depth = 6, .label = "cache.lock (cache.c:12)", .self_ns = 412345678, .count = 1204},
    {.depth = 5, .function = "cache_evict", .module = "server", .file = "/src/server/cache.c", .line = 91},
    {.depth = 6, .label = "cache.lock (cache.c:12)", .self_ns = 61200500, .count = 88},
    {.depth = 4,
     .function = "session_update",
     .module = "server",
     .file = "/src/server/session.c",
     .line = 33},
    {.depth = 5, .function = "ledger_append", .module = "libledger.so.2", .file = "ledger.c", .line = 210},
    {.depth = 6, .label = "ledger_lock", .self_ns = 188000250, .count = 301},
    {.depth = 5, .function = "SSL_write", .module = "libssl.so.3", .self_ns = 12000000, .count = 9},
    {.depth = 3, .function = "request_read", .module = "server", .file = "/src/server/request.c", .line = 77},
    {.depth = 4,
     .function = "queue_pop",
     .module = "server",
     .file = "/src/server/queue.c",
     .line = 19,
     .self_ns = 90001000,
     .count = 45},
    {.depth = 4, .label = "worker 3", .self_ns = 2500, .count = 1},
    {.depth = 1,
     .function = "std::thread::_State_impl<std::thread::_Invoker<std::tuple<Flusher> > >::_M_run()",
     .module = "libstdc++.so.6",
     .file = "std_thread.h",
     .line = 211},
    {.depth = 2,
     .function = "Flusher::operator()() const",
     .module = "server",
     .file = "/src/server/flush.cc",
     .line = 40},
    {.depth = 3,
     .function = "std::unique_lock<std::mutex>::lock()",
     .module = "server",
     .file = "unique_lock.h",
     .line = 139},
    {.depth = 4, .label = "ledger_lock", .self_ns = 71300400, .count = 60},
    {.depth = 1,
     .function = "node::worker::Worker::Run()",
     .module = "node",
     .self_ns = 30000400,
     .count = 12},
    {.depth = 2,
     .function = "uv_mutex_lock",
     .module = "libuv.so.1",
     .file = "thread.c",
     .line = 350,
     .self_ns = 20000000,
     .count = 3},
    {.depth = 2, .function = "do_futex", .module = "[kernel]", .self_ns = 9000000, .count = 2},
    {.depth = 1, .function = "[unknown]", .self_ns = 17000000, .count = 5},
    {.depth = 1, .function = "sub_microsecond", .module = "server", .self_ns = 150, .count = 1},
    {.depth = 1, .function = "tiny_a", .module = "server", .self_ns = 90, .count = 1},
    {.depth = 1, .function = "tiny_b", .module = "server", .self_ns = 90, .count = 1},
};

/* Names that attack the formats, and bytes that are no text. */
static const struct tree_row TREE_HOSTILE[] = {
    {.depth = 1,
     .function = "</script><script>alert(1)</script>",
     .module = "<b>&amp;",
     .self_ns = 9000000,
     .count = 1},
    {.depth = 2,
     .function = "]]></title><image href=\"http://192.0.2.1/x\"/>",
     .module = "a\"'b",
     .file = "/s/<x>&'\".c",
     .line = 3,
     .self_ns = 8000000,
     .count = 2},
    {.depth = 1, .function = "a;b\nc\td", .module = "m", .file = "x (1).c", .self_ns = 7000000, .count = 1},
    {.depth = 1,
     .function = "bytes \xff\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80 \x01\x1b\x7f \xe2\x82",
     .module = "m",
     .self_ns = 6000000,
     .count = 1},
    {.depth = 1, .function = "turned \xe2\x80\xae around", .module = "m", .self_ns = 5500000, .count = 1},
    {.depth = 1,
     .function = "\xe9\x94\x81\xe3\x82\x92\xe5\xbe\x85\xe3\x81\xa4 \xc3\xa4\xf0\x9f\x94\x92",
     .module = "m",
     .self_ns = 5000000,
     .count = 1},
    {.depth = 1, .label = "worker 3", .self_ns = 4000000, .count = 1},
    {.depth = 1, .label = "lock 1.5 ", .self_ns = 3000000, .count = 1},
    {.depth = 1, .function = "", .self_ns = 2000000, .count = 1},
    {.depth = 1, .function = " ; ", .self_ns = 1000000, .count = 1},
    {.depth = 1, .function = "42", .self_ns = 900000, .count = 1},
    {.depth = 1, .function = "${alert(2)}\\u003cscript>", .module = "m", .self_ns = 800000, .count = 1},
};

#endif
