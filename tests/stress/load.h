/* SPDX-License-Identifier: MIT */
/*
 * How a stress program runs target_load, bare or under `waitscope record`, talks with it, looks at the
 * collector meanwhile, and reads what was recorded.
 *
 * Sizes: a stress program has a short form, run by the tests, and a long one, run by `make stress`, which
 * sets WAITSCOPE_STRESS=full. load_size() chooses. Bounds of memory, counts and losses are checked; times
 * are printed and never checked.
 */
#ifndef WAITSCOPE_TESTS_STRESS_LOAD_H
#define WAITSCOPE_TESTS_STRESS_LOAD_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "format/record.h"
#include "format/trace.h"
#include "model/trace_reader.h"

#define LOAD_PATIENCE_S 240 /* for a line from a target; a busy machine is no failure */

static inline bool load_is_full(void) {
    const char *size = getenv("WAITSCOPE_STRESS");
    return size && strcmp(size, "full") == 0;
}

static inline unsigned long load_size(unsigned long in_short, unsigned long in_full) {
    return load_is_full() ? in_full : in_short;
}

static inline uint64_t load_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

/* --- a folder of its own ---------------------------------------------------------------------------- */

static char load_folder[PATH_MAX];

static inline bool load_begin(void) {
    const char *base = getenv("TMPDIR");
    snprintf(load_folder, sizeof(load_folder), "%s/waitscope-stress.XXXXXX", base && *base ? base : "/tmp");
    signal(SIGPIPE, SIG_IGN);
    return CHECK(mkdtemp(load_folder) != NULL);
}

/* A path in the folder; one of four buffers in turn. */
static inline const char *load_file(const char *name) {
    static char paths[4][PATH_MAX + 32];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", load_folder, name);
    return path;
}

static inline int load_end(void) {
    DIR *folder = opendir(load_folder);
    struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(folder), entry->d_name, 0);
    }
    if (folder)
        closedir(folder);
    CHECK_EQ_INT(rmdir(load_folder), 0);
    return check_summary();
}

/* --- a target --------------------------------------------------------------------------------------- */

#define LOAD_ARGUMENTS_MAX 12

struct load_run {
    pid_t pid; /* of the collector, or of the target if it is bare */
    pid_t target;
    int say;  /* its standard input */
    int hear; /* its standard output */
};

/*
 * Starts target_load with arguments (NULL-terminated), recorded into trace, or bare if that is NULL.
 * environment: more of it, "NAME=value", NULL-terminated; may be NULL.
 */
static inline bool load_start(struct load_run *run, const char *trace, const char *const *environment,
                              const char *const *arguments) {
    const char *command[LOAD_ARGUMENTS_MAX + 8];
    int to[2], from[2];
    size_t count = 0;
    if (trace) {
        command[count++] = TEST_BUILD_DIR "/bin/waitscope";
        command[count++] = "record";
        command[count++] = "--no-kernel"; /* the agent and the collector are what is loaded here */
        command[count++] = "-o";
        command[count++] = trace;
        command[count++] = "--";
    }
    command[count++] = TEST_BUILD_DIR "/tests/stress/target_load";
    for (size_t i = 0; arguments[i] && i < LOAD_ARGUMENTS_MAX; i++)
        command[count++] = arguments[i];
    command[count] = NULL;

    fflush(NULL);
    if (!CHECK(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0))
        return false;
    run->pid = fork();
    if (run->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(to[0], 0);
        dup2(from[1], 1);
        int quiet = open(load_file("stderr"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (trace && quiet >= 0)
            dup2(quiet, 2);
        for (; environment && *environment; environment++)
            putenv((char *)(uintptr_t)*environment);
        execv(command[0], (char **)(uintptr_t)command);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    run->say = to[1];
    run->hear = from[0];
    run->target = 0;
    return CHECK(run->pid > 0);
}

/* One line, a byte at a time: what comes after it is for the next call. */
static inline bool load_line(struct load_run *run, char *line, size_t bytes) {
    size_t used = 0;
    while (used + 1 < bytes) {
        struct pollfd ready = {.fd = run->hear, .events = POLLIN};
        if (poll(&ready, 1, LOAD_PATIENCE_S * 1000) != 1 || read(run->hear, line + used, 1) != 1)
            break;
        if (line[used++] == '\n')
            break;
    }
    line[used] = '\0';
    return used > 0;
}

/* The next line must begin with word; what follows it goes to rest (may be NULL). */
static inline bool load_hear(struct load_run *run, const char *word, char *rest, size_t bytes) {
    char line[256];
    if (!load_line(run, line, sizeof(line))) {
        fprintf(stderr, "no line \"%s\" from the target\n", word);
        return CHECK(false);
    }
    size_t length = strlen(word);
    if (strncmp(line, word, length) != 0) {
        fprintf(stderr, "\"%s\" awaited, heard %s", word, line);
        return CHECK(false);
    }
    if (rest && bytes > 0) {
        size_t size = strnlen(line + length, bytes - 1);
        memcpy(rest, line + length, size);
        rest[size] = '\0';
    }
    return true;
}

static inline void load_go(struct load_run *run) {
    CHECK(write(run->say, "\n", 1) == 1);
}

/* Its wait status once it has ended. */
static inline int load_wait(struct load_run *run) {
    int status = -1;
    close(run->say);
    close(run->hear);
    waitpid(run->pid, &status, 0);
    return status;
}

/* --- what a process uses ---------------------------------------------------------------------------- */

/* A field of /proc/PID/status in KiB, 0 if it has none. */
static inline uint64_t load_status_kib(pid_t pid, const char *field) {
    char path[64], line[256];
    unsigned long long value = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file)) {
        if (strncmp(line, field, strlen(field)) == 0 && line[strlen(field)] == ':')
            sscanf(line + strlen(field) + 1, "%llu", &value);
    }
    if (file)
        fclose(file);
    return value;
}

struct load_descriptors {
    uint64_t count;
    uint64_t slabs;      /* memfds of agents */
    uint64_t slab_bytes; /* memory that they really take */
};

/* The slabs that a collector has, by its descriptors; those of the target are the same memory. */
static inline struct load_descriptors load_descriptors(pid_t pid) {
    struct load_descriptors found = {0};
    char path[64], link[128];
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *folder = opendir(path);
    struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        struct stat status;
        if (entry->d_name[0] == '.')
            continue;
        found.count++;
        ssize_t size = readlinkat(dirfd(folder), entry->d_name, link, sizeof(link) - 1);
        link[size > 0 ? size : 0] = '\0';
        if (strncmp(link, "/memfd:waitscope", 16) == 0 &&
            fstatat(dirfd(folder), entry->d_name, &status, 0) == 0) {
            found.slabs++;
            found.slab_bytes += (uint64_t)status.st_blocks * 512;
        }
    }
    if (folder)
        closedir(folder);
    return found;
}

