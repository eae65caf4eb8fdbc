/* SPDX-License-Identifier: MIT */
/* Stack trees and exports from what the scheduler tells: sums worked out by hand from schedule_scene.h. */
#include <errno.h>

#include "check.h"
#include "schedule_scene.h"
#include "viewer/export/export.h"

static char *export_text(const struct model *model, const char *format,
                         const struct export_options *options) {
    char *text = NULL;
    size_t bytes;
    FILE *file = open_memstream(&text, &bytes);
    if (!file)
        abort();
    CHECK_EQ_INT(export_format_find(format)->write(model, options, file), 0);
    if (fclose(file) != 0)
        abort();
    return text;
}

/* Each of the lines is in the text, the whole of it, and no others are. */
static void check_lines(const struct model *model, enum model_tree_kind kind, bool idle,
                        const char *const *lines) {
    struct export_options options = EXPORT_OPTIONS_DEFAULT;
    options.kind = kind;
    options.filter.include_idle = idle;
    char *text = export_text(model, "folded", &options);
    size_t bytes = strlen(text), wanted = 0;
    for (; *lines; lines++) {
        const char *at = strstr(text, *lines);
        size_t length = strlen(*lines);
        wanted += length + 1;
        CHECK(at != NULL && (at == text || at[-1] == '\n') && at[length] == '\n');
        if (!at)
            fprintf(stderr, "  no line \"%s\" in\n%s", *lines, text);
    }
    if (!CHECK_EQ_U64(bytes, wanted))
        fprintf(stderr, "%s", text);
    free(text);
}

static const char *const CPU[] = {
    "serve;read_all;do_syscall_64_[k];vfs_read_[k] 20000",
    "serve;give 10000",
    NULL,
};

/* In µs. What begins in a wait of the agent's and has no stack of its own has the wait's, take. */
static const char *const OFFCPU[] = {
    "serve;take;off-CPU: futex 122000",      /* a 70 + 16 + 24, b 12 */
    "serve;take;off-CPU: no CPU 18000",      /* a 10 + 4 + 3, b 1 */
    "serve;read_all;off-CPU: read 35000",    /* 15 + 20 */
    "serve;read_all;off-CPU: no CPU 16000",  /* 5 + 10 + 1 */
    "[stack unknown];off-CPU: no CPU 22000", /* a 2, b 20 */
    "[stack unknown];off-CPU: page fault 10000", "[stack unknown];off-CPU: I/O 10000", /* d */
    "[stack unknown];off-CPU: futex 8000",       "[stack unknown];off-CPU: wait4 6000",
    "[stack unknown];off-CPU: stopped 4000",     "[stack unknown];off-CPU: munmap 3000",
    "[stack unknown];off-CPU: fsync 2000",       NULL,
};

static const char *const OFFWAKE_IDLE[] = {
    "serve;take;--;give;serve;woken by: b 94000",           /* 70 + 24 */
    "serve;take;--;woken by: [another process] 28000",      /* a 16, b 12 */
    "serve;read_all;--;woken by: [interrupt] 45000",        /* 15, and 30 asleep */
    "serve;read_all;--;give;serve;woken by: b 9000",        /* polling */
    "[stack unknown];--;woken by: [another process] 37000", /* a 8 + 4 + 2 + 3, b 10 asleep, d 10 */
    "[stack unknown];--;woken by: [interrupt] 10000",       "[stack unknown];--;woken by: b 6000", NULL,
};

