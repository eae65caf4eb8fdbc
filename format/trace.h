/* SPDX-License-Identifier: MIT */
/*
 * The trace file: a file header, then blocks, append-only. A block holds rows of one kind, stored
 * column by column (format/columns.h) and compressed with zstd. TRACE_KINDS is the one table that
 * writer, reader, fuzzer and docs/trace-format.md follow.
 *
 * Times are CLOCK_MONOTONIC nanoseconds. Ids are small, dense, start at 1, and 0 means none or
 * unknown. A definition (string, process, module, location, stack, thread, lock) is written before
 * its first use, except symbols (frame, lock_name), which may come at any later place.
 * Little endian throughout.
 */
#ifndef WAITSCOPE_FORMAT_TRACE_H
#define WAITSCOPE_FORMAT_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "format/off_cause.h"

#define TRACE_MAGIC "WAITSCOP"
#define TRACE_VERSION 1U
#define TRACE_FILE_HEADER_BYTES 256U
#define TRACE_BLOCK_MAGIC 0x314b4c42U /* "BLK1" */
#define TRACE_BLOCK_RAW_MAX (16U << 20)
#define TRACE_BLOCK_ROWS_MAX (1U << 20)

enum trace_state {
    TRACE_RECORDING = 1, /* still being written, or its collector was killed */
    TRACE_COMPLETE = 2,
    TRACE_STOPPED = 3, /* a write failed; stop_time and stop_errno say when and why */
};

/* At offset 0. Only the part from state on is ever rewritten, in place, so that a full disk can
 * still be told of. */
struct trace_file_header {
    char magic[8];
    uint32_t version;
    uint32_t header_bytes; /* where the first block begins */
    uint64_t wall_ns;      /* CLOCK_REALTIME at monotonic_ns */
    uint64_t monotonic_ns; /* when recording began */
    uint32_t state;        /* enum trace_state */
    int32_t stop_errno;
    uint64_t stop_ns;      /* end of recording, CLOCK_MONOTONIC; 0 while recording */
    uint64_t end_offset;   /* bytes of the file that are whole; 0 while recording */
    uint64_t index_offset; /* of the INDEX block; 0: none, scan */
};

#define TRACE_BLOCK_ZSTD 0x1U

/* Before each block's payload. crc32c covers this header with crc32c = 0, then the stored bytes. */
struct trace_block_header {
    uint32_t magic;
    uint16_t kind; /* enum trace_kind_id */
    uint16_t flags;
    uint32_t thread; /* id of the thread whose rows these are, 0 for kinds without one */
    uint32_t rows;
    uint32_t raw_bytes;    /* decoded payload */
    uint32_t stored_bytes; /* payload in the file */
    uint64_t time_begin;   /* earliest time in the rows, 0 if they have none */
    uint64_t time_end;
    uint64_t lost; /* events of this thread dropped since its last block of this kind */
    uint32_t crc32c;
    uint32_t reserved;
};

_Static_assert(sizeof(struct trace_file_header) <= TRACE_FILE_HEADER_BYTES, "file header");
_Static_assert(sizeof(struct trace_block_header) == 56, "no padding");

/* Bytes and lists are borrowed from whoever filled the row. */
struct trace_bytes {
    const char *data; /* not NUL-terminated; may be NULL if size is 0 */
    uint64_t size;
};
struct trace_list {
    const uint64_t *items; /* may be NULL if count is 0 */
    uint64_t count;
};

enum trace_kind_id {
    TRACE_STRING = 1,
    TRACE_ENVIRONMENT = 2,
    TRACE_PROCESS = 3,
    TRACE_PROCESS_END = 4,
    TRACE_MODULE = 5,
    TRACE_LOCATION = 6,
    TRACE_STACK = 7,
    TRACE_FRAME = 8,
    TRACE_THREAD = 9,
    TRACE_THREAD_NAME = 10,
    TRACE_THREAD_END = 11,
    TRACE_LOCK = 12,
    TRACE_LOCK_NAME = 13,
    TRACE_WAIT = 14,
    TRACE_RELEASE = 15,
    TRACE_COUNT = 16,
    TRACE_SNAPSHOT = 17,
    TRACE_LOSS = 18,
    TRACE_COST = 19,
    TRACE_END = 20,
    TRACE_INDEX = 21,
    TRACE_REGION = 22,
    TRACE_OFF_CPU = 23,
    TRACE_SAMPLE = 24,
    TRACE_SCHEDULE = 25,
    TRACE_KIND_LIMIT
};

