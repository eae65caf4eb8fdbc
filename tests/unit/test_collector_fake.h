/* SPDX-License-Identifier: MIT */
/* An agent made by hand, for tests of the collector: it fills slabs as format/slab.h says (or not),
 * and a reader that adds up what came into the trace. */
#ifndef WAITSCOPE_TESTS_UNIT_TEST_COLLECTOR_FAKE_H
#define WAITSCOPE_TESTS_UNIT_TEST_COLLECTOR_FAKE_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "collector/collector.h"
#include "format/hello.h"
#include "format/ring.h"
#include "model/trace_reader.h"

#define FAKE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct fake {
    int fd;
    struct slab_header *header;
    size_t bytes;
    uint32_t slot_bytes, ring_bytes; /* a hostile target spoils those in its header */
};

static inline uint64_t fake_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

static inline void fake_die(const char *what) {
    perror(what);
    _exit(99);
}

/* An unsealed slab of this process; image NULL: a new one. */
static inline struct fake fake_slab(uint32_t slots, uint32_t ring_bytes, uint32_t index,
                                    const struct image_id *image) {
    struct fake fake = {.fd = memfd_create("slab", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    uint32_t slot_bytes = SLOT_RING_OFFSET + ring_bytes;
    fake.slot_bytes = slot_bytes;
    fake.ring_bytes = ring_bytes;
    fake.bytes = SLAB_HEADER_BYTES + (size_t)slots * slot_bytes;
    if (fake.fd < 0 || ftruncate(fake.fd, (off_t)fake.bytes) != 0)
        fake_die("memfd");
    fake.header = mmap(NULL, fake.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fake.fd, 0);
    if (fake.header == MAP_FAILED)
        fake_die("mmap");
    struct slab_header *header = fake.header;
    header->magic = SLAB_MAGIC;
    header->version = SLAB_VERSION;
    header->slab_bytes = (uint32_t)fake.bytes;
    header->slot_count = slots;
    header->slot_bytes = slot_bytes;
    header->ring_bytes = ring_bytes;
    header->slab_index = index;
    if (image)
        header->image = *image;
    else if (getrandom(&header->image, sizeof(header->image), 0) != sizeof(header->image))
        fake_die("getrandom");
    header->pid = getpid();
    header->ppid = getppid();
    header->clock_kind = CLOCK_KIND_TSC;
    header->start_ticks = __rdtsc();
    header->start_ns = fake_now();
    header->recording = 1;
    header->exe_size = (uint32_t)snprintf(header->exe, sizeof(header->exe), "/fake/exe");
    memcpy(header->command, "fake\0command", 13);
    header->command_size = 13;
    return fake;
}

/* Connects; says nothing yet. */
static inline int fake_connect(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv(WAITSCOPE_SOCKET_VARIABLE);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (!path || fd < 0 || strlen(path) >= sizeof(address.sun_path))
        fake_die("socket");
    strcpy(address.sun_path, path);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        fake_die("connect");
    return fd;
}

static inline void fake_hello_send(const struct fake *fake) {
    struct hello hello = {.magic = HELLO_MAGIC,
                          .version = HELLO_VERSION,
                          .image = fake->header->image,
                          .slab_index = fake->header->slab_index};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec vector = {&hello, sizeof(hello)};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    memset(&control, 0, sizeof(control));
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &fake->fd, sizeof(int));
    int fd = fake_connect();
    if (sendmsg(fd, &message, MSG_NOSIGNAL) < 0)
        fake_die("sendmsg");
    close(fd);
}

/* Says why there will be no slab. */
static inline void fake_refuse(uint32_t refusal, int error) {
    struct hello hello = {.magic = HELLO_MAGIC, .version = HELLO_VERSION, .refusal = refusal, .error = error};
    int fd = fake_connect();
    if (send(fd, &hello, sizeof(hello), MSG_NOSIGNAL) != (ssize_t)sizeof(hello))
        fake_die("send");
    close(fd);
}

static inline void fake_announce(const struct fake *fake) {
    if (fcntl(fake->fd, F_ADD_SEALS, FAKE_SEALS) != 0)
        fake_die("seal");
    fake_hello_send(fake);
}

static inline struct thread_slot *fake_slot(const struct fake *fake, uint32_t index) {
    return slab_slot(fake->header, fake->slot_bytes, index);
}

/* Waits for the slot to be free and takes it for a thread. */
static inline struct thread_slot *fake_thread(const struct fake *fake, uint32_t index, uint32_t tid) {
    struct thread_slot *slot = fake_slot(fake, index);
    uint32_t expected = SLOT_FREE;
    while (!atomic_compare_exchange_strong_explicit(&slot->state, &expected, SLOT_TAKEN, memory_order_acquire,
                                                    memory_order_relaxed)) {
        expected = SLOT_FREE;
        usleep(50);
    }
    slot->tid = tid;
    slot->generation++;
    slot->start_ticks = __rdtsc();
    snprintf(slot->name, sizeof(slot->name), "t%u", tid);
    atomic_store_explicit(&slot->state, SLOT_LIVE, memory_order_release);
    return slot;
}

static inline void fake_thread_end(struct thread_slot *slot) {
    slot->end_ticks = __rdtsc();
    slot->cpu_ns = 12345;
    atomic_store_explicit(&slot->state, SLOT_ENDING, memory_order_release);
}

/* Appends a record as an agent does; false: the ring was full and it was counted as lost. */
static inline bool fake_record(const struct fake *fake, struct thread_slot *slot, void *record,
                               enum record_kind kind, size_t bytes) {
    struct record_header *header = record;
    uint64_t head;
    header->kind = (uint8_t)kind;
    header->words = (uint16_t)(bytes / 8);
    void *place = ring_reserve(&slot->ring, slot_ring_bytes(slot), fake->ring_bytes, (uint32_t)bytes, &head);
    bool counted = kind != RECORD_STACK && kind != RECORD_MODULE && kind != RECORD_NAME;
    if (counted)
        atomic_fetch_add_explicit(&slot->emitted, 1, memory_order_relaxed);
    if (!place) {
        if (counted)
            atomic_fetch_add_explicit(&slot->lost[LOSS_RING_FULL], 1, memory_order_relaxed);
        return false;
    }
    memcpy(place, record, bytes);
    ring_commit(&slot->ring, head);
    return true;
}

/* As fake_record, but waits for room. */
static inline void fake_record_sure(const struct fake *fake, struct thread_slot *slot, void *record,
                                    enum record_kind kind, size_t bytes) {
    while (atomic_load(&slot->ring.head) - atomic_load(&slot->ring.tail) > fake->ring_bytes - 2 * bytes - 8)
        usleep(50);
    if (!fake_record(fake, slot, record, kind, bytes))
        fake_die("ring");
}

static inline void fake_stack(const struct fake *fake, struct thread_slot *slot, uint64_t hash, uint64_t pc) {
    uint64_t words[4] = {0, hash, pc, pc + 0x100};
    struct record_header *header = (struct record_header *)words;
    header->value = 2;
    fake_record_sure(fake, slot, words, RECORD_STACK, sizeof(words));
}

static inline bool fake_wait(const struct fake *fake, struct thread_slot *slot, uint64_t key, uint64_t stack,
                             uint32_t owner) {
    uint64_t now = __rdtsc(); /* one reading: the thread may be preempted between two */
    struct record_wait record = {
        .key = key, .begin = now - 1000, .end = now, .stack = stack, .header.value = owner};
    return fake_record(fake, slot, &record, RECORD_WAIT, sizeof(record));
}

static inline void fake_wait_sure(const struct fake *fake, struct thread_slot *slot, uint64_t key,
                                  uint64_t stack, uint32_t owner) {
    uint64_t now = __rdtsc(); /* one reading: the thread may be preempted between two */
    struct record_wait record = {
        .key = key, .begin = now - 1000, .end = now, .stack = stack, .header.value = owner};
    fake_record_sure(fake, slot, &record, RECORD_WAIT, sizeof(record));
}

/* --- what came into the trace -------------------------------------------------------------------- */

#define FAKE_PROCESSES_MAX 64
#define FAKE_LOCKS_MAX 4096

struct fake_trace {
    uint64_t rows[TRACE_KIND_LIMIT];
    uint64_t losses[LOSS_REASON_COUNT], loss_total;
    uint64_t acquisitions, contended, wait_counted_ns;
    uint64_t emitted, stored; /* of TRACE_END */
    uint64_t cost_emitted;    /* sum over threads */
    uint64_t wait_orphans;    /* waits with no known lock, thread or stack */
    uint64_t waits_without_owner, waits_without_stack;
    uint64_t time_wrong; /* waits outside of the recording */
    struct trace_process processes[FAKE_PROCESSES_MAX + 1];
    struct trace_process_end ends[FAKE_PROCESSES_MAX + 1];
    struct trace_lock locks[FAKE_LOCKS_MAX + 1];
    uint64_t lock_waits[FAKE_LOCKS_MAX + 1];
    enum trace_state state;
    bool damaged;
};

static inline void fake_trace_block(struct fake_trace *trace, const struct trace_reader_block *block,
                                    uint64_t begin, uint64_t now) {
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
        } else if (block->kind == TRACE_END) {
            const struct trace_end *row = (const struct trace_end *)block->rows + i;
            trace->emitted = row->emitted;
            trace->stored = row->stored;
        } else if (block->kind == TRACE_COST) {
            trace->cost_emitted += ((const struct trace_cost *)block->rows + i)->emitted;
        } else if (block->kind == TRACE_PROCESS) {
            const struct trace_process *row = (const struct trace_process *)block->rows + i;
            if (row->id <= FAKE_PROCESSES_MAX)
                trace->processes[row->id] = *row;
        } else if (block->kind == TRACE_PROCESS_END) {
            const struct trace_process_end *row = (const struct trace_process_end *)block->rows + i;
            if (row->process <= FAKE_PROCESSES_MAX)
                trace->ends[row->process] = *row;
        } else if (block->kind == TRACE_LOCK) {
            const struct trace_lock *row = (const struct trace_lock *)block->rows + i;
            if (row->id <= FAKE_LOCKS_MAX)
                trace->locks[row->id] = *row;
        } else if (block->kind == TRACE_WAIT) {
            const struct trace_wait *row = (const struct trace_wait *)block->rows + i;
            trace->wait_orphans += row->lock == 0 || block->thread == 0;
            trace->waits_without_owner += row->owner == 0;
            trace->waits_without_stack += row->stack == 0;
            /* The fake's waits begin a thousand ticks before it could write them. */
            trace->time_wrong += row->begin + 1000000000ULL < begin || row->begin + row->duration > now;
            if (row->lock <= FAKE_LOCKS_MAX)
                trace->lock_waits[row->lock]++;
        }
    }
}