/* --- ratios ------------------------------------------------------------------------------------------ */

struct load_best {
    double wall, cpu; /* least of the rounds, ns; 0: none yet */
};

static inline void load_best_take(struct load_best *best, const char *figures) {
    double wall = 0, cpu = 0;
    CHECK(sscanf(figures, "%lf %lf", &wall, &cpu) == 2);
    if (best->wall == 0 || wall < best->wall)
        best->wall = wall;
    if (best->cpu == 0 || cpu < best->cpu)
        best->cpu = cpu;
}

/* --- what was recorded ------------------------------------------------------------------------------- */

struct load_trace {
    uint64_t rows[TRACE_KIND_LIMIT];
    uint64_t losses[LOSS_REASON_COUNT], loss_total;
    uint64_t acquisitions, contended;
    uint64_t emitted, stored; /* of the end's row */
    uint64_t cost_emitted;    /* sum over threads */
    enum trace_state state;
    bool damaged, ended;
};

static inline void load_trace_block(struct load_trace *trace, const struct trace_reader_block *block) {
    trace->rows[block->kind] += block->row_count;
    for (uint32_t i = 0; i < block->row_count; i++) {
        if (block->kind == TRACE_LOSS) {
            const struct trace_loss *row = (const struct trace_loss *)block->rows + i;
            trace->losses[row->reason % LOSS_REASON_COUNT] += row->count;
            trace->loss_total += row->count;
        } else if (block->kind == TRACE_COUNT) {
            const struct trace_count *row = (const struct trace_count *)block->rows + i;
            trace->acquisitions += row->acquisitions;
            trace->contended += row->contended;
        } else if (block->kind == TRACE_COST) {
            trace->cost_emitted += ((const struct trace_cost *)block->rows + i)->emitted;
        } else if (block->kind == TRACE_END) {
            const struct trace_end *row = (const struct trace_end *)block->rows + i;
            trace->emitted = row->emitted;
            trace->stored = row->stored;
            trace->ended = true;
        }
    }
}

/* Nothing was lost; says what was. */
static inline bool load_trace_lossless(const struct load_trace *trace) {
    for (int reason = 0; reason < LOSS_REASON_COUNT; reason++) {
        if (trace->losses[reason])
            fprintf(stderr, "lost %llu for reason %d\n", (unsigned long long)trace->losses[reason], reason);
    }
    return CHECK_EQ_U64(trace->loss_total, 0);
}

/* Reads a whole trace; each block goes to visit as well, which may be NULL. */
static inline bool load_trace_read(const char *path, struct load_trace *ret_trace,
                                   void (*visit)(void *context, const struct trace_reader_block *block),
                                   void *context) {
    struct trace_reader *reader;
    struct trace_reader_block block;
    memset(ret_trace, 0, sizeof(*ret_trace));
    if (!CHECK_EQ_INT(trace_reader_open(path, NULL, &reader), 0))
        return false;
    while (trace_reader_next(reader, &block) == 1) {
        load_trace_block(ret_trace, &block);
        if (visit)
            visit(context, &block);
    }
    const struct trace_reader_stats *stats = trace_reader_stats(reader);
    ret_trace->state = (enum trace_state)trace_reader_header(reader)->state;
    ret_trace->damaged = stats->damaged_blocks || stats->torn_bytes || stats->missing_bytes;
    trace_reader_free(reader);
    return true;
}

#endif