/* Rows. Every scalar is 64 bits wide so that the codec is one loop; strings are string ids. */

struct trace_string {
    uint64_t id;
    struct trace_bytes text;
};
/* Facts about the machine and the run: kernel, cpus, node version, agent version, clock ... */
struct trace_environment {
    uint64_t key, value; /* strings */
};
struct trace_process {
    uint64_t id, pid, parent_pid, start;
    uint64_t command;  /* string: arguments joined by spaces */
    uint64_t exe;      /* string */
    uint64_t how;      /* 0 the launched command, 1 forked, 2 exec'ed or preloaded on its own */
    uint64_t setup_ns; /* what starting the agent cost */
};
enum trace_exit { TRACE_EXIT_UNKNOWN = 0, TRACE_EXIT_CODE = 1, TRACE_EXIT_SIGNAL = 2, TRACE_EXIT_EXEC = 3 };
struct trace_process_end {
    uint64_t process, time;
    uint64_t exit;   /* enum trace_exit */
    uint64_t value;  /* exit code or signal number */
    uint64_t cpu_ns; /* user + system of the whole process, 0 unknown */
};
struct trace_module {
    uint64_t id, process, start, end, bias;
    uint64_t path, build_id; /* strings; build id in lower-case hex */
};
/* A code address in one process. Its frames come as TRACE_FRAME rows. */
struct trace_location {
    uint64_t id, process, pc, module; /* module 0: in none (JIT, unmapped) */
};
struct trace_stack {
    uint64_t id, flags;          /* STACK_FLAGS of record.h */
    struct trace_list locations; /* leaf first */
};
/* One source-level frame of a location; several where functions were inlined. */
struct trace_frame {
    uint64_t location;
    uint64_t depth;    /* 0 is the innermost inlined one */
    uint64_t function; /* string, demangled */
    uint64_t file;     /* string, 0 unknown */
    uint64_t line;     /* 0 unknown */
    uint64_t inlined;  /* 1: inlined into depth + 1 */
};
struct trace_thread {
    uint64_t id, process, tid, start;
    uint64_t creator;       /* thread */
    uint64_t creator_stack; /* stack */
    uint64_t routine;       /* location of the start routine */
};
struct trace_thread_name {
    uint64_t thread, time, name;
    uint64_t given; /* 1: through the annotation API, and better than what the kernel knows */
};
struct trace_thread_end {
    uint64_t thread, time;
    uint64_t cpu_ns; /* CPU time of its whole life, 0 unknown */
};
struct trace_lock {
    uint64_t id, process, address, generation;
    uint64_t cls;        /* enum lock_class; a rwlock is LOCK_CLASS_RWLOCK_WRITE */
    uint64_t created;    /* 0 unknown or static */
    uint64_t init_stack; /* stack, 0 none */
    uint64_t first_site; /* location, 0 unknown */
    uint64_t initial;    /* semaphore's value, barrier's count */
};
enum trace_name_source {
    TRACE_NAME_ANNOTATION = 1,
    TRACE_NAME_SYMBOL = 2,     /* static data, by symbol or DWARF */
    TRACE_NAME_INIT_SITE = 3,  /* the function that initialised it */
    TRACE_NAME_FIRST_SITE = 4, /* the function that first took it */
};
struct trace_lock_name {
    uint64_t lock, name; /* string, such as pools[2].lock */
    uint64_t file, line; /* of its declaration or of the site; 0 unknown */
    uint64_t source;     /* enum trace_name_source */
};
/* The thread of a wait, release, count, region, off_cpu or sample is its block's. */
struct trace_wait {
    uint64_t begin, duration;
    uint64_t lock;
    uint64_t mode;  /* enum lock_class of this use: tells read from write */
    uint64_t flags; /* WAIT_* */
    uint64_t stack;
    uint64_t owner;      /* thread that held it when the wait began, 0 unknown */
    uint64_t owner_site; /* location at which the owner took it */
    uint64_t mutex;      /* lock: the condition's mutex */
};
struct trace_release {
    uint64_t time;
    uint64_t held; /* how long it had been held, 0 unknown */
    uint64_t lock, mode;
    uint64_t flags; /* RELEASE_* */
    uint64_t stack;
    uint64_t waiters;
};
/* Deltas: a reader adds them up by lock, mode and thread. */
struct trace_count {
    uint64_t lock, mode;
    uint64_t acquisitions, contended;
    uint64_t hold_ns, hold_samples; /* timed holds of acquisitions that did not wait */
    uint64_t hold_maximum;
    uint64_t wait_ns;           /* sum over contended acquisitions */
    uint64_t contended_hold_ns; /* sum over their holds, all of them */
};
/* A stretch of the block's thread that the program marked. */
struct trace_region {
    uint64_t begin, duration;
    uint64_t name;  /* string, 0: it has none */
    uint64_t depth; /* regions it lies in */
    uint64_t flags; /* REGION_* */
};
#define TRACE_OFF_OPEN 0x01U         /* it had not ended when its thread or the recording did */
#define TRACE_OFF_WOKEN_BY_IRQ 0x02U /* an interrupt ended it: a timer, a device */
/* A stretch that the block's thread was on no CPU, from the scheduler. */
struct trace_off_cpu {
    uint64_t begin, duration;
    uint64_t delay;       /* of duration: at its end it could have run; all of it if it was preempted */
    uint64_t cause;       /* enum trace_off_cause */
    uint64_t syscall;     /* the call it was in, number + 1; 0: in none */
    uint64_t flags;       /* TRACE_OFF_* */
    uint64_t stack;       /* where it left the CPU */
    uint64_t waker;       /* thread that ended it; 0: an interrupt, or a thread of no process here */
    uint64_t waker_stack; /* where */
    uint64_t ran;         /* thread that had the CPU until then; 0: another process', or none */
    uint64_t ran_name;    /* string: what that process' thread is called; 0: the CPU was idle, or ran tells */
    uint64_t lock;        /* what it waited at in a futex call, of LOCK_CLASS_FUTEX; 0: in none */
    uint64_t owner;       /* thread that held that when the wait began, 0 unknown */
};
/* The block's thread was on a CPU when the sampling clock ticked. */
struct trace_sample {
    uint64_t time;
    uint64_t weight;       /* ns that it stands for */
    uint64_t stack;        /* 0 unknown */
    uint64_t kernel_stack; /* 0: it was not in the kernel */
};
/* From begin to end the scheduler's word on a thread is known: where it was on no CPU there is an off_cpu
 * row, but for those lost. Written when the thread ends, and at the end. */
