/* SPDX-License-Identifier: MIT */
/* Names for what was recorded, at the end of the recording: frames of locations, then locks. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "collector/kernel.h"
#include "collector/recording.h"
#include "collector/symbol.h"

struct module_span {
    uint32_t process, id;
    uint64_t start, end;
};

struct names {
    const struct catalogue *catalogue;
    struct kernel *kernel;
    struct symbolizer *symbolizer;
    struct symbol_module **modules; /* by id; NULL: not opened, or could not be */
    bool *module_tried;             /* by id */
    struct module_span *spans;      /* by process, then start */
    struct perf_map **maps;         /* by process id; NULL: none */
    bool *map_tried;
};

/* Where to read a module from: as the target sees the path while that is not our own view. */
static void module_file(const struct catalogue_process *process, const char *path, char *file, size_t bytes) {
    struct stat ours, theirs;
    char root[64];
    snprintf(root, sizeof(root), "/proc/%d/root", process->real_pid);
    bool same = stat(root, &theirs) != 0 || stat("/", &ours) != 0 ||
                (ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino);
    snprintf(file, bytes, "%s%s", same ? "" : root, path);
}

static struct symbol_module *names_module(struct names *names, uint32_t id) {
    if (id == 0 || names->module_tried[id])
        return id ? names->modules[id] : NULL;
    names->module_tried[id] = true;
    const struct catalogue_module *module = &names->catalogue->modules[id];
    const struct catalogue_process *process = &names->catalogue->processes[module->process];
    const char *build_id = module->build_id[0] ? module->build_id : NULL;
    char file[PATH_MAX + 64];
    if (module->path[0] != '/')
        return NULL;
    module_file(process, module->path, file, sizeof(file));
    if (symbolizer_module(names->symbolizer, file, build_id, &names->modules[id]) != 0) {
        names->modules[id] = NULL;
        /* A container that is gone may share its files with us; without a build id nothing says so. */
        if (build_id && strcmp(file, module->path) != 0 &&
            symbolizer_module(names->symbolizer, module->path, build_id, &names->modules[id]) != 0)
            names->modules[id] = NULL;
    }
    return names->modules[id];
}

static bool jit_frame(struct names *names, const struct catalogue_location *location, uint64_t pc,
                      struct symbol_frame *ret_frame) {
    const struct catalogue_process *process = &names->catalogue->processes[location->process];
    if (!names->map_tried[location->process]) {
        names->map_tried[location->process] = true;
        names->maps[location->process] = perf_map_load(process->pid, process->uid);
    }
    const struct perf_map *map = names->maps[location->process];
    return map && perf_map_find(map, pc, ret_frame);
}

size_t names_frames(struct names *names, uint32_t id, struct symbol_frame *ret_frames) {
    if (id == 0)
        return 0;
    const struct catalogue_location *location = &names->catalogue->locations[id];
    /* A return address may be the first byte of the next line or function: the call is before it. */
    uint64_t pc = location->exact ? location->pc : location->pc - 1;
    if (location->module == 0)
        return jit_frame(names, location, pc, ret_frames) ? 1 : 0;
    if (pc >= KERNEL_MODULE_START)
        return kernel_frame_find(names->kernel, pc, ret_frames) ? 1 : 0;
    struct symbol_module *module = names_module(names, location->module);
    if (!module)
        return 0;
    return symbol_resolve(module, pc - names->catalogue->modules[location->module].bias, ret_frames);
}

static int span_compare(const void *left, const void *right) {
    const struct module_span *a = left, *b = right;
    if (a->process != b->process)
        return a->process < b->process ? -1 : 1;
    if (a->start != b->start)
        return a->start < b->start ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

int names_data(struct names *names, uint32_t process, uint64_t address, struct symbol_data *ret_data) {
    size_t low = 0, high = names->catalogue->module_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct module_span *span = &names->spans[middle];
        if (span->process < process || (span->process == process && span->start <= address))
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || names->spans[low - 1].process != process || address >= names->spans[low - 1].end)
        return -ENOENT;
    uint32_t id = names->spans[low - 1].id;
    struct symbol_module *module = names_module(names, id);
    if (!module)
        return -ENOENT;
    return symbol_resolve_data(module, address - names->catalogue->modules[id].bias, ret_data);
}

static uint64_t text_id(struct recording *recording, const char *text) {
    return text ? trace_writer_string(recording->writer, text, strlen(text)) : 0;
}

static void frames_write(struct recording *recording, struct names *names) {
    struct symbol_frame frames[SYMBOL_FRAMES_MAX];
    for (uint32_t id = 1; id <= names->catalogue->location_count; id++) {
        size_t count = names_frames(names, id, frames);
        for (size_t depth = 0; depth < count; depth++) {
            struct trace_frame row = {
                .location = id,
                .depth = depth,
                .function = text_id(recording, frames[depth].function),
                .file = text_id(recording, frames[depth].file),
                .line = frames[depth].line,
                .inlined = frames[depth].inlined != 0,
            };
            trace_writer_row(recording->writer, TRACE_FRAME, 0, &row);
        }
    }
}

static void names_free(struct names *names) {
    for (uint32_t i = 1; names->maps && i <= names->catalogue->process_count; i++)
        perf_map_free(names->maps[i]);
    free(names->maps);
    free(names->map_tried);
    free(names->spans);
    free(names->modules);
    free(names->module_tried);
    symbolizer_free(names->symbolizer);
}

void symbolise_write(struct recording *recording) {
    const struct catalogue *catalogue = &recording->catalogue;
    size_t modules = (size_t)catalogue->module_count + 1, processes = (size_t)catalogue->process_count + 1;
    struct names names = {
        .catalogue = catalogue,
        .kernel = recording->kernel,
        .modules = calloc(modules, sizeof(struct symbol_module *)),
        .module_tried = calloc(modules, sizeof(bool)),
        .spans = calloc(modules, sizeof(struct module_span)),
        .maps = calloc(processes, sizeof(struct perf_map *)),
        .map_tried = calloc(processes, sizeof(bool)),
    };
    if (!names.modules || !names.module_tried || !names.spans || !names.maps || !names.map_tried ||
        symbolizer_new(&names.symbolizer) != 0)
        goto cleanup;
    for (uint32_t id = 1; id < modules; id++) {
        const struct catalogue_module *module = &catalogue->modules[id];
        names.spans[id - 1] = (struct module_span){module->process, id, module->start, module->end};
    }
    qsort(names.spans, modules - 1, sizeof(*names.spans), span_compare);
    frames_write(recording, &names);
    lock_names_write(recording, &names);

cleanup:
    names_free(&names);
}
