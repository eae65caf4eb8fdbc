/* SPDX-License-Identifier: MIT */
/*
 * One writer and one reader at full speed, first as two threads (for ThreadSanitizer), then as two
 * processes over a sealed memfd of which the writer is killed at a random moment: whatever the reader
 * accepts is whole and in order, and nothing that was committed is lost.
 *
 *     ring_stress [records] [kills]
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "format/ring.h"

#define RING_BYTES 16384U

struct shared {
    struct ring_state ring;
    _Atomic uint64_t written, refused; /* relaxed: read after the writer has ended */
    _Atomic uint32_t done;             /* release after the last commit, acquire by the reader */
    _Alignas(64) char memory[RING_BYTES];
};

static uint64_t mix(uint64_t value) {
    value *= 0x9E3779B97F4A7C15ULL;
    return value ^ value >> 31;
}

static void write_records(struct shared *shared, uint64_t records) {
    for (uint64_t number = 0; number < records;) {
        uint32_t words = 3 + (uint32_t)(mix(number) % 40);
        uint64_t head, *record = ring_reserve(&shared->ring, shared->memory, RING_BYTES, words * 8, &head);
        if (!record) {
            atomic_fetch_add_explicit(&shared->refused, 1, memory_order_relaxed);
            if (atomic_load_explicit(&shared->refused, memory_order_relaxed) % 64 == 0)
                sched_yield();
            continue;
        }
        *(struct record_header *)record =
            (struct record_header){.kind = RECORD_WAIT, .words = (uint16_t)words, .value = (uint32_t)number};
        for (uint32_t i = 1; i < words; i++)
            record[i] = mix(number + i);
        ring_commit(&shared->ring, head);
        number++;
        atomic_store_explicit(&shared->written, number, memory_order_relaxed);
    }
    atomic_store_explicit(&shared->done, 1, memory_order_release);
}

/* Returns the number of records that are whole and in order, or -1 - number at the first that is not. */
static int64_t read_records(struct shared *shared, uint64_t *tail, uint64_t *next) {
    static _Thread_local uint64_t out[RING_BYTES / 8];
    bool corrupt;
    size_t words =
        ring_read(&shared->ring, shared->memory, RING_BYTES, *tail, out, sizeof(out), &corrupt) / 8;
    if (corrupt)
        return -1;
    int64_t records = 0;
    for (size_t at = 0; at < words;) {
        const struct record_header *header = (const struct record_header *)&out[at];
        if (header->words == 0 || at + header->words > words)
            return -1 - (int64_t)*next;
        if (header->kind != RECORD_PAD) {
            if (header->value != (uint32_t)*next || header->words != 3 + mix(*next) % 40)
                return -1 - (int64_t)*next;
            for (uint32_t i = 1; i < header->words; i++)
                if (out[at + i] != mix(*next + i))
                    return -1 - (int64_t)*next;
            (*next)++;
            records++;
        }
        at += header->words;
    }
    *tail += words * 8;
    ring_release(&shared->ring, *tail);
    return records;
}

static struct shared *shared_make(void) {
    int fd = memfd_create("ring", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, sizeof(struct shared)) < 0)
        return NULL;
    void *memory = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return memory == MAP_FAILED ? NULL : memory;
}

static uint64_t thread_records;

static void *writer_thread(void *argument) {
    write_records(argument, thread_records);
    return NULL;
}

static int run_threads(uint64_t records) {
    struct shared *shared = shared_make();
    if (!shared)
        return 1;
    uint64_t tail = 0, next = 0;
    pthread_t writer;
    thread_records = records;
    if (pthread_create(&writer, NULL, writer_thread, shared) != 0)
        return 1;
    int64_t got = 0;
    while (got >= 0 && next < records) {
        got = read_records(shared, &tail, &next);
        if (got == 0)
            sched_yield();
    }
    if (got < 0) {
        fprintf(stderr, "threads: record %lld is torn or out of order\n", (long long)(-1 - got));
        return 1;
    }
    pthread_join(writer, NULL);
    printf("threads: %llu records in order, %llu refused while full\n", (unsigned long long)next,
           (unsigned long long)atomic_load(&shared->refused));
    munmap(shared, sizeof(*shared));
    return 0;
}

static int run_kill(unsigned seed, uint64_t *total) {
    struct shared *shared = shared_make();
    if (!shared)
        return 1;
    uint64_t tail = 0, next = 0;
    pid_t writer = fork();
    if (writer == 0) {
        write_records(shared, UINT64_MAX);
        _exit(0);
    }
    uint64_t limit = mix(seed) % 20000;
    int64_t got = 0;
    while (got >= 0 && next < limit) {
        got = read_records(shared, &tail, &next);
        if (got == 0)
            sched_yield();
    }
    kill(writer, SIGKILL);
    waitpid(writer, NULL, 0);
    if (got >= 0)
        got = read_records(shared, &tail, &next);
    uint64_t committed = atomic_load(&shared->written);
    int bad = got < 0 || next < committed || next > committed + 1;
    if (bad)
        fprintf(stderr, "kill %u: accepted %llu of %llu committed\n", seed, (unsigned long long)next,
                (unsigned long long)committed);
    *total += next;
    munmap(shared, sizeof(*shared));
    return bad;
}

int main(int argc, char **argv) {
    uint64_t records = argc > 1 ? strtoull(argv[1], NULL, 10) : 300000;
    unsigned kills = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 100;
    uint64_t total = 0;
    int bad = run_threads(records);
    for (unsigned i = 0; i < kills && !bad; i++)
        bad = run_kill(i, &total);
    if (!bad)
        printf("processes: %u writers killed, %llu records, none lost, none torn\n", kills,
               (unsigned long long)total);
    return bad;
}
