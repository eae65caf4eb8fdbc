/* SPDX-License-Identifier: MIT */
#include "viewer/export/export.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "viewer/export/flame.h"

static int export_folded(const struct model *model, const struct export_options *options, FILE *file);
static int export_svg(const struct model *model, const struct export_options *options, FILE *file);

const struct export_format export_formats[] = {
    {"folded", "folded", "folded stacks with microseconds, for flamegraph.pl, speedscope and scripts",
     export_folded},
    {"svg", "svg", "a flame graph for any browser: zoom, search, no network", export_svg},
    {NULL, NULL, NULL, NULL},
};

static const struct {
    const char *name;
    enum model_tree_kind kind;
} KINDS[] = {
    {"wait", MODEL_TREE_WAIT},     {"blame", MODEL_TREE_BLAME},     {"cpu", MODEL_TREE_CPU},
    {"offcpu", MODEL_TREE_OFFCPU}, {"offwake", MODEL_TREE_OFFWAKE},
};

const struct export_format *export_format_find(const char *name) {
    for (const struct export_format *format = export_formats; format->name; format++)
        if (strcmp(format->name, name) == 0)
            return format;
    return NULL;
}

int export_kind_find(const char *name, enum model_tree_kind *ret_kind) {
    for (size_t i = 0; i < sizeof(KINDS) / sizeof(KINDS[0]); i++)
        if (strcmp(KINDS[i].name, name) == 0) {
            *ret_kind = KINDS[i].kind;
            return 0;
        }
    return -EINVAL;
}

static bool index_is_in(uint32_t index, uint32_t count) {
    return index == MODEL_NONE || index < count;
}

/* The command of the selected process, else of the first, saying if there are more. */
static void write_command(const struct model *model, const struct model_tree_filter *filter, FILE *text) {
    uint32_t count;
    const struct model_process *processes = model_processes(model, &count);
    if (count == 0)
        return;
    const struct model_process *process = &processes[filter->process == MODEL_NONE ? 0 : filter->process];
    fprintf(text, "%s", process->command ? process->command : process->exe ? process->exe : "");
    if (filter->process == MODEL_NONE && count > 1)
        fprintf(text, " (and %u more process%s)", count - 1, count > 2 ? "es" : "");
}

/* Writes nothing where all contention of the trace is shown. */
static void write_selection(const struct model *model, const struct model_tree_filter *filter, FILE *text) {
    uint32_t count;
    const char *comma = "";
    if (filter->process != MODEL_NONE) {
        fprintf(text, "process %u", model_processes(model, &count)[filter->process].pid);
        comma = ", ";
    }
    if (filter->thread != MODEL_NONE) {
        const struct model_thread *thread = &model_threads(model, &count)[filter->thread];
        fprintf(text, "%sthread %s (%u)", comma, thread->name, thread->tid);
        comma = ", ";
    }
    if (filter->lock != MODEL_NONE) {
        fprintf(text, "%slock %s", comma, model_locks(model, &count)[filter->lock].name);
        comma = ", ";
    }
    if (filter->include_idle)
        fprintf(text, "%sidle waiting included", comma);
}

/* Runs one of the writers above into a string that the caller frees. */
static int describe(void (*write)(const struct model *, const struct model_tree_filter *, FILE *),
                    const struct model *model, const struct model_tree_filter *filter, char **ret_text) {
    char *text = NULL;
    size_t bytes;
    FILE *file = open_memstream(&text, &bytes);
    if (!file)
        return -ENOMEM;
    write(model, filter, file);
    bool failed = ferror(file) != 0;
    if (fclose(file) != 0 || failed) {
        free(text);
        return -ENOMEM;
    }
    *ret_text = text;
    return 0;
}

static int export_tree(const struct model *model, const struct export_options *options, FILE *file,
                       int (*write)(const struct export_flame *, FILE *)) {
    const struct model_tree_filter *filter = &options->filter;
    uint32_t processes, threads, locks;
    model_processes(model, &processes);
    model_threads(model, &threads);
    model_locks(model, &locks);
    if (!index_is_in(filter->process, processes) || !index_is_in(filter->thread, threads) ||
        !index_is_in(filter->lock, locks))
        return -EINVAL;

    struct model_tree *tree = NULL;
    char *command = NULL, *selection = NULL;
    int error = model_tree_build(model, options->kind, filter, &tree);
    if (error < 0)
        goto cleanup;
    error = describe(write_command, model, filter, &command);
    if (error < 0)
        goto cleanup;
    error = describe(write_selection, model, filter, &selection);
    if (error < 0)
        goto cleanup;

    const struct model_info *info = model_info(model);
    struct export_flame flame = {
        .kind = options->kind,
        .inverted = options->inverted,
        .title = options->title,
        .command = command[0] != '\0' ? command : NULL,
        .selection = selection[0] != '\0' ? selection : NULL,
        .duration_ns = info->end > info->begin ? info->end - info->begin : 0,
    };
    flame.nodes = model_tree_nodes(tree, &flame.node_count);
    error = write(&flame, file);

cleanup:
    free(selection);
    free(command);
    model_tree_free(tree);
    return error;
}

static int export_folded(const struct model *model, const struct export_options *options, FILE *file) {
    return export_tree(model, options, file, folded_write);
}

static int export_svg(const struct model *model, const struct export_options *options, FILE *file) {
    return export_tree(model, options, file, svg_write);
}
