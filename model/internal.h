/* SPDX-License-Identifier: MIT */
/*
 * What the files of this room know of each other. A model is made in this order, each step using
 * only what is before it:
 *
 *   load.c           rows become arrays; ids become indexes
 *   settle.c         open waits are made, frames and stacks expanded and merged
 *   thread_role.c    names and roles of threads
 *   idle.c           which waits are idle, and what each lock was waited for in all
 *   off_cpu.c        stretches off a CPU, by thread and in order
 *   thread_states.c  where each thread's time went
 *   regions.c        where the time of marked regions went
 *   lock_label.c     names of locks
 *   hold.c           how long locks were held
 *   lock_stats.c     numbers of locks, their order, and through blame.c their sites; events by lock
 *   holder_state.c   what the holders of locks did while others waited
 *   schedule.c       of each thread, what blocked it, who woke it, what ran instead
 *   verdict.c        all of it in a sentence
 */
#ifndef WAITSCOPE_MODEL_INTERNAL_H
#define WAITSCOPE_MODEL_INTERNAL_H

#include "model/events.h"
#include "model/model.h"
#include "model/off_cpu.h"
#include "model/store.h"

enum frame_nature {
    FRAME_APPLICATION = 0,
    FRAME_WRAPPER, /* of a library, between the program and the lock */
    FRAME_START,   /* that every thread has at its root: clone, start_thread, _start */
    FRAME_MAIN,    /* main() */
};

/* A frame is always the first member of an entry, so a pointer to one leads to the other. */
struct frame_entry {
    struct model_frame frame;
    uint32_t stack;    /* of this one frame, MODEL_NONE if there is no need of it */
    const char *label; /* of the last lock that was named by it; see lock_label.c */
    uint8_t label_cls, label_how;
    uint8_t nature; /* enum frame_nature */
};

/* What is known of a thread beyond struct model_thread. */
struct thread_extra {
    const struct model_frame *routine; /* outermost frame of the start routine; NULL unknown */
    uint32_t routine_location;
    uint32_t creator_stack;         /* as read; through stack_map, MODEL_NONE */
    uint32_t held_stack;            /* stand-in stack "[still held by NAME]", MODEL_NONE */
    uint64_t last_event;            /* end of its last wait or time of its last release */
    struct trace_snapshot snapshot; /* its last; ids turned to indexes */
    uint32_t open_wait;             /* index in model.waits of the wait it ends in, MODEL_NONE */
    uint64_t emitted, slow_paths, cost_samples, cost_ns;
    uint64_t name_time;
    bool name_given; /* by the program itself */
    uint64_t block_lost;
    struct off_known known;
};

enum lock_mode { LOCK_MODE_OTHER = 0, LOCK_MODE_READ = 1, LOCK_MODES };

struct lock_extra {
    const char *given_name; /* from the trace; NULL */
    const char *given_file;
    uint32_t given_line;
    uint32_t given_source;
    uint32_t init_stack, first_location, first_site; /* first_site: stack of that location */
    uint64_t initial;
    struct {
        uint64_t acquisitions, contended;
    } counts[LOCK_MODES];
    uint64_t hold_maximum, wait_ns;
    uint64_t waits_had, waits_ended_ns; /* of recorded waits: that led to an acquisition; that are over */
    bool lock_like;                     /* a semaphore or futex used as a lock */
    bool hold_timed;                    /* some hold of it was */
};

/* The counts of one thread for one lock and mode. */
struct hold_tally {
    uint32_t thread, lock;
    uint64_t acquisitions, contended, hold_ns, hold_samples, contended_hold_ns;
    enum lock_mode mode;
};

struct environment_fact {
    const char *key, *value;
};

struct model {
    struct arena arena;
    struct model_info info;
    struct model_loss loss;
    struct model_cost cost;
    uint64_t stack_ends[MODEL_STACK_END_COUNT], kernel_stack_ends[MODEL_STACK_END_COUNT];