struct trace_schedule {
    uint64_t thread, begin, end;
    uint64_t stretches, lost; /* rows written; that there was no room for */
    uint64_t lost_ns;         /* the length of those lost */
};
/* Something that was still going on at a tick. */
struct trace_snapshot {
    uint64_t time, thread, lock, since, owner;
    uint64_t stack;      /* of the waiter */
    uint64_t owner_site; /* location at which the owner took it */
    uint64_t mode;
};
struct trace_loss {
    uint64_t time, process, thread; /* thread 0: of no one thread */
    uint64_t reason;                /* enum loss_reason */
    uint64_t count;                 /* since the last row for the same thread and reason */
};
/* What watching cost: written when a thread ends, and at the end. */
struct trace_cost {
    uint64_t thread;
    uint64_t emitted;                           /* records the agent wanted to write */
    uint64_t slow_paths, cost_samples, cost_ns; /* cost_ns: sum over the samples */
};
struct trace_end {
    uint64_t time;
    uint64_t emitted, stored; /* records, all threads; emitted = stored + losses */
    uint64_t collector_cpu_ns;
};
struct trace_index {
    uint64_t offset, kind, thread, rows, time_begin, time_end;
};

/* How a column is coded; format/columns.h has the details. */
enum trace_coding {
    TRACE_PLAIN = 1, /* unsigned varint */
    TRACE_DELTA = 2, /* zigzag varint of the difference from the row before, first from 0 */
    TRACE_BYTES = 3, /* struct trace_bytes: lengths as varints, then the bytes */
    TRACE_LIST = 4,  /* struct trace_list: counts as varints, then items as deltas */
};

struct trace_column {
    const char *name;
    uint16_t offset; /* in the row's struct */
    uint8_t coding;  /* enum trace_coding */
};

struct trace_kind {
    const char *name;
    uint16_t row_bytes;
    uint16_t column_count;
    const struct trace_column *columns;
};

/* Indexed by enum trace_kind_id; entry 0 is empty. Columns are only ever appended within a
 * version: a reader skips columns it does not know and takes missing ones as 0. */
extern const struct trace_kind TRACE_KINDS[TRACE_KIND_LIMIT];

#endif
