/* SPDX-License-Identifier: MIT */
/*
 * Reads a trace and answers questions about it. Prints nothing, draws nothing. Everything reached
 * from a model is const, owned by it, and valid until model_free(). One thread at a time.
 *
 * Ids of the trace are turned into array indexes: an index of MODEL_NONE means none or unknown.
 * These are always valid: the process of a thread and of a lock, the thread and the lock of a wait
 * and of a release, the stack of a site (stand-ins are made where the trace does not say).
 *
 * Every string is valid UTF-8 without control characters; what was not is U+FFFD.
 */
#ifndef WAITSCOPE_MODEL_MODEL_H
#define WAITSCOPE_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/record.h"
#include "format/trace.h"

#define MODEL_NONE UINT32_MAX

struct model;

/*
 * Where a thread's time went. Their sum is the thread's life. Of a thread with a schedule each instant is in
 * one of them by model/timeline.h; of others, what is no known wait is RUNNING as far as its CPU time says.
 */
enum model_state {
    MODEL_RUNNING,   /* on a CPU */
    MODEL_RUNNABLE,  /* ready to run, and no CPU: only where the scheduler's word is known */
    MODEL_LOCK_WAIT, /* mutex, rwlock, spin lock, lock-like semaphore, barrier */
    MODEL_BLOCKED,   /* condition or semaphore that is not idle waiting; in the kernel, but for sleep and poll
                      */
    MODEL_IDLE,      /* waiting for work, joining, sleeping, polling */
    MODEL_UNKNOWN,   /* neither known to run nor known to wait */
    MODEL_STATE_COUNT
};

/* What a thread waited for in the kernel while the agent saw no wait of it. SLEEP and POLL count as
 * MODEL_IDLE, the others as MODEL_BLOCKED. */
enum model_off_kind {
    MODEL_OFF_IO,         /* storage, or asleep in a call that reads, writes, sends, looks a file up ... */
    MODEL_OFF_PAGE_FAULT, /* a page had to come, or the memory map was locked */
    MODEL_OFF_SLEEP,      /* nanosleep, clock_nanosleep */
    MODEL_OFF_POLL,       /* epoll_wait, poll, select and their like */
    MODEL_OFF_FUTEX,      /* a futex: a wait that no agent saw */
    MODEL_OFF_STOPPED,    /* by a signal or a tracer */
    MODEL_OFF_OTHER,      /* in another call, or in none */
    MODEL_OFF_KIND_COUNT
};

struct model_process {
    uint32_t pid, parent_pid;
    const char *command, *exe;
    uint64_t start, end; /* ns */
    uint64_t cpu_ns;
    uint32_t exit;  /* enum trace_exit */
    uint32_t value; /* exit code or signal */
};

/* A source-level frame. Equal frames are one pointer-equal entry, so frames compare by address. */
struct model_frame {
    const char *function; /* never NULL; "[unknown]" or "module+0x1234" where nothing better is known */
    const char *file;     /* NULL unknown */
    uint32_t line;
    const char *module; /* base name, NULL unknown */
    bool inlined;
};

/* Leaf first, inlined frames expanded, frames of the agent itself left out. */
struct model_stack {
    uint32_t frame_count;
    const struct model_frame *const *frames;
    uint32_t flags; /* STACK_* of format/record.h */
};

/* Of one thread, a kind of waiting in the kernel and the call it was in. */
struct model_off_call {
    enum model_off_kind kind;
    const char *call;   /* "read"; NULL: in none, or in one that has no known number */
    uint64_t ns, count; /* stretches */
};

/* Who had the CPU while a thread was ready to run. */
struct model_ran {
    uint32_t thread; /* index; MODEL_NONE: of no process here, or none at all */
    const char
        *name;   /* never NULL; "[idle]" where the CPU had nothing to run: the thread was on its way to it */
    uint64_t ns; /* of the thread's delay; count: stretches */
    uint64_t count;
};

enum model_waker_kind { MODEL_WAKER_THREAD, MODEL_WAKER_INTERRUPT, MODEL_WAKER_OTHER };
/* Who ended a thread's blocks, from where. */
struct model_waker {
    enum model_waker_kind kind; /* OTHER: a thread of a process that is not recorded, or the kernel's own */
    uint32_t thread;            /* index, MODEL_NONE unless kind is THREAD */
    const char *name;           /* its label, "[interrupt]" or "[another process]" */
    uint32_t stack;             /* index, where it did; MODEL_NONE unknown */
    uint64_t ns, count;         /* blocked until then, without the delay that followed; blocks */
};