    struct model_process *processes;
    uint32_t process_count, process_room;
    uint64_t *process_how; /* with processes */
    struct model_thread *threads;
    struct thread_extra *thread_extras;
    uint32_t thread_count, thread_room;
    struct model_lock *locks;
    struct lock_extra *lock_extras;
    uint32_t lock_count, lock_room;
    /* As read, until lock_stats_find(). stack and owner_site are indexes in these maps. */
    struct event_list waits_read, releases_read;
    uint32_t *stack_map, *site_map;
    /* By lock: a lock's waits as they came, its releases by time. */
    struct model_wait *waits;
    uint32_t wait_count;
    uint32_t *lock_wait_first; /* lock l has those from [l] up to before [l + 1] */
    struct model_release *releases;
    uint32_t release_count;
    uint32_t *lock_release_first;
    struct by_time *by_time;    /* made when it is asked for */
    uint64_t *semaphore_takers; /* thread << 32 | lock, as read; until idle.c has run */
    uint32_t semaphore_taker_count, semaphore_taker_room;
    struct hold_tally *holds; /* as read; until holds_settle() */
    uint32_t hold_count, hold_room;
    struct hash_set hold_set;
    struct model_region *regions; /* by thread, once regions_find() has run */
    uint32_t region_count, region_room;
    struct model_region_kind *region_kinds;
    uint32_t region_kind_count, region_kind_room;
    struct environment_fact *facts;
    uint32_t fact_count, fact_room;

    /* Interned: equal content is the same entry (intern.c). */
    const char **strings;
    uint32_t string_count, string_room;
    struct hash_set string_set;
    struct frame_entry **frames;
    uint32_t frame_count, frame_room;
    struct hash_set frame_set;
    struct model_stack *stacks;
    uint32_t stack_count, stack_room;
    struct hash_set stack_set;
    /* Stand-ins, made by blame_prepare(): "[stack unknown]", "[timed out]", "[not ended]", and by lock
     * class "[holder unknown]" and its like. */
    uint32_t unknown_stack, timeout_stack, open_stack, holder_stacks[LOCK_CLASS_COUNT];

    struct off_cpu off_cpu;
    struct model_site *sites;       /* of all locks */
    struct model_holding *holdings; /* of all locks */
    char *verdict;
};

/* Whether such a lock has a holder, one after the other (or readers together). */
static inline bool lock_class_is_held(enum lock_class cls) {
    return cls == LOCK_CLASS_MUTEX || cls == LOCK_CLASS_RWLOCK_WRITE || cls == LOCK_CLASS_SPIN ||
           cls == LOCK_CLASS_NONE;
}

/* For estimates: what does not fit is the largest number. */
static inline uint64_t u64_of_double(double value) {
    return value >= 18446744073709551615.0 ? UINT64_MAX : value > 0 ? (uint64_t)value : 0;
}

/* intern.c: NULL or MODEL_NONE when out of memory. */
const char *intern_string(struct model *model, const char *bytes, size_t size);
const char *intern_format(struct model *model, const char *format, ...) __attribute__((format(printf, 2, 3)));
const struct model_frame *intern_frame(struct model *model, const struct model_frame *frame);
uint32_t model_stack_intern(struct model *model, const struct model_frame *const *frames, uint32_t count,
                            uint32_t flags);
uint32_t intern_stand_in(struct model *model, const char *text); /* a stack of one frame */

/* frame_nature.c */
enum frame_nature frame_nature_of(const struct model_frame *frame);
static inline enum frame_nature frame_nature(const struct model_frame *frame) {
    return (enum frame_nature)((const struct frame_entry *)frame)->nature;
}
bool module_is_agent(const char *module);
/* The innermost frame that is the program's own, else the innermost; NULL only without frames. */
const struct model_frame *stack_site(const struct model_stack *stack);
/* The outermost frame that is the program's own; NULL if there is none. */
const struct model_frame *stack_root(const struct model_stack *stack);

