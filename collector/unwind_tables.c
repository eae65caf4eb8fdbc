/* SPDX-License-Identifier: MIT */
#include "collector/unwind_tables.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "collector/clock.h"
#include "collector/unwind_maps.h"
#include "collector/unwind_module.h"

/* As long as GRACE_NS in unwind_module.c, and for the same reason: a table is not written again while the
 * kernel may still read it, be it for a child that we have not heard of yet. */
#define TABLE_GRACE_NS 1000000000ULL

/* What we know of a table; its slot in the pool is its number. */
struct table_info {
    uint32_t slot;
    uint32_t uses; /* by processes */
    uint64_t hash; /* of its content */
    uint64_t unused_ns;
    uint32_t module_count;
    uint32_t modules[UNWIND_RANGES_MAX]; /* of the ranges */
};

struct process {
    pid_t pid;
    uint32_t table; /* index + 1 into tables */
};

/* The maps by which programs find it all, by their names in unwind.bpf.h. */
enum { MAP_PROCESSES, MAP_WALKS, MAP_CACHE, MAP_COUNTERS, MAPS };

struct unwind_tables {
    struct unwind_modules modules;
    struct unwind_pool slots;
    int maps[MAPS];
    int vdso;                   /* a copy of it as a file, -1 none */
    struct table_info **tables; /* NULL: free */
    uint32_t table_count, table_room;
    struct process *processes; /* pid 0: free */
    uint32_t process_count, process_room, process_live;
    struct table by_pid; /* to index + 1 */
    uint32_t generation;
    uint64_t ranges_lost, processes_lost, maps_read;
};

/* --- opening ------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum bpf_map_type type;
    uint32_t value_bytes, entries;
} map_rows[MAPS] = {
    [MAP_PROCESSES] = {"unwind_processes", BPF_MAP_TYPE_HASH, sizeof(uint32_t), UNWIND_PROCESSES_MAX},
    [MAP_WALKS] = {"unwind_walks", BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(struct unwind_walk), UNWIND_LEVELS},
    [MAP_CACHE] = {"unwind_cache", BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(struct unwind_cache), 1},
    [MAP_COUNTERS] = {"unwind_counters", BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(struct unwind_counters), 1},
};

/* Every 64-bit process has the kernel's one vDSO for them, and so have we: as a file it is like any other. */
static int vdso_copy(void) {
    const char *image = (const char *)getauxval(AT_SYSINFO_EHDR);
    FILE *maps = image ? fopen("/proc/self/maps", "re") : NULL;
    unsigned long low, high, bytes = 0;
    char line[512];
    while (maps && bytes == 0 && fgets(line, sizeof(line), maps))
        if (sscanf(line, "%lx-%lx", &low, &high) == 2 && low == (unsigned long)image)
            bytes = high - low;
    if (maps)
        fclose(maps);
    int fd = bytes ? memfd_create("vdso", MFD_CLOEXEC) : -1;
    if (fd >= 0 && write(fd, image, bytes) != (ssize_t)bytes) {
        close(fd);
        fd = -1;
    }
    return fd;
}

int unwind_tables_open(struct unwind_tables **ret_tables) {
    struct unwind_tables *tables = calloc(1, sizeof(*tables));
    if (!tables)
        return -ENOMEM;
    tables->modules.pages.outer = tables->modules.rows.outer = tables->slots.outer = -1;
    for (unsigned i = 0; i < MAPS; i++)
        tables->maps[i] = -1;
    tables->vdso = vdso_copy();
    int error = unwind_modules_open(&tables->modules);
    if (error == 0)
        error = unwind_pool_open("unwind_tables", sizeof(struct unwind_table), UNWIND_CHUNK_TABLES_BITS,
                                 &tables->slots);
    for (unsigned i = 0; i < MAPS && error == 0; i++) {
        tables->maps[i] = bpf_map_create(map_rows[i].type, map_rows[i].name, 4, map_rows[i].value_bytes,
                                         map_rows[i].entries, NULL);
        error = tables->maps[i] < 0 ? tables->maps[i] : 0;
    }
    uint32_t empty = UNWIND_TABLE_EMPTY;
    if (error == 0)
        error = unwind_pool_take(&tables->slots, 1, &empty); /* the first there is */
    if (error < 0) {
        unwind_tables_close(tables);
        return error;
    }
    *(struct unwind_table *)unwind_pool_at(&tables->slots, empty) =
        (struct unwind_table){.generation = ++tables->generation};
    *ret_tables = tables;
    return 0;
}