/* The scheduler's word on a thread. The lists are worst first. */
struct model_schedule {
    uint64_t begin, end; /* the part of its life that it is known of */
    uint64_t
        off_cpu_ns[MODEL_OFF_KIND_COUNT]; /* without what was runnable; outside of the agent's waits only */
    uint64_t voluntary, preempted;        /* switches away: to wait, and with more to do */
    uint64_t delay_ns, delay_maximum;     /* ready to run, and no CPU: all of it, and the longest */
    uint64_t lost, lost_ns;               /* stretches off a CPU that are not here; part of MODEL_UNKNOWN */
    const struct model_off_call *calls;   /* off_cpu_ns by call */
    const struct model_ran *ran;          /* delay_ns by who ran */
    const struct model_waker *wakers;     /* of all blocks that were ended, the agent's waits included */
    uint32_t call_count, ran_count, waker_count;
};

struct model_thread {
    uint32_t process; /* index */
    uint32_t tid;
    const char *name; /* as recorded, else the role; never NULL */
    const char *role; /* "main", "libuv-worker", else the start routine's name; never NULL */
    /* What to call it: its name, or the role where it has only the program's name; with its tid behind where
     * others are called the same: "teller", "waiter_run-4711". Never NULL. */
    const char *label;
    uint64_t start, end; /* ns; end: of the recording if it still lived */
    uint64_t cpu_ns;     /* 0 unknown */
    uint64_t states_ns[MODEL_STATE_COUNT];
    uint64_t lost;
    uint32_t creator; /* thread index, MODEL_NONE */
    bool ended;       /* its end is known; else it is that of the process or the recording */
    const struct model_schedule *schedule; /* NULL: nothing is known from the scheduler */
};

/* Of model_wait.flags, beside WAIT_*: had not ended when its thread or the recording did. Made from
 * the trace's last snapshot; it counts as a wait of the length it has so far. */
#define MODEL_WAIT_OPEN 0x80U

struct model_wait {
    uint64_t begin, end;
    uint32_t thread, lock; /* indexes */
    uint32_t stack;        /* index, MODEL_NONE */
    uint32_t owner;        /* thread index that held it at begin */
    union {
        uint32_t mutex;      /* where mode is LOCK_CLASS_CONDITION: its mutex, lock index */
        uint32_t owner_site; /* else: a stack of one frame, where the owner took it; MODEL_NONE */
    };
    uint8_t mode;  /* enum lock_class */
    uint8_t flags; /* WAIT_*, MODEL_WAIT_OPEN */
    bool idle;     /* not contention: see model/idle.c */
};

struct model_release {
    uint64_t time, held;
    uint32_t thread, lock, stack;
    uint8_t mode, flags;
};

/* One side of a lock's story: a stack with what it cost others or itself, worst first. */
struct model_site {
    uint32_t stack;   /* index */
    uint64_t ns;      /* waited here, or blamed on here */
    uint64_t count;   /* waits; of a holder those that it held longest in, each wait once */
    uint64_t idle_ns; /* the part of ns that is idle; sites are sorted by the other part */
};

/* What holders of a lock did while others waited for it. */
struct model_holding {
    enum model_state state;
    uint32_t lock; /* LOCK_WAIT, and BLOCKED or IDLE in a wait of the agent's: for which; else MODEL_NONE */
    enum model_off_kind kind; /* BLOCKED or IDLE without a lock: in the kernel, for what */
    const char *call;         /* and in which call; NULL in none that is known */
    uint64_t ns;
};

struct model_lock {
    uint32_t process;
    uint64_t address;
    uint32_t generation;
    enum lock_class cls; /* RWLOCK_WRITE for any rwlock */
    const char *name;    /* never NULL: "pools[2].lock", "mutex from pool_open" ... */
    const char *file;    /* where it is declared or was made; NULL unknown */
    uint32_t line;
    uint64_t acquisitions, contended;                      /* exact, from the agent's counts */
    uint64_t wait_total, wait_maximum, wait_p50, wait_p99; /* ns, over recorded waits */
    uint64_t wait_count;   /* recorded waits, those still open at the end included */
    uint64_t open_count;   /* of these, still open at the end */
    uint64_t wait_counted; /* ns, from the agent's counts: known even where a wait's record was lost */
    /* Waits that are in the agent's counts and have no record of their own: too brief for one, or lost. */
    uint64_t brief_count, brief_ns;
    uint64_t read_acquisitions, read_contended; /* of a rwlock, the part that was for reading */
    uint64_t wait_idle;                         /* the part of wait_total that is idle */
    uint64_t hold_total, hold_maximum;          /* ns */
    bool hold_estimated; /* hold_total is scaled up from timed holds, or short of what was not timed */
    bool idle;           /* all of its waiting is idle: listed after contention, never ranked with it */
    bool event;          /* not held but waited for: a condition, a signalling semaphore, join, sleep, poll,
                            or a futex whose words never named an owner */
    const struct model_site *waiters, *holders;
    uint32_t waiter_count, holder_count;
    /*
     * The time waited that is not idle, by what the holder did meanwhile (model/holder_state.c), and the part
     * in which nobody held it: let go, and whoever got it next had not come yet. They add up to wait_total -
     * wait_idle, where holders_known; else the scheduler tells nothing, or nobody holds such a lock: all 0.
     */
    bool holders_known;
    uint64_t holder_states_ns[MODEL_STATE_COUNT], handing_over_ns;
    const struct model_holding *holdings; /* of all but RUNNING and UNKNOWN, the MODEL_HOLDINGS_MAX worst */
    uint32_t holding_count;
};
#define MODEL_HOLDINGS_MAX 16U

