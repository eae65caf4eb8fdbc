/* SPDX-License-Identifier: MIT */
/*
 * The state of one recording, private to the collector's core. One thread; nothing here is shared
 * but the slabs' memory, which is hostile: read by copy, never trusted, never an index.
 *
 *   recording ── images (one per process image, by image_id) ── slabs ── slots (one per thread)
 *
 * Ids (process, thread, lock, stack, location, module) are those of the trace.
 */
#ifndef WAITSCOPE_COLLECTOR_RECORDING_H
#define WAITSCOPE_COLLECTOR_RECORDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "collector/backlog.h"
#include "collector/catalogue.h"
#include "collector/clock.h"
#include "collector/collector.h"
#include "collector/table.h"
#include "collector/trace_writer.h"
#include "format/hello.h"
#include "format/slab.h"
#include "format/trace.h"

#define RECORDING_SLABS_MAX 16384U
#define RECORDING_MAPPED_MAX (1ULL << 42) /* bytes of address space for all slabs */
#define IMAGE_MODULES_MAX 4096U
#define IMAGE_THREADS_ENDED 1024U /* ended threads that an owner's tid can still be told of */
#define ENDED_IMAGES 64U
#define CLAMP_BEFORE_NS 1000000000ULL /* no time is earlier than this before its image's start */

/*
 * A thread in its slot, as the collector sees it. It outlives the slot: once a thread is gone and its ring
 * is copied, the slot goes back to the agent, and what is left to be told of the thread is in the backlog.
 */
struct slot_view {
    uint32_t thread; /* id */
    uint32_t tid, creator_tid;
    uint32_t slot; /* index in its slab */
    uint64_t start_ticks, start_routine, creator_stack;
    uint64_t tail;                    /* ring position: copied up to here */
    uint32_t pending;                 /* entries in the backlog */
    uint64_t stored;                  /* records that count as emitted and were stored */
    uint64_t corrupt;                 /* losses found here, not in the slot's own counters */
    uint64_t unstored;                /* records the trace writer refused */
    uint64_t lost[LOSS_REASON_COUNT]; /* told to the trace so far */
    uint64_t cpu_ns;                  /* sampled while it lives */
    struct clock_guard guard;
    char first_name[THREAD_NAME_BYTES], name[THREAD_NAME_BYTES]; /* name: told to the trace */
};

struct slab {
    struct slab_header header; /* the private copy, checked */
    void *memory;              /* shared, hostile */
    int fd;
    uint32_t slots_seen; /* slots at and above have never been touched */
    uint32_t sample_next;
    uint64_t lost[LOSS_REASON_COUNT];
    struct slot_view **views; /* slot_count; NULL: nobody's */
    /* Of the first 64 slots: given back since the last tick; those whose pages are still there. */
    uint64_t freed, kept;
};

struct image {
    struct image_id id;
    uint32_t process;
    int pid;      /* as the target sees itself */
    int real_pid; /* as we see it */
    int pidfd;    /* -1: none could be had */
    bool described;
    bool gone;   /* the process has ended or exec'ed */
    bool ending; /* image_end() is at it */
    bool closed; /* its end is being written: its rings are not looked at again */
    uint32_t clock_kind;
    uint64_t start_ns, floor_ns;
    uint64_t cpu_ns;
    uint64_t pending_bytes; /* in the backlog */
    struct slab **slabs;
    uint32_t slab_count, slab_room;

    /* intern.c */
    uint32_t modules[IMAGE_MODULES_MAX]; /* ids, oldest first; the newest that holds a pc wins */
    uint32_t module_count;
    bool modules_replaced;
    bool code_unknown;         /* a location is in no module */
    struct table locations;    /* pc -> id */
    struct table stacks;       /* hash -> id */
    struct table locks;        /* address and class -> id of the newest */
    struct table lock_strides; /* lock -> one of the same address, some lives before; see lock_chain.c */
    struct table names;        /* hash -> string of the trace */
    struct table namings;      /* address -> id of the newest */

    struct table threads; /* tid -> id of the latest */
    struct {
        uint32_t tid, thread;
    } ended[IMAGE_THREADS_ENDED];
    uint32_t ended_next;
};

struct drain;
struct kernel;
struct listener;
struct counts_entry;

/* counts.c: what is added up and not yet in the trace */
struct counts {
    struct table places; /* thread, lock and mode -> index + 1 */
    struct counts_entry *entries;
    uint32_t count, room;
    uint64_t next_ns, interval_ns;
};