/* load.c, settle.c */
struct loader;
int loader_new(struct model *model, struct loader **ret_loader);
void loader_free(struct loader *loader);
/* Takes in the rows of one block. Rows that make no sense are counted in info.bad_rows. */
int loader_block(struct loader *loader, enum trace_kind_id kind, uint32_t thread, const void *rows,
                 uint32_t row_count, uint64_t lost);
/* All rows are in: recording_end is the file's word for the end, 0 if it has none. */
int loader_settle(struct loader *loader, uint64_t recording_end);

/* hold.c */
int hold_add(struct model *model, uint32_t thread, uint32_t lock, enum lock_mode mode,
             const struct trace_count *count);
void holds_settle(struct model *model); /* sets the locks' hold_total and hold_estimated */

int thread_roles_find(struct model *model);
int idle_mark(struct model *model);
int lock_labels_find(struct model *model);
int lock_stats_find(struct model *model);
int thread_states_find(struct model *model);
int regions_find(struct model *model);

/* thread_states.c: the waits of a thread, none inside another: an instant belongs to the one that began
 * first. */
#define SPAN_LOCK_BITS 29 /* a lock takes more bytes than there are addresses before this is short */
struct thread_span {
    uint64_t begin, end;
    uint32_t lock : SPAN_LOCK_BITS;       /* index */
    uint32_t state : 32 - SPAN_LOCK_BITS; /* enum model_state */
    uint32_t stack;                       /* index, MODEL_NONE */
};
/* Fills spans, which has room for all waits of the thread (thread_wait_count). Returns 0 or -ENOMEM. */
int thread_spans_find(const struct model *model, uint32_t thread, struct thread_span *spans,
                      uint32_t *ret_count);
uint64_t thread_wait_count(const struct model *model, uint32_t thread);
int holder_states_find(struct model *model);
int schedules_find(struct model *model);
int stack_ends_count(struct model *model);
int verdict_find(struct model *model);

/* by_time.c */
void by_time_free(struct by_time *by_time);

/* Which waits a question is about. */
struct wait_filter {
    bool idle, contended;     /* waits that are, and that are not idle */
    uint32_t process, thread; /* MODEL_NONE: any */
};
static inline bool wait_matches(const struct model *model, const struct wait_filter *filter,
                                const struct model_wait *wait) {
    return (wait->idle ? filter->idle : filter->contended) &&
           (filter->thread == MODEL_NONE || filter->thread == wait->thread) &&
           (filter->process == MODEL_NONE || filter->process == model->threads[wait->thread].process);
}

/* Memory that blame_lock() uses again from call to call. Zero-initialised is empty. */
struct blame_space {
    char *bytes;
    size_t room;
};
void blame_space_free(struct blame_space *space);

/*
 * blame.c: charges the matching waits of one lock to those who held it. add is called once or more
 * for each stack; thread is who held, MODEL_NONE if unknown; the ns of all calls add up to the time of
 * the waits, the counts to their number. Returns 0, -ENOMEM, or the first non-zero of add.
 */
struct blame_share {
    uint32_t stack, thread;
    uint64_t begin, end; /* when it held */
    uint32_t waits;      /* that this was part of */
    bool let_go;         /* it had done so before, and nobody else is known to have had the lock then */
    uint64_t ns, count;  /* ns: waits times its length */
};
typedef int blame_add(void *context, const struct blame_share *share);
int blame_lock(const struct model *model, uint32_t lock, const struct wait_filter *filter, blame_add *add,
               void *context, struct blame_space *space);
/* Puts late stamps of releases right (hand_off.c). Waits and releases are by lock. Returns 0 or -ENOMEM. */
int hand_off_bound(struct model *model);
/* Makes the stand-in stacks that blame_lock needs. */
int blame_prepare(struct model *model);

#endif