/* A stretch of a thread's time that the program marked (include/waitscope.h). Those of a thread lie inside or
 * outside one another. */
struct model_region {
    uint64_t begin, end;
    uint32_t thread, kind; /* indexes */
    uint32_t depth;        /* regions it lies in */
    bool open;             /* it was over only because its thread or the program was */
    /* Of its thread, inside. Running and unknown are one, MODEL_UNKNOWN. */
    uint64_t states_ns[MODEL_STATE_COUNT];
};

/* All regions of one name. Times are inclusive: what lies in two of them counts in both. */
struct model_region_kind {
    const char *name;                      /* never NULL; "[unnamed]" */
    uint64_t count;                        /* regions, the open ones included */
    uint64_t open_count;                   /* of these, not over when their thread or the program was */
    uint32_t thread_count;                 /* threads that had some */
    uint64_t total, maximum, p50, p99;     /* ns */
    uint64_t states_ns[MODEL_STATE_COUNT]; /* as in struct model_region */
};

struct model_loss {
    uint64_t emitted, stored;
    uint64_t dropped[LOSS_REASON_COUNT];
};

/* How the stacks of the recorded waits and releases end. */
enum model_stack_end {
    MODEL_STACK_COMPLETE,       /* at its thread's start */
    MODEL_STACK_TRUNCATED,      /* it had more frames than are kept */
    MODEL_STACK_NO_INFORMATION, /* in code without call frame information */
    MODEL_STACK_NO_RULE,        /* in code whose call frame information cannot be followed */
    MODEL_STACK_UNREADABLE,     /* where a stack could not be read, or makes no sense */
    MODEL_STACK_UNKNOWN,        /* there is none: it was lost, or could not be taken at all */
    MODEL_STACK_END_COUNT
};

struct model_cost {
    uint64_t target_cpu_ns; /* CPU time of all recorded processes, 0 unknown */
    uint64_t agent_ns;      /* measured in slow paths, scaled from samples */
    uint64_t slow_paths;
    uint64_t setup_ns; /* starting the agent, all processes */
    uint64_t collector_cpu_ns;
    uint64_t file_bytes;
};

struct model_info {
    enum trace_state state; /* TRACE_RECORDING: still growing, or cut short */
    int stop_errno;
    uint64_t begin, end; /* ns, CLOCK_MONOTONIC */
    uint64_t wall_ns;    /* CLOCK_REALTIME at begin */
    uint64_t events;     /* waits and releases */
    uint64_t stretches;  /* off a CPU, from the scheduler */
    uint64_t stretches_lost;
    uint64_t samples;       /* on a CPU */
    uint64_t torn_bytes;    /* at the end of the file, not used */
    uint64_t damaged_bytes; /* in its middle, passed over */
    uint64_t bad_rows; /* left out because they made no sense, such as a wait that ends before it begins */
};

/*
 * Opens and reads a trace. On failure returns -errno and fills ret_why (if not NULL) with one line
 * that says what is wrong without naming the file: -ENOENT, -EACCES, -ENOEXEC (no trace),
 * -EPROTO (newer version), -EBADMSG (damaged at its start), -ENOMEM. A torn tail is no failure.
 */
int model_open(const char *path, struct model **ret_model, char *ret_why, size_t why_bytes);
void model_free(struct model *model); /* NULL is fine */

const struct model_info *model_info(const struct model *model);
const struct model_loss *model_loss(const struct model *model);
const struct model_cost *model_cost(const struct model *model);
/* How many waits and releases, open waits included, have a stack that ends so. */
uint64_t model_stack_ends(const struct model *model, enum model_stack_end end);
/* How many stretches off a CPU, and samples on one. */
uint64_t model_kernel_stack_ends(const struct model *model, enum model_stack_end end);