struct recording {
    struct clock clock;
    uint64_t now; /* CLOCK_MONOTONIC at the last look; no time handed on is later */
    uint64_t begin_ns;
    struct trace_writer *writer;
    struct catalogue catalogue;
    struct counts counts;
    struct drain *drain;
    struct kernel *kernel; /* kernel.h; NULL: without it */
    struct listener *listener;

    struct image **images;
    uint32_t image_count, image_room;
    struct image_id ended_images[ENDED_IMAGES];
    uint32_t ended_next;
    uint32_t slab_count;
    uint64_t slabs_mapped;

    int child;       /* pid of the launched command, 0 none */
    bool child_seen; /* an agent in it has reported */
    bool agents_seen;
    bool child_ended;
    int child_status; /* as of wait */
    uint64_t child_cpu_ns;
    int epoll;
    bool no_follow;
    bool stopping; /* agents are told to stop emitting */

    struct table shared_locks; /* place in shared memory -> lock, see shared_lock.c */

    uint32_t thread_count;    /* last id */
    uint64_t emitted, stored; /* of threads that are settled */
    uint64_t refused;         /* hellos that were not believed */
    uint64_t name_bytes;      /* of names that programs gave */
    /* The first agent that stood down; one in the launched command takes its place. */
    struct {
        enum hello_refusal why; /* HELLO_STANDS: none has */
        int error;              /* errno behind it, 0 none */
        int pid;
    } stood_down;
    struct {
        int pid; /* 0: none */
        uint32_t ring_bytes;
    } limited; /* the first process whose file size limit left room for small rings only */
};

/* process.c */

/* The image for id, made if it is new; a former image of the same real pid has exec'ed. pidfd is
 * consumed (-1: none). Returns NULL if there is no memory or it is not to be recorded. */
struct image *image_obtain(struct recording *recording, const struct slab_header *header, int real_pid,
                           unsigned uid, int pidfd);
/* Writes the image's row, once, when its agent is known to be up. */
void image_describe(struct recording *recording, struct image *image);
/* Whether its process has ended. */
bool image_is_gone(const struct image *image);
/* Takes a checked slab of this image over: fd and memory are consumed also on failure. */
int image_slab_add(struct recording *recording, struct image *image, const struct slab_header *header, int fd,
                   void *memory);
/* Settles every thread, writes the end, and frees the image. */
void image_end(struct recording *recording, struct image *image, enum trace_exit exit, uint64_t value);
/* Ends every image whose process has ended; true if any had. */
bool images_reap(struct recording *recording);
/* Makes the agents stop emitting. */
void images_stop(struct recording *recording);
/* Tells of losses so far. */
void images_losses(struct recording *recording);
/* Whether every record that agents counted as emitted is accounted for. */
bool images_settled(const struct recording *recording);
/* Ticks of this image as nanoseconds: never before its start by more than a second, never after now. */
uint64_t image_time(const struct recording *recording, const struct image *image, uint64_t ticks,
                    struct clock_guard *guard);
uint64_t image_length(const struct recording *recording, const struct image *image, uint64_t ticks);

/* sample.c */

/* Whether a thread that said it is ending has ended. Where that cannot be told: no, until the
 * process ends. */
bool image_thread_is_gone(const struct image *image, uint32_t tid);
void image_sample_cpu(struct image *image);
/* CPU times of all processes and of some threads; threads that vanished silently are ended. */
void images_sample_cpu(struct recording *recording);

/* thread.c */

/* What a slot says of its thread at the end, copied out. */
struct thread_last {
    uint64_t end_ticks, cpu_ns;
    uint64_t emitted, lost[LOSS_REASON_COUNT];
    uint64_t cost_ticks, cost_samples, cost_slow_paths;
    char name[THREAD_NAME_BYTES];
    uint32_t count_number;
    struct lock_count counts[SLOT_COUNTS_SMALL + SLOT_COUNTS];
};
size_t thread_last_bytes(const struct thread_last *last);

/* Gives a new thread its id, so that others can name it, and then its row. NULL: no memory. */
struct slot_view *thread_begin(struct recording *recording, struct image *image, struct slab *slab,
                               uint32_t slot);
void thread_describe(struct recording *recording, struct image *image, struct slot_view *view);
/* Tells what its slot and the collector lost since the last time. */
void thread_losses(struct recording *recording, struct image *image, struct slab *slab,
                   struct slot_view *view);
