/* SPDX-License-Identifier: MIT */
/*
 * /tmp/perf-PID.map: lines "START SIZE NAME" in hexadecimal, appended by a JIT as it compiles
 * (Linux tools/perf/Documentation/jit-interface.txt). The directory is open to all: only a regular
 * file of the target's own user is read, and not more than FILE_BYTES_MAX of it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/recording.h"
#include "collector/symbol.h"

#define FILE_BYTES_MAX (128U << 20)

struct perf_entry {
    uint64_t start, end;
    uint32_t order;        /* later lines win: code memory is used again */
    uint32_t line;         /* of the source, 0 unknown */
    char *function, *file; /* into the text */
};

struct perf_map {
    char *text;
    struct perf_entry *entries;
    size_t count;
};

static char *file_read(int pid, unsigned uid) {
    char path[64];
    struct stat status;
    char *text = NULL;
    snprintf(path, sizeof(path), "/tmp/perf-%d.map", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return NULL;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == uid && status.st_size > 0) {
        size_t size = status.st_size < (off_t)FILE_BYTES_MAX ? (size_t)status.st_size : FILE_BYTES_MAX;
        text = malloc(size + 1);
        size_t have = 0;
        ssize_t got = 1;
        while (text && have < size && (got = read(fd, text + have, size - have)) > 0)
            have += (size_t)got;
        if (text)
            text[have] = '\0';
    }
    close(fd);
    return text;
}

/* V8 names code "JS:*function path:line:column", with a mark for the tier that compiled it. */
static void entry_name(struct perf_entry *entry, char *name) {
    static const char *const PREFIXES[] = {"JS:", "LazyCompile:", "Function:", "Script:", "Eval:"};
    entry->function = name;
    entry->file = NULL;
    entry->line = 0;
    char *rest = NULL;
    for (size_t i = 0; i < sizeof(PREFIXES) / sizeof(PREFIXES[0]) && !rest; i++) {
        if (strncmp(name, PREFIXES[i], strlen(PREFIXES[i])) == 0)
            rest = name + strlen(PREFIXES[i]);
    }
    if (!rest)
        return;
    rest += strspn(rest, "*~^+");
    char *file = strchr(rest, ' ');
    if (file) {
        *file++ = '\0';
        char *column = strrchr(file, ':');
        if (column && column > file) {
            *column = '\0';
            char *line = strrchr(file, ':');
            if (line) {
                *line = '\0';
                entry->line = (uint32_t)strtoul(line + 1, NULL, 10);
            }
        }
        entry->file = *file ? file : NULL;
    }
    entry->function = *rest ? rest : (char *)"(anonymous)";
}

static int entry_compare(const void *left, const void *right) {
    const struct perf_entry *a = left, *b = right;
    if (a->start != b->start)
        return a->start < b->start ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

struct perf_map *perf_map_load(int pid, unsigned uid) {
    struct perf_map *map = calloc(1, sizeof(*map));
    if (!map)
        return NULL;
    map->text = file_read(pid, uid);
    size_t lines = 0;
    for (const char *at = map->text; at && (at = strchr(at, '\n')); at++)
        lines++;
    map->entries = lines ? calloc(lines, sizeof(*map->entries)) : NULL;
    if (!map->entries) {
        perf_map_free(map);
        return NULL;
    }
    char *line = map->text;
    for (size_t i = 0; i < lines; i++) {
        char *end = strchr(line, '\n'), *at = line;
        *end = '\0';
        uint64_t start = strtoull(line, &at, 16);
        char *after = at;
        uint64_t size = strtoull(at, &after, 16);
        line = end + 1;
        if (at == after || size == 0 || start + size < start || *after != ' ' || after[1] == '\0')
            continue;
        struct perf_entry *entry = &map->entries[map->count];
        *entry = (struct perf_entry){.start = start, .end = start + size, .order = (uint32_t)map->count};
        entry_name(entry, after + 1);
        map->count++;
    }
    qsort(map->entries, map->count, sizeof(*map->entries), entry_compare);
    return map;
}

bool perf_map_find(const struct perf_map *map, uint64_t pc, struct symbol_frame *ret_frame) {
    size_t low = 0, high = map->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (map->entries[middle].start <= pc)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || pc >= map->entries[low - 1].end)
        return false;
    const struct perf_entry *entry = &map->entries[low - 1];
    *ret_frame = (struct symbol_frame){.function = entry->function, .file = entry->file, .line = entry->line};
    return true;
}

void perf_map_free(struct perf_map *map) {
    if (!map)
        return;
    free(map->text);
    free(map->entries);
    free(map);
}