/* Arrays; the count is returned through ret_count, never NULL. */
const struct model_process *model_processes(const struct model *model, uint32_t *ret_count);
const struct model_thread *model_threads(const struct model *model, uint32_t *ret_count);
/* Worst first: contention by non-idle wait, then the idle ones, then the never contended. */
const struct model_lock *model_locks(const struct model *model, uint32_t *ret_count);
/* By begin time. wait.lock and release.lock index model_locks(). These and the three below sort a copy of
 * all events when the first of them is called; NULL and none where there is no memory for it. */
const struct model_wait *model_waits(const struct model *model, uint32_t *ret_count);
/* By time. */
const struct model_release *model_releases(const struct model *model, uint32_t *ret_count);
/* By thread, then by begin time, a region before those inside it. */
const struct model_region *model_regions(const struct model *model, uint32_t *ret_count);
/* Worst first: by lock waiting and blocking inside, then by total time. */
const struct model_region_kind *model_region_kinds(const struct model *model, uint32_t *ret_count);
const struct model_stack *model_stacks(const struct model *model, uint32_t *ret_count);
/* Indexes of one lock's or one thread's waits (by begin) and of one lock's releases (by time). An
 * index past the end has none. */
const uint32_t *model_lock_waits(const struct model *model, uint32_t lock, uint32_t *ret_count);
const uint32_t *model_lock_releases(const struct model *model, uint32_t lock, uint32_t *ret_count);
const uint32_t *model_thread_waits(const struct model *model, uint32_t thread, uint32_t *ret_count);
/* The process that the recording is about: the launched command, else the earliest. MODEL_NONE if
 * there is none. */
uint32_t model_target(const struct model *model);
/* Whether a frame is the program's own: not the C or C++ library's, a lock wrapper's or a thread
 * start's. frame is one of the model's. */
bool model_frame_is_application(const struct model_frame *frame);
/* "I/O", "page fault", "sleep", "poll", "futex", "stopped", "other". */
const char *model_off_kind_name(enum model_off_kind kind);
/* "mutex", "rwlock", "condition" ...; never NULL. */
const char *model_class_name(unsigned cls);
/* The class whose rules and words a lock goes by: a futex that had owners is a mutex. */
enum lock_class model_lock_rules(const struct model_lock *lock);
/* key=value facts of the run, in trace order. */
const char *model_environment(const struct model *model, uint32_t index,
                              const char **ret_value); /* NULL past the end */

/* Stack trees, for flame graphs. */
enum model_tree_kind {
    MODEL_TREE_WAIT,    /* time waited, by the waiter's stack */
    MODEL_TREE_BLAME,   /* the same time, by the stack of who held or woke */
    MODEL_TREE_CPU,     /* time on a CPU, by samples: the program's frames, then the kernel's */
    MODEL_TREE_OFFCPU,  /* time on no CPU, by the stack that left it, to wait or preempted */
    MODEL_TREE_OFFWAKE, /* the blocked part of it that was ended: "--" and the waker's stack, leaf first, on
                           top */
    MODEL_TREE_COUNT
};
/* What CPU, OFFCPU and OFFWAKE are drawn from knows no locks: theirs is MODEL_NONE. */
struct model_tree_filter {
    bool include_idle;              /* of CPU: no matter */
    uint32_t process, thread, lock; /* MODEL_NONE: any */
};
/* Nodes in depth-first order, node 0 the root (frame NULL). Children follow their parent, widest first. */
struct model_tree_node {
    const struct model_frame *frame; /* NULL at the root */
    const char *label;               /* for synthetic nodes, such as a lock's name or a thread's; else NULL */
    uint32_t parent, depth, subtree; /* subtree: nodes below this one */
    uint64_t total_ns, self_ns, count;
};
struct model_tree;
/* Returns 0, -EINVAL where an index of the filter is out of range, -ENOMEM. A tree without waits is its root.
 */
int model_tree_build(const struct model *model, enum model_tree_kind kind,
                     const struct model_tree_filter *filter, struct model_tree **ret_tree);
void model_tree_free(struct model_tree *tree);
const struct model_tree_node *model_tree_nodes(const struct model_tree *tree, uint32_t *ret_count);

/* The answer in words: who waits, for what, who holds it and where. Made in one place for every
 * view. Writes at most bytes, always terminated. */
void model_verdict(const struct model *model, char *ret_text, size_t bytes);

#endif
