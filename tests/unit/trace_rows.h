/* SPDX-License-Identifier: MIT */
/* Random rows of any kind, and files in a folder of the test's own. */
#ifndef WAITSCOPE_TESTS_UNIT_TRACE_ROWS_H
#define WAITSCOPE_TESTS_UNIT_TRACE_ROWS_H

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/trace_writer.h"
#include "format/trace.h"
#include "model/trace_reader.h"

#define TRACE_ROW_BYTES_MAX 128U

/* Every kind that may be handed to a writer: it writes the index itself. */
#define TRACE_EACH_KIND(kind)                                                                                \
    for (int kind = 1; kind < TRACE_KIND_LIMIT; kind++)                                                      \
        if (kind != TRACE_INDEX)

static uint64_t trace_random_state = 0x9e3779b97f4a7c15ULL;
static char trace_random_text[512];
static uint64_t trace_random_items[512];

static inline uint64_t trace_random(void) {
    trace_random_state ^= trace_random_state << 13;
    trace_random_state ^= trace_random_state >> 7;
    trace_random_state ^= trace_random_state << 17;
    return trace_random_state;
}

/* Of any magnitude, the limits among them. */
static inline uint64_t trace_random_value(void) {
    uint64_t bits = trace_random() % 66;
    return bits == 65 ? UINT64_MAX : bits == 0 ? 0 : trace_random() >> (bits == 64 ? 0 : 64 - bits);
}

static inline void trace_random_row(enum trace_kind_id id, void *row) {
    const struct trace_kind *kind = &TRACE_KINDS[id];
    if (trace_random_items[0] == 0) {
        for (size_t i = 0; i < 512; i++) {
            trace_random_text[i] = (char)trace_random();
            trace_random_items[i] = trace_random_value() | 1;
        }
    }
    for (uint16_t c = 0; c < kind->column_count; c++) {
        void *member = (char *)row + kind->columns[c].offset;
        uint64_t count = trace_random() % 3 ? trace_random() % 30 : 0, from = trace_random() % 480;
        if (kind->columns[c].coding == TRACE_BYTES)
            *(struct trace_bytes *)member = (struct trace_bytes){trace_random_text + from, count};
        else if (kind->columns[c].coding == TRACE_LIST)
            *(struct trace_list *)member = (struct trace_list){trace_random_items + from, count};
        else
            *(uint64_t *)member = trace_random_value();
    }
}

static inline bool trace_rows_equal(enum trace_kind_id id, const void *a, const void *b) {
    const struct trace_kind *kind = &TRACE_KINDS[id];
    for (uint16_t c = 0; c < kind->column_count; c++) {
        const void *x = (const char *)a + kind->columns[c].offset,
                   *y = (const char *)b + kind->columns[c].offset;
        if (kind->columns[c].coding == TRACE_BYTES) {
            const struct trace_bytes *p = x, *q = y;
            if (p->size != q->size || (p->size > 0 && memcmp(p->data, q->data, p->size) != 0))
                return false;
        } else if (kind->columns[c].coding == TRACE_LIST) {
            const struct trace_list *p = x, *q = y;
            if (p->count != q->count || (p->count > 0 && memcmp(p->items, q->items, p->count * 8) != 0))
                return false;
        } else if (memcmp(x, y, sizeof(uint64_t)) != 0) {
            return false;
        }
    }
    return true;
}

static char trace_folder[] = "/tmp/waitscope-test-XXXXXX";

/* A path in a new folder that trace_folder_remove() removes with what is in it. */
static inline const char *trace_path(const char *name) {
    static char path[PATH_MAX];
    static bool made;
    if (!made && !mkdtemp(trace_folder))
        abort();
    made = true;
    snprintf(path, sizeof(path), "%s/%s", trace_folder, name);
    return path;
}

static inline void trace_folder_remove(void) {
    DIR *folder = opendir(trace_folder);
    struct dirent *entry;
    while (folder && (entry = readdir(folder)))
        unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder)
        closedir(folder);
    rmdir(trace_folder);
}

static inline void trace_file_save(const char *path, const char *bytes, size_t size) {
    FILE *file = fopen(path, "we");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
        abort();
}

/* The whole file, to be freed. */
static inline char *trace_file_load(const char *path, size_t *ret_size) {
    FILE *file = fopen(path, "re");
    if (!file || fseek(file, 0, SEEK_END) != 0)
        abort();
    long size = ftell(file);
    char *bytes = malloc((size_t)size + 1);
    rewind(file);
    if (!bytes || fread(bytes, 1, (size_t)size, file) != (size_t)size)
        abort();
    fclose(file);
    *ret_size = (size_t)size;
    return bytes;
}

#endif
