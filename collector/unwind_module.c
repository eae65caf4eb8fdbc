/* SPDX-License-Identifier: MIT */
#include "collector/unwind_module.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/clock.h"

/* A program in the kernel is done with what it found long before this is over, and whoever wants to know of a
 * fork has heard of it. */
#define GRACE_NS 1000000000ULL
/* Files that nobody has mapped any more are forgotten above this: a shell script starts the same few programs
 * again and again. */
#define UNUSED_PAGES_MAX (1U << 20)

int unwind_modules_open(struct unwind_modules *ret_modules) {
    struct unwind_modules modules = {.pages.outer = -1, .rows.outer = -1};
    int error = unwind_pool_open("unwind_pages", sizeof(uint64_t), UNWIND_CHUNK_PAGES_BITS, &modules.pages);
    if (error == 0)
        error = unwind_pool_open("unwind_rows", sizeof(uint16_t), UNWIND_CHUNK_ROWS_BITS, &modules.rows);
    if (error < 0) {
        unwind_modules_close(&modules);
        return error;
    }
    *ret_modules = modules;
    return 0;
}

void unwind_modules_close(struct unwind_modules *modules) {
    unwind_pool_close(&modules->pages);
    unwind_pool_close(&modules->rows);
    table_clear(&modules->by_file);
    free(modules->modules);
    *modules = (struct unwind_modules){.pages.outer = -1, .rows.outer = -1};
}

/* --- files --------------------------------------------------------------------------------------------- */

static uint64_t file_hash(const struct unwind_file *file) {
    uint64_t hash = file->device * 0x9E3779B97F4A7C15ULL ^ file->inode;
    hash = hash * 0xD1342543DE82EF95ULL ^ file->bytes;
    hash = hash * 0xD1342543DE82EF95ULL ^ (uint64_t)file->changed.tv_sec;
    hash = hash * 0xD1342543DE82EF95ULL ^ (uint64_t)file->changed.tv_nsec;
    return hash ^ hash >> 32;
}

static bool file_same(const struct unwind_file *left, const struct unwind_file *right) {
    return left->device == right->device && left->inode == right->inode && left->bytes == right->bytes &&
           left->changed.tv_sec == right->changed.tv_sec && left->changed.tv_nsec == right->changed.tv_nsec;
}

/* Not used any more and to be forgotten; its id is free then. */
static void module_forget(struct unwind_modules *modules, uint32_t id) {
    struct unwind_module *module = &modules->modules[id - 1];
    uint64_t hash = file_hash(&module->file);
    uint32_t first = table_get(&modules->by_file, hash);
    if (first == id) {
        /* Removing, or replacing what is there: neither needs memory. */
        table_set(&modules->by_file, hash, module->next);
    } else {
        while (modules->modules[first - 1].next != id)
            first = modules->modules[first - 1].next;
        modules->modules[first - 1].next = module->next;
    }
    unwind_pages_remove(&modules->pages, &modules->rows, &module->placed);
    *module = (struct unwind_module){.next = modules->free};
    modules->free = id;
}

/* Forgets unused files, the longest unused first, until the pages that are left of them are at most this. */
static void modules_shrink(struct unwind_modules *modules, uint64_t pages_max, uint64_t now_ns) {
    for (;;) {
        uint64_t pages = 0;
        uint32_t oldest = 0;
        for (uint32_t i = 0; i < modules->count; i++) {
            const struct unwind_module *module = &modules->modules[i];
            if (module->file.inode == 0 || module->uses > 0 || now_ns - module->unused_ns < GRACE_NS)
                continue;
            pages += module->placed.pages + 1; /* one that has none is no less to remember */
            if (oldest == 0 || module->unused_ns < modules->modules[oldest - 1].unused_ns)
                oldest = i + 1;
        }
        if (pages <= pages_max || oldest == 0)
            return;
        module_forget(modules, oldest);
    }
}