void slab_losses(struct recording *recording, struct image *image, struct slab *slab);
void thread_last_read(const struct slab *slab, const struct slot_view *view, struct thread_last *ret_last);
/* Takes its counts over, writes its end, cost and losses, settles emitted = stored + lost, and frees the
 * view, which must be in no slab any more. end_ns 0: last knows. */
void thread_end(struct recording *recording, struct image *image, struct slot_view *view,
                const struct thread_last *last, uint64_t end_ns);
void thread_name(struct recording *recording, struct image *image, uint32_t thread, uint64_t time,
                 const char name[THREAD_NAME_BYTES]);
/* The program itself gave the name, a string of the trace. */
int thread_name_given(struct recording *recording, uint32_t thread, uint64_t time, uint32_t name);
/* Takes a delta of lock counts; false if it is not believed. */
bool thread_count_store(struct recording *recording, struct image *image, struct slot_view *view,
                        const struct lock_count *count, int *ret_error);

/* slot.c */

struct thread_slot *view_slot(const struct slab *slab, const struct slot_view *view);
/* Takes the thread out of its slab, wipes the slot and gives it back to the agent. */
void slot_reclaim(struct image *image, struct slab *slab, struct slot_view *view);
/* Once a second: gives the memory back of slots that have not been in use since. */
void images_trim(struct recording *recording);

/* counts.c */

/* Adds a delta to what the trace is to be told. Returns 0 or -ENOMEM. */
int counts_add(struct recording *recording, uint32_t thread, const struct trace_count *row);
/* Writes all of it. */
void counts_write(struct recording *recording);
/* Writes it if it is time to. */
void counts_tick(struct recording *recording);
void counts_clear(struct recording *recording);

/* intern.c */

void intern_module(struct recording *recording, struct image *image, const struct record_module *record);
uint32_t intern_location(struct recording *recording, struct image *image, uint64_t pc, bool exact);
void intern_stack_define(struct recording *recording, struct image *image, const struct record_stack *record);
uint32_t intern_stack(const struct image *image, uint64_t hash);
/* key's class has been checked. site: pc of a use, return address, 0 unknown. Returns 0 without memory. */
uint32_t intern_lock(struct recording *recording, struct image *image, uint64_t key, uint64_t site);
uint32_t intern_lock_init(struct recording *recording, struct image *image,
                          const struct record_lock_init *record, uint64_t created);
/* What a futex call waits at, with the stack of its first. Returns 0 without memory. */
uint32_t intern_futex(struct recording *recording, struct image *image, uint64_t key, uint32_t stack);
bool intern_key_is_lock(uint64_t key);
/* A key of generation 0 by which image.locks finds the newest lock. */
uint64_t intern_key_place(uint64_t key);
/* How many initialisations or namings a key is later than another one, modulo the counter's range. */
uint32_t intern_generations_since(uint64_t key, uint64_t former);
#define INTERN_GENERATIONS (1U << LOCK_KEY_GENERATION_BITS)
#define INTERN_CHAIN_STEPS 1024U /* former locks or namings looked at for one address */
void intern_clear(struct image *image);

/* lock_chain.c */

/* Puts a new lock where it belongs: before those that are older; one that was initialised comes last.
 * Returns 0 or -ENOMEM. */
int lock_chain_add(struct recording *recording, struct image *image, uint32_t id, bool initialised);
/* The lock that a normal key means, 0 none. */
uint32_t lock_chain_find(const struct recording *recording, const struct image *image, uint64_t key);

/* naming.c */

void naming_text_define(struct recording *recording, struct image *image, const struct record_name *record);
/* The string of the trace for a name's hash. Returns 0, or -ENOENT if it was never defined. */
int naming_text(const struct image *image, uint64_t hash, uint32_t *ret_name);
/* Returns 0 or -ENOMEM. */
int naming_add(struct recording *recording, struct image *image, uint64_t key, uint32_t name);
/* The naming that was in force for a key, 0 none. */
uint32_t naming_find(const struct recording *recording, const struct image *image, uint64_t key);
/* The oldest one of an address, which a lock is matched with that was used before it; 0 none. */
uint32_t naming_oldest(const struct recording *recording, const struct image *image, uint64_t key);
/* Whether a use under this naming is of that lock; matches them if so. */
bool naming_fits(struct recording *recording, uint32_t lock, uint32_t naming);
/* Tells the trace of the name that a new lock was made with. */
void naming_tell(struct recording *recording, uint32_t lock);

