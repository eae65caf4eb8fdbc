/* SPDX-License-Identifier: MIT */
/* The symbolizer and its modules. A module's tables are built when it is first asked something. */
#include "collector/symbol_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEBUG_PATH_VARIABLE "WAITSCOPE_DEBUG_PATH"
#define DEBUG_PATH_DEFAULT "/usr/lib/debug"

static char **debug_roots(void) {
    const char *list = getenv(DEBUG_PATH_VARIABLE);
    if (!list)
        list = "";
    size_t count = 2; /* the default and the end */
    for (const char *at = list; *at; at++)
        count += *at == ':';
    char **roots = calloc(count + 1, sizeof *roots);
    if (!roots)
        return NULL;
    size_t used = 0;
    for (const char *at = list; *at;) {
        size_t length = strcspn(at, ":");
        if (length > 0 && !(roots[used++] = strndup(at, length)))
            goto failed;
        at += length + (at[length] == ':');
    }
    if ((roots[used++] = strdup(DEBUG_PATH_DEFAULT)))
        return roots;
failed:
    for (size_t i = 0; i < used; i++)
        free(roots[i]);
    free(roots);
    return NULL;
}

int symbolizer_new(struct symbolizer **ret_symbolizer) {
    struct symbolizer *symbolizer = calloc(1, sizeof *symbolizer);
    if (!symbolizer)
        return -ENOMEM;
    symbolizer->roots = debug_roots();
    if (!symbolizer->roots) {
        free(symbolizer);
        return -ENOMEM;
    }
    *ret_symbolizer = symbolizer;
    return 0;
}

static void module_free(struct symbol_module *module) {
    if (!module)
        return;
    for (size_t i = 0; i < module->cache_slots; i++)
        free(module->cache[i].frames);
    free(module->cache);
    symbol_units_free(&module->units);
    symbol_table_free(&module->table);
    dwarf_end(module->dwarf);
    dwarf_end(module->dwarf_alt);
    symbol_image_free(module->alt);
    symbol_image_free(module->debug);
    symbol_image_free(module->image);
    free(module->build_id);
    free(module->path);
    free(module);
}

void symbolizer_free(struct symbolizer *symbolizer) {
    if (!symbolizer)
        return;
    while (symbolizer->modules) {
        struct symbol_module *next = symbolizer->modules->next;
        module_free(symbolizer->modules);
        symbolizer->modules = next;
    }
    for (size_t i = 0; symbolizer->roots[i]; i++)
        free(symbolizer->roots[i]);
    free(symbolizer->roots);
    symbol_strings_free(&symbolizer->strings);
    free(symbolizer);
}

static bool build_id_is(const struct symbol_image *image, const char *hex) {
    char own[2 * SYMBOL_BUILD_ID_MAX + 1] = "";
    for (size_t i = 0; i < image->build_id_size; i++)
        snprintf(own + 2 * i, 3, "%02x", image->build_id[i]);
    return strcasecmp(own, hex) == 0;
}

static bool same_text(const char *a, const char *b) {
    return a && b ? strcasecmp(a, b) == 0 : a == b;
}

/* Separate files are opened with the module, not later: the target may be gone by then. */
static void find_debug(struct symbol_module *module) {
    const struct symbolizer *owner = module->owner;
    char *debug_path = NULL;
    if (!module->image->has_debug_info)
        module->debug = symbol_debug_find(owner, module->image, module->path, &debug_path);
    if (module->debug)
        module->alt = symbol_debug_alt(owner, module->debug, debug_path);
    else
        module->alt = symbol_debug_alt(owner, module->image, module->path);
    free(debug_path);
}

int symbolizer_module(struct symbolizer *symbolizer, const char *path, const char *build_id_hex,
                      struct symbol_module **ret_module) {
    for (struct symbol_module *known = symbolizer->modules; known; known = known->next)
        if (strcmp(known->path, path) == 0 && same_text(known->build_id, build_id_hex)) {
            *ret_module = known;
            return 0;
        }

    struct symbol_module *module = calloc(1, sizeof *module);
    int result = -ENOMEM;
    if (!module)
        return result;
    module->owner = symbolizer;
    module->path = strdup(path);
    module->build_id = build_id_hex ? strdup(build_id_hex) : NULL;
    if (!module->path || (build_id_hex && !module->build_id))
        goto cleanup;
    result = symbol_image_load(path, false, NULL, &module->image);
    if (result < 0)
        goto cleanup;
    if (build_id_hex && !build_id_is(module->image, build_id_hex)) {
        result = -ESTALE;
        goto cleanup;
    }
    find_debug(module);
    module->next = symbolizer->modules;
    symbolizer->modules = module;
    *ret_module = module;
    return 0;

cleanup:
    module_free(module);
    return result;
}

/* What cannot be built stays empty: fewer things are known then. */
static void module_prepare(struct symbol_module *module) {
    if (module->prepared)
        return;
    module->prepared = true;
    symbol_table_build(module);
    const struct symbol_image *source = module->debug ? module->debug : module->image;
    if (!source->has_debug_info)
        return;
    module->dwarf = dwarf_begin_elf(source->elf, DWARF_C_READ, NULL);
    if (!module->dwarf)
        return;
    if (module->alt)
        module->dwarf_alt = dwarf_begin_elf(module->alt->elf, DWARF_C_READ, NULL);
    if (module->dwarf_alt)
        dwarf_setalt(module->dwarf, module->dwarf_alt);
    symbol_units_build(module);
}

static struct symbol_cached *cache_slot(const struct symbol_module *module, uint64_t address) {
    size_t mask = module->cache_slots - 1;
    size_t i = (address * 0x9e3779b97f4a7c15u >> 32) & mask;
    while (module->cache[i].used && module->cache[i].address != address)
        i = (i + 1) & mask;
    return &module->cache[i];
}

static bool cache_grow(struct symbol_module *module) {
    struct symbol_module larger = {.cache_slots = module->cache_slots ? 2 * module->cache_slots : 256};
    larger.cache = calloc(larger.cache_slots, sizeof *larger.cache);
    if (!larger.cache)
        return false;
    for (size_t i = 0; i < module->cache_slots; i++)
        if (module->cache[i].used)
            *cache_slot(&larger, module->cache[i].address) = module->cache[i];
    free(module->cache);
    module->cache = larger.cache;
    module->cache_slots = larger.cache_slots;
    return true;
}

size_t symbol_resolve(struct symbol_module *module, uint64_t file_address,
                      struct symbol_frame ret_frames[SYMBOL_FRAMES_MAX]) {
    module_prepare(module);
    if (2 * module->cache_used >= module->cache_slots && !cache_grow(module))
        return symbol_frames_find(module, file_address, ret_frames);
    struct symbol_cached *cached = cache_slot(module, file_address);
    if (!cached->used) {
        size_t count = symbol_frames_find(module, file_address, ret_frames);
        struct symbol_frame *frames = count ? malloc(count * sizeof *frames) : NULL;
        if (count && !frames)
            return count;
        if (count)
            memcpy(frames, ret_frames, count * sizeof *frames);
        *cached = (struct symbol_cached){
            .address = file_address, .frames = frames, .count = (uint32_t)count, .used = true};
        module->cache_used++;
        return count;
    }
    if (cached->count)
        memcpy(ret_frames, cached->frames, cached->count * sizeof *cached->frames);
    return cached->count;
}

int symbol_resolve_data(struct symbol_module *module, uint64_t file_address, struct symbol_data *ret_data) {
    module_prepare(module);
    return symbol_data_find(module, file_address, ret_data);
}