void unwind_tables_close(struct unwind_tables *tables) {
    if (!tables)
        return;
    for (unsigned i = 0; i < MAPS; i++)
        if (tables->maps[i] >= 0)
            close(tables->maps[i]);
    for (uint32_t i = 0; i < tables->table_count; i++)
        free(tables->tables[i]);
    if (tables->vdso >= 0)
        close(tables->vdso);
    unwind_pool_close(&tables->slots);
    unwind_modules_close(&tables->modules);
    table_clear(&tables->by_pid);
    free(tables->tables);
    free(tables->processes);
    free(tables);
}

static int map_bind(const struct bpf_object *object, const char *name, int fd) {
    struct bpf_map *map = bpf_object__find_map_by_name(object, name);
    return map ? bpf_map__reuse_fd(map, fd) : 0;
}

int unwind_tables_bind(const struct unwind_tables *tables, const struct bpf_object *object) {
    int error = map_bind(object, "unwind_pages", tables->modules.pages.outer);
    if (error == 0)
        error = map_bind(object, "unwind_rows", tables->modules.rows.outer);
    if (error == 0)
        error = map_bind(object, "unwind_tables", tables->slots.outer);
    for (unsigned i = 0; i < MAPS && error == 0; i++)
        error = map_bind(object, map_rows[i].name, tables->maps[i]);
    return error;
}

/* --- tables -------------------------------------------------------------------------------------------- */

/* A table in the making. */
struct drawing {
    struct unwind_tables *tables;
    struct unwind_table table;
    uint32_t modules[UNWIND_RANGES_MAX];
    uint64_t now_ns;
    int error;
};

static void table_leave(struct table_info *info, uint64_t now_ns) {
    if (--info->uses == 0)
        info->unused_ns = now_ns;
}

/* Frees what nobody has used for long enough, so that its modules can go too. */
static void tables_sweep(struct unwind_tables *tables, uint64_t now_ns) {
    for (uint32_t i = 0; i < tables->table_count; i++) {
        struct table_info *info = tables->tables[i];
        if (!info || info->uses > 0 || now_ns - info->unused_ns < TABLE_GRACE_NS)
            continue;
        for (uint32_t j = 0; j < info->module_count; j++)
            unwind_module_leave(&tables->modules, info->modules[j], info->unused_ns);
        unwind_pool_give(&tables->slots, info->slot, 1);
        free(info);
        tables->tables[i] = NULL;
    }
}

static uint64_t ranges_hash(const struct unwind_table *table) {
    const uint64_t *words = (const uint64_t *)table->ranges;
    uint64_t hash = table->count | (uint64_t)table->flags << 32;
    for (size_t i = 0; i < table->count * sizeof(table->ranges[0]) / 8; i++) {
        hash = (hash ^ words[i]) * 0x9E3779B97F4A7C15ULL;
        hash ^= hash >> 29;
    }
    return hash;
}

/* An index for a new table, whose pointer may be NULL before. */
static int table_place(struct unwind_tables *tables, uint32_t *ret_index) {
    for (uint32_t i = 0; i < tables->table_count; i++)
        if (!tables->tables[i]) {
            *ret_index = i;
            return 0;
        }
    if (tables->table_count == tables->table_room) {
        uint32_t room = tables->table_room ? tables->table_room * 2 : 32;
        struct table_info **larger = realloc(tables->tables, room * sizeof(*larger));
        if (!larger)
            return -ENOMEM;
        tables->tables = larger;
        tables->table_room = room;
    }
    *ret_index = tables->table_count;
    tables->tables[tables->table_count++] = NULL;
    return 0;
}

