/* SPDX-License-Identifier: MIT */
/*
 * The trace file's cost: bytes per lock event on disk, events written and loaded per second.
 *
 * The events are those of a simulated program: threads that think, take one of a few locks of
 * unequal popularity, hold it and let go, first come first served, with jitter and wake-up latency
 * in each time. A wait gives a TRACE_WAIT row, a release with others waiting a TRACE_RELEASE row.
 * The writer is flushed once a simulated second, as a collector would.
 *
 *     bench_trace [EVENTS [THREADS [FILE]]]     FILE is kept
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "collector/trace_writer.h"
#include "format/record.h"
#include "model/trace_reader.h"

#define LOCKS 6U
#define STACKS_PER_LOCK 4U
#define THREADS_MAX 256U
#define ROUNDS 5

static uint64_t random_state = 88172645463325252ULL;

static double random_unit(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return ((double)(random_state >> 11) + 0.5) / 9007199254740992.0;
}

/* Log-normal around a median: short ones are many, long ones few but long. */
static uint64_t random_ns(double median, double sigma) {
    double normal = sqrt(-2 * log(random_unit())) * cos(6.283185307179586 * random_unit());
    return (uint64_t)(median * exp(sigma * normal)) + 1;
}

static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

struct lock {
    double hold_ns;
    uint32_t owner; /* thread id, 0: free */
    uint64_t taken;
    uint32_t site;
    uint32_t queue[THREADS_MAX], head, tail;
};

struct thread {
    enum { THINKING, HOLDING, QUEUED } doing;
    uint64_t next; /* when it does something of its own accord */
    uint32_t lock, site;
    struct trace_wait wait;
};

struct program {
    struct lock locks[LOCKS];
    struct thread threads[THREADS_MAX];
    uint32_t thread_count;
    uint64_t now;
};

static uint32_t lock_choose(void) {
    double choice = random_unit();
    return choice < 0.45   ? 0
           : choice < 0.7  ? 1
           : choice < 0.82 ? 2
           : choice < 0.9  ? 3
           : choice < 0.96 ? 4
                           : 5;
}

static void lock_taken(struct program *program, struct lock *lock, uint32_t id) {
    struct thread *thread = &program->threads[id - 1];
    lock->owner = id;
    lock->taken = program->now;
    lock->site = thread->site;
    thread->doing = HOLDING;
    thread->next = program->now + random_ns(lock->hold_ns, 0.6);
}

/* Lets the thread with the earliest plan act. Returns the events it wrote, or a negative errno. */
static int program_step(struct program *program, struct trace_writer *writer) {
    uint32_t id = 0;
    int error = 0, events = 0;
    for (uint32_t i = 0; i < program->thread_count; i++) {
        if (program->threads[i].doing != QUEUED &&
            (id == 0 || program->threads[i].next < program->threads[id - 1].next))
            id = i + 1;
    }
    struct thread *thread = &program->threads[id - 1];
    if (thread->next > program->now)
        program->now = thread->next;

    if (thread->doing == THINKING) {
        thread->lock = lock_choose();
        thread->site =
            thread->lock * STACKS_PER_LOCK + (uint32_t)(random_unit() * random_unit() * STACKS_PER_LOCK);
        struct lock *lock = &program->locks[thread->lock];
        if (lock->owner == 0) {
            lock_taken(program, lock, id);
            return 0;
        }
        thread->doing = QUEUED;
        thread->wait = (struct trace_wait){.begin = program->now,
                                           .lock = thread->lock + 1,
                                           .mode = LOCK_CLASS_MUTEX,
                                           .stack = 100 + thread->site,
                                           .owner = lock->owner,
                                           .owner_site = 300 + lock->site};
        lock->queue[lock->tail++ % THREADS_MAX] = id;
        return 0;
    }

    struct lock *lock = &program->locks[thread->lock];
    struct trace_release release = {.time = program->now + random_ns(60, 0.2),
                                    .held = program->now - lock->taken,
                                    .lock = thread->lock + 1,
                                    .mode = LOCK_CLASS_MUTEX,
                                    .stack = 100 + thread->site,
                                    .waiters = lock->tail - lock->head};
    lock->owner = 0;
    thread->doing = THINKING;
    thread->next = program->now + random_ns(15000, 1.0);
    if (lock->tail == lock->head)
        return 0;
    error = trace_writer_row(writer, TRACE_RELEASE, id, &release);
    events++;
    uint32_t next = lock->queue[lock->head++ % THREADS_MAX];
    struct thread *waiter = &program->threads[next - 1];
    program->now += random_ns(1500, 0.5);
    waiter->wait.duration = program->now - waiter->wait.begin;
    lock_taken(program, lock, next);
    if (error == 0)
        error = trace_writer_row(writer, TRACE_WAIT, next, &waiter->wait);
    return error < 0 ? error : events + 1;
}