static inline bool fake_trace_read(const char *path, struct fake_trace *ret_trace) {
    struct trace_reader *reader;
    struct trace_reader_block block;
    memset(ret_trace, 0, sizeof(*ret_trace));
    if (trace_reader_open(path, NULL, &reader) != 0)
        return false;
    uint64_t begin = trace_reader_header(reader)->monotonic_ns, now = fake_now();
    while (trace_reader_next(reader, &block) == 1)
        fake_trace_block(ret_trace, &block, begin, now);
    const struct trace_reader_stats *stats = trace_reader_stats(reader);
    ret_trace->state = (enum trace_state)trace_reader_header(reader)->state;
    ret_trace->damaged = stats->damaged_blocks || stats->torn_bytes || stats->missing_bytes;
    trace_reader_free(reader);
    return true;
}

/* Records this very program with these arguments (at most 3, NULL-terminated) as the target. */
static inline int fake_record_self(const char *const *arguments, const struct collector_options *base,
                                   const char *output, struct collector_result *ret_result) {
    char self[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[size > 0 ? size : 0] = '\0';
    char *command[6] = {self};
    for (size_t i = 0; i < 4 && arguments[i]; i++)
        command[i + 1] = (char *)(uintptr_t)arguments[i];
    struct collector_options options = base ? *base : (struct collector_options){0};
    options.no_kernel = true; /* what is counted here is what a made-up agent tells */
    options.command = command;
    options.listen_fd = -1;
    options.output = output;
    /* Any library will do: the target is its own agent. */
    options.agent = "/lib/x86_64-linux-gnu/libm.so.6";
    return collector_record(&options, ret_result);
}

#endif