static void check_totals(const struct model *model) {
    /* Of a 252, asleep or polling for 39; of b 43, asleep for 10; of d 10. 18 stretches, two of them all
     * idle. */
    static const struct {
        enum model_tree_kind kind;
        bool idle;
        uint64_t ms, count;
    } TOTALS[] = {
        {MODEL_TREE_CPU, false, 30, 3},
        {MODEL_TREE_OFFCPU, true, 252 + 43 + 10, 18},
        {MODEL_TREE_OFFCPU, false, 213 + 33 + 10, 16},
        /* Without the delays of 35 and 21, the preempted ones, and what was not over after 20. */
        {MODEL_TREE_OFFWAKE, true, 252 - 35 - 20 + 43 - 21 + 10, 15},
    };
    for (size_t i = 0; i < sizeof(TOTALS) / sizeof(TOTALS[0]); i++) {
        struct model_tree_filter filter = {TOTALS[i].idle, MODEL_NONE, MODEL_NONE, MODEL_NONE};
        struct model_tree *tree;
        uint32_t count, threads;
        uint64_t parts = 0;
        CHECK_EQ_INT(model_tree_build(model, TOTALS[i].kind, &filter, &tree), 0);
        CHECK_EQ_U64(model_tree_nodes(tree, &count)[0].total_ns, TOTALS[i].ms * MS);
        CHECK_EQ_U64(model_tree_nodes(tree, &count)[0].count, TOTALS[i].count);
        model_tree_free(tree);
        model_threads(model, &threads);
        for (filter.thread = 0; filter.thread < threads; filter.thread++) {
            CHECK_EQ_INT(model_tree_build(model, TOTALS[i].kind, &filter, &tree), 0);
            parts += model_tree_nodes(tree, &count)[0].total_ns;
            model_tree_free(tree);
        }
        CHECK_EQ_U64(parts, TOTALS[i].ms * MS);
        /* Which lock a thread waited for is not known to the scheduler. */
        filter = (struct model_tree_filter){true, MODEL_NONE, MODEL_NONE, 0};
        CHECK_EQ_INT(model_tree_build(model, TOTALS[i].kind, &filter, &tree), -EINVAL);
    }
}

static void check_svg(const struct model *model) {
    static const struct {
        enum model_tree_kind kind;
        const char *title, *unit, *totals;
    } PICTURES[] = {
        {MODEL_TREE_CPU, "On a CPU", "sample", " in 3 samples"},
        {MODEL_TREE_OFFCPU, "Off the CPU", "pause", " in 16 pauses"},
        {MODEL_TREE_OFFWAKE, "Off the CPU, and who ended it", "wake-up", " in 12 wake-ups"},
    };
    char text[128];
    for (size_t i = 0; i < sizeof(PICTURES) / sizeof(PICTURES[0]); i++) {
        struct export_options options = EXPORT_OPTIONS_DEFAULT;
        options.kind = PICTURES[i].kind;
        char *svg = export_text(model, "svg", &options);
        snprintf(text, sizeof(text), "<title>%s: ./shop</title>", PICTURES[i].title);
        CHECK(strstr(svg, text) != NULL);
        snprintf(text, sizeof(text), " data-unit=\"%s\"", PICTURES[i].unit);
        CHECK(strstr(svg, text) != NULL);
        if (!CHECK(strstr(svg, PICTURES[i].totals) != NULL))
            fprintf(stderr, "  in picture %zu\n", i);
        CHECK(strstr(svg, " wait</title>") == NULL && strstr(svg, " waits</title>") == NULL);
        free(svg);
    }
}

/* A trace without the kernel's part has none of it, and nothing is written. */
static void check_nothing(void) {
    struct model_trace trace;
    model_trace_begin(&trace);
    uint64_t process = model_trace_process(&trace, 100, 1000, 0, "./shop");
    model_trace_thread(&trace, process, 101, 100 * MS, 0, "a");
    model_trace_end(&trace, 1000 * MS);
    struct model *model = model_trace_open(&trace);
    for (unsigned kind = MODEL_TREE_CPU; kind < MODEL_TREE_COUNT; kind++) {
        struct export_options options = EXPORT_OPTIONS_DEFAULT;
        options.kind = (enum model_tree_kind)kind;
        CHECK_EQ_INT(export_format_find("folded")->write(model, &options, stdout), -ENODATA);
    }
    model_free(model);
}

int main(void) {
    struct model *model = schedule_scene_open();
    if (!CHECK(model != NULL))
        return check_summary();
    check_lines(model, MODEL_TREE_CPU, false, CPU);
    check_lines(model, MODEL_TREE_OFFCPU, false, OFFCPU);
    check_lines(model, MODEL_TREE_OFFWAKE, true, OFFWAKE_IDLE);
    check_totals(model);
    check_svg(model);
    model_free(model);
    check_nothing();
    return check_summary();
}