static int trace_make(const char *path, uint64_t events_wanted, uint32_t threads, uint64_t *ret_events) {
    static struct program program;
    struct trace_writer_options options = {.overwrite = true};
    struct trace_writer *writer = NULL;
    uint64_t events = 0, flushed;
    program.thread_count = threads;
    program.now = flushed = 123456789012345ULL;
    for (uint32_t i = 0; i < LOCKS; i++)
        program.locks[i].hold_ns = 800.0 * (i + 1);
    for (uint32_t i = 0; i < threads; i++)
        program.threads[i].next = program.now + random_ns(15000, 1.0);
    int error = trace_writer_open(path, &options, &writer);
    while (error >= 0 && events < events_wanted) {
        error = program_step(&program, writer);
        if (error > 0)
            events += (uint64_t)error;
        if (error >= 0 && program.now - flushed > 1000000000) {
            error = trace_writer_flush(writer);
            flushed = program.now;
        }
    }
    if (error >= 0)
        error = trace_writer_finish(writer);
    trace_writer_free(writer);
    *ret_events = events;
    return error < 0 ? error : 0;
}

/* Reads all rows and looks at each. */
static int trace_load(const char *path, uint64_t *ret_events, uint64_t *ret_sum) {
    struct trace_reader *reader = NULL;
    struct trace_reader_block block;
    uint64_t events = 0, sum = 0;
    int more = trace_reader_open(path, NULL, &reader);
    if (more < 0)
        return more;
    while ((more = trace_reader_next(reader, &block)) > 0) {
        if (block.kind == TRACE_WAIT) {
            const struct trace_wait *rows = block.rows;
            for (uint32_t i = 0; i < block.row_count; i++)
                sum += rows[i].duration;
            events += block.row_count;
        } else if (block.kind == TRACE_RELEASE) {
            const struct trace_release *rows = block.rows;
            for (uint32_t i = 0; i < block.row_count; i++)
                sum += rows[i].held;
            events += block.row_count;
        }
    }
    trace_reader_free(reader);
    *ret_events = events;
    *ret_sum = sum;
    return more;
}

/* What the kinds take on disk, from the blocks' headers. */
static void kinds_print(const char *path) {
    uint64_t bytes[TRACE_KIND_LIMIT] = {0}, rows[TRACE_KIND_LIMIT] = {0}, raw[TRACE_KIND_LIMIT] = {0};
    uint64_t blocks[TRACE_KIND_LIMIT] = {0};
    struct trace_block_header header;
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    fseek(file, TRACE_FILE_HEADER_BYTES, SEEK_SET);
    while (fread(&header, sizeof(header), 1, file) == 1 && header.kind < TRACE_KIND_LIMIT) {
        blocks[header.kind]++;
        rows[header.kind] += header.rows;
        raw[header.kind] += header.raw_bytes;
        bytes[header.kind] += sizeof(header) + header.stored_bytes;
        fseek(file, header.stored_bytes, SEEK_CUR);
    }
    fclose(file);
    for (int kind = 1; kind < TRACE_KIND_LIMIT; kind++) {
        if (rows[kind] > 0)
            printf("  %-10s %9lu rows %6lu blocks  %5.2f B/row on disk, %5.2f before zstd\n",
                   TRACE_KINDS[kind].name, (unsigned long)rows[kind], (unsigned long)blocks[kind],
                   (double)bytes[kind] / (double)rows[kind], (double)raw[kind] / (double)rows[kind]);
    }
}

int main(int argc, char **argv) {
    uint64_t wanted = argc > 1 ? strtoull(argv[1], NULL, 10) : 1200000, events, loaded = 0, sum;
    uint32_t threads = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 8;
    char made[] = "/tmp/waitscope-bench-XXXXXX";
    const char *path = argc > 3 ? argv[3] : made;
    if (threads < 2 || threads > THREADS_MAX)
        threads = 8;
    if (argc <= 3) {
        int fd = mkstemp(made);
        if (fd < 0)
            return 1;
        close(fd);
    }
    double begin = cpu_seconds();
    int error = trace_make(path, wanted, threads, &events);
    double write_seconds = cpu_seconds() - begin, best = 1e9;
    for (int round = 0; round < ROUNDS && error == 0; round++) {
        begin = cpu_seconds();
        error = trace_load(path, &loaded, &sum);
        double seconds = cpu_seconds() - begin;
        best = seconds < best ? seconds : best;
    }
    FILE *file = fopen(path, "re");
    long bytes = 0;
    if (file && fseek(file, 0, SEEK_END) == 0)
        bytes = ftell(file);
    if (file)
        fclose(file);
    if (error == 0 && loaded == events && bytes > 0) {
        printf("trace file, %lu lock events of %u threads, %u locks\n", (unsigned long)events, threads,
               LOCKS);
        printf("  on disk    %.2f B/event (%ld bytes)\n", (double)bytes / (double)events, bytes);
        printf("  loading    %.1f M events/s per core (best of %d, CPU time, page cache warm)\n",
               (double)events / best / 1e6, ROUNDS);
        printf("  writing    %.1f M events/s per core, the simulation included\n",
               (double)events / write_seconds / 1e6);
        kinds_print(path);
    }
    if (argc <= 3)
        unlink(path);
    if (error != 0 || loaded != events) {
        fprintf(stderr, "bench_trace: %lu of %lu events, error %d\n", (unsigned long)loaded,
                (unsigned long)events, error);
        return 1;
    }
    return 0;
}
