/* SPDX-License-Identifier: MIT */
/*
 * What the scheduler's probes (sched.bpf.c) hand to the collector, in one ring buffer. Times are
 * CLOCK_MONOTONIC ns, tids and tgids those of the collector's pid namespace; own_tid is the thread's in its
 * own, which is what it calls itself. Stacks go by the hash of format/stack_hash.h, within a process; a stack
 * is told of before it is first named, and again where that was forgotten since.
 */
#ifndef WAITSCOPE_BPF_SCHED_RECORD_H
#define WAITSCOPE_BPF_SCHED_RECORD_H

#include <linux/types.h>

#include "bpf/unwind_table.h"

#define SCHED_COMM_BYTES 16

enum sched_record_kind {
    SCHED_OFF = 1, /* struct sched_off: a thread is on a CPU again */
    SCHED_STACK,   /* struct sched_stack */
    SCHED_THREAD,  /* struct sched_life: a thread began, or is seen for the first time */
    SCHED_EXEC,    /* struct sched_life: its process became another program; other threads have ended */
    SCHED_EXIT,    /* struct sched_life: it ended */
    SCHED_SAMPLE,  /* struct sched_sample */
};

/* Every record begins so. */
struct sched_header {
    __u32 kind;
    __u32 tgid, tid, own_tid;
    __u64 time;
};

enum {
    SCHED_FLAG_IRQ = 1, /* an interrupt ended it */
};

enum {
    SCHED_FUTEX_PI = 1, /* the word holds the owner */
    SCHED_FUTEX_MOVED =
        2, /* woken at another address than it had begun to wait at: the words are not of that */
};

/* What a futex call waits at. address 0: it was in none, or the memory could not be read. */
struct sched_futex {
    __u64 address;
    __u32 word,
        second; /* there when the wait began, and 8 bytes behind, where the C library has a mutex' owner */
};

/* header.time: when it was on a CPU again. */
struct sched_off {
    struct sched_header header;
    __u64 begin;
    __u64 woken;                 /* 0: nobody had to wake it */
    __u64 stack, waker_stack;    /* hashes, 0 none */
    __u32 waker_tgid, waker_tid; /* 0: an interrupt, or not seen */
    __u32 ran_tgid, ran_tid;     /* had the CPU until then; tid 0: it was idle; one that is no
                                    thread's: somebody outside of the collector's namespace */
    __s32 syscall;               /* -1: in none */
    __u8 cause;                  /* enum trace_off_cause */
    __u8 flags;
    __u8 futex_flags;
    __u8 reserved;
    struct sched_futex futex;
    char ran_comm[SCHED_COMM_BYTES];
};

#define SCHED_STACK_KERNEL 0x80 /* frames are the kernel's: of the process too that was in it */

/* header.tid 0; what process it is of is in header.tgid. */
struct sched_stack {
    struct sched_header header;
    __u64 hash;
    __u16 count;
    __u8 end;   /* enum unwind_end */
    __u8 flags; /* UNWIND_STACK_*, SCHED_STACK_KERNEL */
    __u32 reserved;
    __u64 frames[]; /* count; the record may be longer */
};

struct sched_life {
    struct sched_header header;
    __u32 creator_tgid, creator_tid; /* of SCHED_THREAD, 0: it was there before; of SCHED_EXEC the thread's
                                        former tid, 0: that of the last one that has not ended */
    __u64 begin;                     /* from here on the thread's every stretch was seen */
    __u64 run_ns;                    /* of SCHED_EXIT: on a CPU in all its life */
    __u64 stretches, lost, lost_ns;  /* of SCHED_EXIT */
    __u32 process_ended;             /* of SCHED_EXIT: it was the last of its process */
    __u32 reserved;
    char comm[SCHED_COMM_BYTES];
};

struct sched_sample {
    struct sched_header header;
    __u64 stack;
    __u64 kernel_stack; /* 0: it was not in the kernel, or not known */
    __u64 weight_ns;    /* what it stands for */
};

/* Of a thread, in the map sched_threads, by tid. */
struct sched_thread {
    __u64 off, woken; /* 0: it is on a CPU; nobody has woken it */
    __u64 stack, waker_stack;
    __u64 begin;
    __u64 stretches, lost, lost_ns;
    __u32 tgid, own_tid;
    __u32 waker_tgid, waker_tid;
    __s32 syscall;
    __u8 cause, flags, futex_flags;
    __u8 reserved;
    struct sched_futex futex;
};

#define SCHED_PROCESSES_MAX 8192U
#define SCHED_THREADS_MAX 65536U
#define SCHED_STACKS_SEEN_BITS 16

struct sched_counters {
    __u64 threads_lost; /* that there was no room to follow */
    __u64 lost;         /* records of any kind that there was no room for */
};

#endif