/* The table that says what was drawn; one that there is already where there is one. */
static int table_find(struct drawing *drawing, uint32_t *ret_index) {
    struct unwind_tables *tables = drawing->tables;
    uint64_t hash = ranges_hash(&drawing->table);
    size_t bytes = drawing->table.count * sizeof(drawing->table.ranges[0]);
    uint32_t index = 0;
    for (uint32_t i = 0; i < tables->table_count; i++) {
        const struct table_info *info = tables->tables[i];
        if (!info || info->hash != hash)
            continue;
        const struct unwind_table *table = unwind_pool_at(&tables->slots, info->slot);
        if (table->count == drawing->table.count && table->flags == drawing->table.flags &&
            memcmp(table->ranges, drawing->table.ranges, bytes) == 0) {
            *ret_index = i;
            return 0;
        }
    }
    struct table_info *info = calloc(1, sizeof(*info));
    int error = info ? table_place(tables, &index) : -ENOMEM;
    if (error == 0)
        error = unwind_pool_take(&tables->slots, 1, &info->slot);
    if (error < 0) {
        free(info);
        return error;
    }
    if (++tables->generation == 0)
        tables->generation = 1;
    drawing->table.generation = tables->generation;
    info->hash = hash;
    info->unused_ns = drawing->now_ns;
    info->module_count = drawing->table.count;
    memcpy(info->modules, drawing->modules, info->module_count * sizeof(info->modules[0]));
    for (uint32_t i = 0; i < info->module_count; i++)
        unwind_module_use(&tables->modules, info->modules[i]);
    memcpy(unwind_pool_at(&tables->slots, info->slot), &drawing->table,
           offsetof(struct unwind_table, ranges) + bytes);
    tables->tables[index] = info;
    *ret_index = index;
    return 0;
}

static int mapping_draw(void *argument, const struct unwind_mapping *mapping) {
    struct drawing *drawing = argument;
    struct unwind_tables *tables = drawing->tables;
    struct unwind_file file = mapping->file;
    char vdso[32];
    const char *path = mapping->path;
    uint64_t address;
    uint32_t id;
    if (mapping->kind == UNWIND_MAPPING_ANONYMOUS) {
        drawing->table.flags |= UNWIND_TABLE_JIT;
        return 0;
    }
    if (mapping->kind == UNWIND_MAPPING_VDSO) {
        struct stat status;
        if (tables->vdso < 0 || fstat(tables->vdso, &status) < 0)
            return 0;
        file = (struct unwind_file){.inode = status.st_ino, .bytes = (uint64_t)status.st_size};
        snprintf(vdso, sizeof(vdso), "/proc/self/fd/%d", tables->vdso);
        path = vdso;
    }
    int error = path[0] ? unwind_module_find(&tables->modules, path, &file, drawing->now_ns, &id) : -EACCES;
    if (error == -ENOENT) { /* code, and no program: somebody writes it at run time */
        drawing->table.flags |= mapping->kind == UNWIND_MAPPING_FILE ? UNWIND_TABLE_JIT : 0;
        return 0;
    }
    if (error == -ESTALE) /* gone meanwhile */
        return 0;
    if (error < 0 || drawing->table.count == UNWIND_RANGES_MAX) {
        tables->ranges_lost++;
        return 0;
    }
    const struct unwind_module *module = &tables->modules.modules[id - 1];
    if (!unwind_module_address(module, mapping->offset, &address))
        return 0;
    uint64_t bytes = mapping->high - mapping->low;
    if (bytes > module->high - address)
        bytes = module->high - address;
    drawing->modules[drawing->table.count] = id;
    drawing->table.ranges[drawing->table.count++] = (struct unwind_range){
        .low = mapping->low,
        .high = mapping->low + bytes,
        .page = module->placed.page + (uint32_t)((address - module->low) >> UNWIND_PAGE_BITS),
        .codes = module->placed.codes,
    };
    return 0;
}