static int module_new(struct unwind_modules *modules, uint32_t *ret_id) {
    if (modules->free) {
        *ret_id = modules->free;
        modules->free = modules->modules[*ret_id - 1].next;
        return 0;
    }
    if (modules->count == modules->room) {
        uint32_t room = modules->room ? modules->room * 2 : 64;
        struct unwind_module *larger = realloc(modules->modules, room * sizeof(*larger));
        if (!larger)
            return -ENOMEM;
        modules->modules = larger;
        modules->room = room;
    }
    *ret_id = ++modules->count;
    return 0;
}

static int module_read(struct unwind_modules *modules, const char *path, struct unwind_module *module,
                       uint64_t now_ns) {
    struct unwind_rows rows = {0};
    struct stat status;
    uint64_t begin = clock_now_ns();
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int error = fd >= 0 ? 0 : errno == ENOENT || errno == ESRCH ? -ESTALE : -errno;
    /* What the path leads to now is what it led to when it was asked about. */
    if (error == 0 && (fstat(fd, &status) < 0 || status.st_ino != module->file.inode))
        error = -ESTALE;
    if (error == 0)
        error = unwind_rows_read(fd, &rows);
    if (error == 0)
        error = unwind_pages_place(&rows, &modules->pages, &modules->rows, &module->placed);
    if (error == -ENOSPC) {
        modules_shrink(modules, 0, now_ns);
        error = unwind_pages_place(&rows, &modules->pages, &modules->rows, &module->placed);
    }
    if (error == 0) {
        module->low = rows.low;
        module->high = rows.high;
        module->segment_count = rows.segment_count;
        memcpy(module->segments, rows.segments, sizeof(module->segments));
        modules->unsupported += rows.unsupported;
    }
    if (fd >= 0)
        close(fd);
    unwind_rows_free(&rows);
    modules->read++;
    modules->build_ns += clock_now_ns() - begin;
    return error;
}

int unwind_module_find(struct unwind_modules *modules, const char *path, const struct unwind_file *file,
                       uint64_t now_ns, uint32_t *ret_id) {
    uint64_t hash = file_hash(file);
    uint32_t id = table_get(&modules->by_file, hash);
    while (id && !file_same(&modules->modules[id - 1].file, file))
        id = modules->modules[id - 1].next;
    if (id) {
        *ret_id = id;
        return modules->modules[id - 1].placed.pages ? 0 : -ENOENT;
    }
    struct unwind_module module = {.file = *file, .unused_ns = now_ns};
    modules_shrink(modules, UNUSED_PAGES_MAX, now_ns);
    int error = module_read(modules, path, &module, now_ns);
    modules->failed += error < 0;
    if (error == -ENOMEM || error == -ENOSPC || error == -ESTALE || error == -EMFILE || error == -ENFILE)
        return error;
    module.next = table_get(&modules->by_file, hash);
    if (module_new(modules, &id) < 0 || table_set(&modules->by_file, hash, id) < 0) {
        unwind_pages_remove(&modules->pages, &modules->rows, &module.placed);
        if (id) {
            modules->modules[id - 1] = (struct unwind_module){.next = modules->free};
            modules->free = id;
        }
        return -ENOMEM;
    }
    modules->modules[id - 1] = module;
    *ret_id = id;
    return error < 0 ? -ENOENT : 0;
}

bool unwind_module_address(const struct unwind_module *module, uint64_t offset, uint64_t *ret_address) {
    for (unsigned i = 0; i < module->segment_count; i++) {
        const struct unwind_segment *segment = &module->segments[i];
        /* A mapping begins at a page's start, before the segment's own. */
        if (offset + 4095 >= segment->offset && offset < segment->offset + segment->bytes) {
            *ret_address = segment->address + (offset - segment->offset);
            return *ret_address >= module->low && *ret_address < module->high;
        }
    }
    return false;
}

void unwind_module_use(struct unwind_modules *modules, uint32_t id) {
    modules->modules[id - 1].uses++;
}

void unwind_module_leave(struct unwind_modules *modules, uint32_t id, uint64_t now_ns) {
    struct unwind_module *module = &modules->modules[id - 1];
    if (--module->uses == 0)
        module->unused_ns = now_ns;
}
