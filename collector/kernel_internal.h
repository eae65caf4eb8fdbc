/* SPDX-License-Identifier: MIT */
/* What the files of the kernel's side of the recording know of each other. */
#ifndef WAITSCOPE_COLLECTOR_KERNEL_INTERNAL_H
#define WAITSCOPE_COLLECTOR_KERNEL_INTERNAL_H

#include "collector/kernel.h"
#include "collector/recording.h"

/* A record that waits for its thread's row. */
struct kernel_row {
    union {
        struct sched_header header;
        struct sched_off off;
        struct sched_sample sample;
    };
};

struct kernel_thread {
    struct kernel_thread *next; /* of its process */
    struct kernel_process *process;
    uint32_t tid, own_tid, creator_tid;
    uint32_t thread; /* id */
    bool claimed;    /* an agent tells of it */
    bool described;  /* its row is written */
    bool ended;
    uint64_t begin, end;
    uint64_t run_ns, lost, lost_ns; /* by the probes */
    uint64_t written;               /* stretches */
    uint64_t dropped, dropped_ns;   /* stretches that could not wait for its row */
    char comm[SCHED_COMM_BYTES];
    struct kernel_row *rows;
    uint32_t row_count, row_room;
};

/* A program in a process: an exec makes another. */
struct kernel_process {
    struct kernel_process *next;
    uint32_t tgid;
    uint64_t begin;
    struct image *image; /* NULL: not known yet */
    bool bare;           /* of an image that was made here */
    bool execed;         /* began by an exec, not by a fork */
    bool seen_late;      /* it had begun before begin */
    bool urgent;         /* its threads' rows cannot wait any longer for an agent to report */
    bool ended;
    uint64_t replaced; /* when an exec, or another process of that number, took its place; 0: not */
    struct kernel_thread *threads;
    struct kernel_module *modules; /* by /proc, in the order of their addresses */
    uint32_t module_count;
    uint64_t modules_ns;         /* when they were looked up last */
    uint64_t modules_wait_ns;    /* for how long they are not looked up again */
    struct sched_stack **stacks; /* until the image is known */
    uint32_t stack_count, stack_room;
};

struct kernel_module {
    uint64_t start, end, bias;
    uint32_t build_id_size;
    uint8_t build_id[BUILD_ID_BYTES_MAX];
    char *path;
};

/* An agent's thread that could not be looked for in what the probes had told: their ring was being read. */
struct kernel_missed {
    const struct image *image; /* NULL: an empty place */
    uint32_t tid, thread;
    uint64_t start;
};
#define KERNEL_MISSED_MAX 256U

/* A thread that has ended: it may have woken another shortly before, which is told of when that one runs. */
struct kernel_ended {
    uint32_t tid, thread;
};
#define KERNEL_ENDED_MAX 4096U /* by tid, modulo this */

struct kernel {
    struct recording *recording;
    struct kernel_probes *probes;
    struct kernel_process *processes; /* newest first */
    struct kernel_thread **threads;   /* by number */
    uint32_t thread_count, thread_room;
    struct table by_tid; /* tid -> number of the live one */
    bool alone;          /* there are no agents to wait for */
    bool draining;       /* the probes' ring is being read */
    bool quiet;          /* the trace's writer is at work and must not be used: rows and stacks are queued */
    bool queued;
    struct kernel_symbols *symbols; /* NULL: no samples, or no memory */
    struct kernel_missed missed[KERNEL_MISSED_MAX];
    struct kernel_ended ended[KERNEL_ENDED_MAX];
    uint32_t missed_next;
};

/* kernel.c */
void kernel_record_take(void *kernel, const void *data, size_t bytes);

/* kernel_thread.c */
struct kernel_thread *kernel_thread_find(const struct kernel *kernel, uint32_t tid);
struct kernel_thread *kernel_thread_new(struct kernel *kernel, struct kernel_process *process,
                                        const struct sched_header *header, uint64_t begin);
/* It is not found by its tid any more. */
void kernel_thread_forget(struct kernel *kernel, struct kernel_thread *thread);
/* Writes the row, or keeps it until that may be done. */
void kernel_row_take(struct kernel *kernel, struct kernel_thread *thread, const struct kernel_row *row);
void kernel_rows_flush(struct kernel *kernel, struct kernel_thread *thread);
/* Writes its row, and what waited for it. Its process has an image, and no agent tells of it. */
void kernel_thread_describe(struct kernel *kernel, struct kernel_thread *thread);
/* It was none of its own after all. Frees it. */
void kernel_thread_drop(struct kernel *kernel, struct kernel_thread *thread);
/* Writes its own row where no agent does, what waits, and from when to when all is known. Frees it. */
void kernel_thread_settle(struct kernel *kernel, struct kernel_thread *thread);

/* kernel_image.c */
/* The image of what runs in the process; NULL: none has reported. */
struct image *kernel_image_find(struct kernel *kernel, struct kernel_process *process);
/* Makes one from what /proc says. Returns 0 or a negative errno. */
int kernel_image_make(struct kernel *kernel, struct kernel_process *process);
/* Once the image is known: defines what was seen before. */
void kernel_image_known(struct kernel *kernel, struct kernel_process *process);
void kernel_stack_take(struct kernel *kernel, struct kernel_process *process,
                       const struct sched_stack *stack);
/* Frees what it holds of modules and stacks. */
void kernel_image_clear(struct kernel_process *process);

/* kernel_module.c: what /proc/PID/maps says of code. */
/* Whether it may be looked at again for addresses in nothing known. */
bool kernel_modules_due(const struct kernel_process *process, uint64_t now);
/* anew: what is not there any more is forgotten. */
void kernel_modules_read(struct kernel_process *process, uint64_t now, bool anew);
const struct kernel_module *kernel_module_find(const struct kernel_process *process, uint64_t pc);
void kernel_modules_clear(struct kernel_process *process);

#endif