/* --- processes ----------------------------------------------------------------------------------------- */

static struct process *process_find(const struct unwind_tables *tables, pid_t pid) {
    uint32_t index = table_get(&tables->by_pid, (uint64_t)pid);
    return index ? &tables->processes[index - 1] : NULL;
}

static struct process *process_new(struct unwind_tables *tables, pid_t pid) {
    uint32_t i = 0;
    while (i < tables->process_count && tables->processes[i].pid != 0)
        i++;
    if (i == tables->process_room) {
        uint32_t room = tables->process_room ? tables->process_room * 2 : 16;
        struct process *larger = realloc(tables->processes, room * sizeof(*larger));
        if (!larger)
            return NULL;
        tables->processes = larger;
        tables->process_room = room;
    }
    if (table_set(&tables->by_pid, (uint64_t)pid, i + 1) < 0)
        return NULL;
    if (i == tables->process_count)
        tables->process_count++;
    tables->process_live++;
    tables->processes[i] = (struct process){.pid = pid};
    return &tables->processes[i];
}

/* The kernel goes by the table from now on. */
static int process_point(struct unwind_tables *tables, pid_t pid, uint32_t index, uint64_t now_ns) {
    struct process *process = process_find(tables, pid);
    uint32_t key = (uint32_t)pid, former = process ? process->table : 0;
    if (!process && !(process = process_new(tables, pid))) {
        tables->processes_lost++;
        return -ENOMEM;
    }
    tables->tables[index]->uses++;
    process->table = index + 1;
    if (former)
        table_leave(tables->tables[former - 1], now_ns);
    /* Also where nothing has changed for us: a fork or an exec may have changed it in the kernel. */
    int error = bpf_map_update_elem(tables->maps[MAP_PROCESSES], &key, &tables->tables[index]->slot, BPF_ANY);
    if (error < 0) {
        unwind_tables_process_remove(tables, pid);
        tables->processes_lost++;
        return error == -E2BIG ? -ENOSPC : error;
    }
    return 0;
}

int unwind_tables_process_add(struct unwind_tables *tables, pid_t pid) {
    struct drawing drawing = {.tables = tables, .now_ns = clock_now_ns()};
    uint32_t index = 0;
    tables->maps_read++;
    tables_sweep(tables, drawing.now_ns);
    int error = unwind_maps_read(pid, mapping_draw, &drawing);
    if (error == -ESRCH) {
        unwind_tables_process_remove(tables, pid);
        return error;
    }
    if (error == 0)
        error = table_find(&drawing, &index);
    return error < 0 ? error : process_point(tables, pid, index, drawing.now_ns);
}

int unwind_tables_process_fork(struct unwind_tables *tables, pid_t parent, pid_t child) {
    const struct process *process = process_find(tables, parent);
    return process ? process_point(tables, child, process->table - 1, clock_now_ns()) : 0;
}

void unwind_tables_process_remove(struct unwind_tables *tables, pid_t pid) {
    struct process *process = process_find(tables, pid);
    uint32_t key = (uint32_t)pid;
    bpf_map_delete_elem(tables->maps[MAP_PROCESSES], &key);
    if (!process)
        return;
    table_leave(tables->tables[process->table - 1], clock_now_ns());
    table_set(&tables->by_pid, (uint64_t)pid, 0);
    *process = (struct process){0};
    tables->process_live--;
}