/* shared_lock.c */

/* A process tells that a lock of its own may be another's too. */
void shared_lock_told(struct recording *recording, struct image *image,
                      const struct record_lock_shared *record);
/* The thread that owns a lock by its tid, as the image that waits for it knows that; 0 unknown. */
uint32_t shared_lock_owner(const struct recording *recording, const struct image *image, uint32_t lock,
                           uint32_t tid);

/* drain.c */

struct drain_work {
    uint64_t bytes;   /* copied out */
    uint32_t fullest; /* the fullest ring, in 1/256 of its size */
    uint32_t ended;   /* threads whose slots went back to the agent */
};
int drain_new(struct drain **ret_drain);
void drain_free(struct drain *drain);
/* Copies all rings into the backlog: the cheap part. */
struct drain_work drain_sweep(struct recording *recording);
/* Deals with what may be dealt with, for about that long; ns. Rings are looked at meanwhile; the fullest
 * is told in *ret_work, which may be NULL. Returns whether something was left. */
bool drain_process(struct recording *recording, uint64_t budget_ns, struct drain_work *ret_work);
/* Looks at the rings if that was not done of late; for long stretches of other work. */
void drain_breathe(void *recording);
/* All of it. Returns how many bytes it was. */
uint64_t drain_finish(struct recording *recording);
/* What was published before this time has been dealt with; ns. */
uint64_t drain_known_until(const struct recording *recording);

/* event.c: the table of record kinds */

/* Passes over the backlog: what others may refer to comes first. */
enum event_pass { EVENT_MODULES, EVENT_DEFINITIONS, EVENT_THREADS, EVENT_EVENTS, EVENT_PASS_COUNT };

/*
 * Checks a copy of a ring's bytes and fills entry->bytes and passes with the records that are whole
 * and plausible. Returns false if what follows is not to be believed.
 */
bool event_check(struct backlog_entry *entry, size_t bytes);
void event_apply(struct recording *recording, const struct backlog_entry *entry, enum event_pass pass);

/* snapshot.c */
void snapshot_write(struct recording *recording);

/* environment.c */
void environment_write(struct recording *recording, const struct collector_options *options);
void environment_add(struct recording *recording, const char *key, const char *value);

/* symbolise.c */

struct names;
struct symbol_frame;
/* Looks up and writes the frames of every location and the names of every lock. */
void symbolise_write(struct recording *recording);
/* Frames of a location, innermost first; strings live as long as names. */
size_t names_frames(struct names *names, uint32_t location, struct symbol_frame *ret_frames);
/* The variable at a process' address. Returns 0 or -ENOENT. */
struct symbol_data;
int names_data(struct names *names, uint32_t process, uint64_t address, struct symbol_data *ret_data);

/* lock_name.c */
void lock_names_write(struct recording *recording, struct names *names);

/* perf_map.c: /tmp/perf-PID.map, where a JIT says what it compiled */
struct perf_map;
/* NULL if there is none that can be believed. */
struct perf_map *perf_map_load(int pid, unsigned uid);
bool perf_map_find(const struct perf_map *map, uint64_t pc, struct symbol_frame *ret_frame);
void perf_map_free(struct perf_map *map);

/* listen.c */

/* A fresh socket in a private directory. Returns 0 or a negative errno. */
int listener_new(struct listener **ret_listener);
/* Takes over a bound, listening socket; path is removed at the end, NULL: not. private_directory: and so is
 * its directory, which was made for it alone. */
int listener_adopt(int fd, const char *path, bool private_directory, struct listener **ret_listener);
const char *listener_path(const struct listener *listener);
const char *listener_directory(const struct listener *listener); /* NULL if adopted */
int listener_fd(const struct listener *listener);
/* Accepts and reads whatever is there, without waiting. */
void listener_poll(struct recording *recording);
/* Name in the listener's directory of a link to an agent whose path LD_PRELOAD cannot hold. */
#define LISTENER_AGENT_LINK "agent.so"
/* Before this process becomes that user, who is to remove what the listener made. */
void listener_give(const struct listener *listener, unsigned uid, unsigned gid);
void listener_free(struct listener *listener);
/* The socket's name in a listener's directory, whose own name is this and six letters. */
#define LISTENER_SOCKET_NAME "socket"
#define LISTENER_DIRECTORY_PREFIX "waitscope."

/* stale.c */

/* Removes what killed collectors of our user left in a directory such as /tmp. */
void stale_remove(const char *root);

#endif