void unwind_tables_adopt(struct unwind_tables *tables) {
    uint32_t key, next, *former = NULL;
    pid_t pids[64];
    unsigned count;
    do { /* looked for first, since adding changes what is gone through */
        count = 0;
        while (count < sizeof(pids) / sizeof(pids[0]) &&
               bpf_map_get_next_key(tables->maps[MAP_PROCESSES], former, &next) == 0) {
            key = next;
            former = &key;
            if (!process_find(tables, (pid_t)key))
                pids[count++] = (pid_t)key;
        }
        for (unsigned i = 0; i < count; i++)
            if (unwind_tables_process_add(tables, pids[i]) < 0)
                unwind_tables_process_remove(tables, pids[i]);
        former = NULL;
    } while (count == sizeof(pids) / sizeof(pids[0]));
}

bool unwind_tables_process_known(const struct unwind_tables *tables, pid_t pid) {
    return process_find(tables, pid) != NULL;
}

bool unwind_tables_view(const struct unwind_tables *tables, pid_t pid, struct unwind_tables_view *ret_view) {
    const struct process *process = process_find(tables, pid);
    if (!process)
        return false;
    *ret_view = (struct unwind_tables_view){
        .table = unwind_pool_at(&tables->slots, tables->tables[process->table - 1]->slot),
        .pages = &tables->modules.pages,
        .rows = &tables->modules.rows,
    };
    return true;
}

bool unwind_tables_process_jit(const struct unwind_tables *tables, pid_t pid) {
    struct unwind_tables_view view;
    return unwind_tables_view(tables, pid, &view) && (view.table->flags & UNWIND_TABLE_JIT);
}

void unwind_tables_process_each(const struct unwind_tables *tables, void (*call)(void *argument, pid_t pid),
                                void *argument) {
    for (uint32_t i = 0; i < tables->process_count; i++)
        if (tables->processes[i].pid != 0)
            call(argument, tables->processes[i].pid);
}

/* --- stats --------------------------------------------------------------------------------------------- */

static void counters_read(int map, struct unwind_counters *ret_counters) {
    int cpus = libbpf_num_possible_cpus();
    uint32_t zero = 0;
    struct unwind_counters *each = cpus > 0 ? calloc((size_t)cpus, sizeof(*each)) : NULL;
    if (each && bpf_map_lookup_elem(map, &zero, each) == 0)
        for (int i = 0; i < cpus; i++) {
            for (unsigned j = 0; j < UNWIND_ENDS; j++)
                ret_counters->ends[j] += each[i].ends[j];
            ret_counters->forks_lost += each[i].forks_lost;
        }
    free(each);
}

void unwind_tables_stats(const struct unwind_tables *tables, struct unwind_tables_stats *ret_stats) {
    const struct unwind_modules *modules = &tables->modules;
    struct unwind_tables_stats stats = {
        .processes = tables->process_live,
        .bytes = modules->pages.used * modules->pages.unit_bytes +
                 modules->rows.used * modules->rows.unit_bytes +
                 tables->slots.used * tables->slots.unit_bytes,
        .bytes_reserved = unwind_pool_bytes(&modules->pages) + unwind_pool_bytes(&modules->rows) +
                          unwind_pool_bytes(&tables->slots),
        .files_read = modules->read,
        .files_failed = modules->failed,
        .build_ns = modules->build_ns,
        .rows_unsupported = modules->unsupported,
        .ranges_lost = tables->ranges_lost,
        .processes_lost = tables->processes_lost,
        .maps_read = tables->maps_read,
    };
    for (uint32_t i = 0; i < tables->table_count; i++)
        stats.tables += tables->tables[i] != NULL;
    for (uint32_t i = 0; i < modules->count; i++) {
        const struct unwind_module *module = &modules->modules[i];
        stats.modules += module->file.inode != 0;
        stats.pages += module->placed.pages;
        stats.pages_single += module->placed.single;
        stats.pages_shared += module->placed.shared;
        stats.pages_full += module->placed.full;
    }
    counters_read(tables->maps[MAP_COUNTERS], &stats.counters);
    *ret_stats = stats;
}
