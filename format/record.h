/* SPDX-License-Identifier: MIT */
/*
 * The records an agent writes into a thread's ring (format/ring.h), and the names of lock classes,
 * wait flags and loss reasons that every room shares.
 *
 * All times in ring records are raw clock ticks (see struct slab_header.clock_kind); the collector
 * turns them into CLOCK_MONOTONIC nanoseconds. All addresses are of the target. Every record is a
 * whole number of 8-byte words and begins with struct record_header. A reader trusts nothing here:
 * it copies a record out of shared memory and then checks kind and words against RECORD_TABLE.
 */
#ifndef WAITSCOPE_FORMAT_RECORD_H
#define WAITSCOPE_FORMAT_RECORD_H

#include <stddef.h>
#include <stdint.h>

/* What kind of object was waited on. Kinds of event stay generic; the class is a field of the key. */
enum lock_class {
    LOCK_CLASS_NONE = 0,
    LOCK_CLASS_MUTEX = 1,
    LOCK_CLASS_RWLOCK_READ = 2,  /* the same rwlock, taken for reading */
    LOCK_CLASS_RWLOCK_WRITE = 3, /* the same rwlock, taken for writing */
    LOCK_CLASS_CONDITION = 4,
    LOCK_CLASS_BARRIER = 5,
    LOCK_CLASS_SPIN = 6,
    LOCK_CLASS_SEMAPHORE = 7,
    LOCK_CLASS_JOIN = 8,   /* the address is the joined thread's pthread_t */
    LOCK_CLASS_SLEEP = 9,  /* the address is 0 */
    LOCK_CLASS_POLL = 10,  /* epoll, poll, select: the address is 0 */
    LOCK_CLASS_FUTEX = 11, /* known by its futex calls alone, from the kernel: of a program's own making, or
                              of one that no agent is in */
    LOCK_CLASS_COUNT
};

/*
 * A lock key names one lock in one process:
 *   bits  0..47  address
 *   bits 48..58  generation: a counter that initialising a lock at this address (or at one that
 *                hashes alike) raises, so that a reused address is another lock
 *   bits 59..63  enum lock_class
 */
#define LOCK_KEY_ADDRESS_BITS 48
#define LOCK_KEY_GENERATION_BITS 11
#define LOCK_KEY_CLASS_SHIFT 59

static inline uint64_t lock_key_make(uint64_t address, uint32_t generation, enum lock_class cls) {
    return (address & ((1ULL << LOCK_KEY_ADDRESS_BITS) - 1)) |
           ((uint64_t)(generation & ((1U << LOCK_KEY_GENERATION_BITS) - 1)) << LOCK_KEY_ADDRESS_BITS) |
           ((uint64_t)cls << LOCK_KEY_CLASS_SHIFT);
}
static inline uint64_t lock_key_address(uint64_t key) {
    return key & ((1ULL << LOCK_KEY_ADDRESS_BITS) - 1);
}
static inline uint32_t lock_key_generation(uint64_t key) {
    return (uint32_t)(key >> LOCK_KEY_ADDRESS_BITS) & ((1U << LOCK_KEY_GENERATION_BITS) - 1);
}
static inline unsigned lock_key_class(uint64_t key) {
    return (unsigned)(key >> LOCK_KEY_CLASS_SHIFT);
}

enum record_kind {
    RECORD_PAD = 1, /* fills the ring up to its end; skipped */
    RECORD_WAIT = 2,
    RECORD_RELEASE = 3,
    RECORD_COUNT = 4,
    RECORD_LOCK_INIT = 5,
    RECORD_STACK = 7,
    RECORD_MODULE = 8,
    RECORD_THREAD_NAME = 9,
    RECORD_NAME = 10,
    RECORD_LOCK_NAME = 11,
    RECORD_REGION = 12,
    RECORD_LOCK_SHARED = 13,
    RECORD_KIND_LIMIT
};

struct record_header {
    uint8_t kind; /* enum record_kind */
    uint8_t flags;
    uint16_t words; /* size of the whole record in 8-byte words, this header included */
    uint32_t value; /* meaning depends on the kind */
};

/* Flags of a wait. */
#define WAIT_TIMED_OUT 0x01U  /* the timed variant gave up */
#define WAIT_FAILED 0x02U     /* ended with any other error: the lock was not had */
#define WAIT_CANCELLED 0x04U  /* ended by cancellation or pthread_exit */
#define WAIT_OWNER_DEAD 0x08U /* had the lock with EOWNERDEAD */
#define WAIT_TIMED 0x10U      /* a timed or clock variant */

/* A wait that has ended. header.value: the owner's tid when the wait began, 0 if unknown. */
struct record_wait {
    struct record_header header;
    uint64_t key;
    uint64_t begin;      /* ticks */
    uint64_t end;        /* ticks */
    uint64_t stack;      /* hash of the waiter's stack (RECORD_STACK), 0 if none */
    uint64_t owner_site; /* pc at which the owner took the lock, 0 if unknown */
    uint64_t mutex;      /* for a condition: key of its mutex, else 0 */
};

#define RELEASE_BROADCAST 0x01U /* pthread_cond_broadcast, the last arrival at a barrier */

/*
 * A release that others were waiting for: unlock, post, signal, broadcast, last arrival at a
 * barrier. Written after the real call. header.value: how many were waiting (0 if unknown).
 */
struct record_release {
    struct record_header header;
    uint64_t key;
    uint64_t time;  /* ticks, read after the real call returned */
    uint64_t since; /* ticks when the holder had taken it, 0 if it was not timed */
    uint64_t stack; /* hash of the holder's (signaller's) stack */
};

/*
 * What one thread did with one lock: one cache line, kept in a slot's table and written to the ring when its
 * place there is needed for another lock. All numbers are deltas: add them up. Read with the functions below.
 */
struct lock_count {
    uint64_t key;          /* of generation 0; 0: an empty entry */
    uint64_t uses;         /* bits 0..52 acquisitions, 53..63 the key's generation */
    uint64_t site;         /* bits 0..47 pc of the first acquisition in this entry, 48..63 the agent's own */
    uint64_t hold_ticks;   /* sum over hold_samples timed holds of acquisitions that did not wait */
    uint32_t hold_longest; /* longest timed hold, see lock_count_hold_pack() */
    uint32_t hold_samples;
    /* 0 where nobody waited */
    uint64_t wait_ticks;           /* sum of waits: known even where a wait's record was lost */
    uint64_t contended_hold_ticks; /* sum over the holds of contended acquisitions: all are timed */
    uint32_t contended;            /* acquisitions that waited */
    uint32_t epoch;                /* the agent's own */
};

#define LOCK_COUNT_USES_BITS 53
#define LOCK_COUNT_SITE_BITS 48
#define LOCK_COUNT_HOLD_COARSE 0x80000000U
#define LOCK_COUNT_HOLD_SHIFT 14

static inline uint64_t lock_count_key(const struct lock_count *count) {
    return count->key | (count->uses >> LOCK_COUNT_USES_BITS) << LOCK_KEY_ADDRESS_BITS;
}
static inline uint64_t lock_count_acquisitions(const struct lock_count *count) {
    return count->uses & ((1ULL << LOCK_COUNT_USES_BITS) - 1);
}
static inline uint64_t lock_count_site(const struct lock_count *count) {
    return count->site & ((1ULL << LOCK_COUNT_SITE_BITS) - 1);
}
/* Ticks in 32 bits: as they are below 2^31, else in units of 2^14 with the top bit set. Packed holds compare
 * as the holds do. */
static inline uint32_t lock_count_hold_pack(uint64_t ticks) {
    if (ticks < LOCK_COUNT_HOLD_COARSE)
        return (uint32_t)ticks;
    uint64_t coarse = ticks >> LOCK_COUNT_HOLD_SHIFT;
    return LOCK_COUNT_HOLD_COARSE |
           (coarse < LOCK_COUNT_HOLD_COARSE ? (uint32_t)coarse : LOCK_COUNT_HOLD_COARSE - 1);
}
static inline uint64_t lock_count_hold_unpack(uint32_t packed) {
    if (!(packed & LOCK_COUNT_HOLD_COARSE))
        return packed;
    return (uint64_t)(packed & ~LOCK_COUNT_HOLD_COARSE) << LOCK_COUNT_HOLD_SHIFT;
}

/* Of a lock that was not waited for the record ends where that would be told (LOCK_COUNT_SHORT_BYTES). */
struct record_count {
    struct record_header header;
    struct lock_count count;
};
#define LOCK_COUNT_SHORT_BYTES 40U
_Static_assert(offsetof(struct lock_count, wait_ticks) == LOCK_COUNT_SHORT_BYTES, "short counts");

/* header.value: initial value of a semaphore, count of a barrier, kind of a mutex. */
struct record_lock_init {
    struct record_header header;
    uint64_t key; /* with the new generation */
    uint64_t time;
    uint64_t stack;
};

/* A mutex that other processes may use too, at addresses of their own: told by each process that makes or
 * takes it, before its first record that names it with this key. */
struct record_lock_shared {
    struct record_header header;
    uint64_t key;
    uint64_t device, inode, offset; /* of what is mapped there; the offset is the lock's own */
};

#define STACK_TRUNCATED 0x01U  /* more frames than STACK_FRAMES_MAX */
#define STACK_INCOMPLETE 0x02U /* the unwinder stopped before the thread's start */
/* Beside STACK_INCOMPLETE, why: the code has no call frame information, nor a frame pointer that leads on; or
 * what it has asks for what is not known. Neither: a word that was needed is not where the stack is. */
#define STACK_NO_INFORMATION 0x04U
#define STACK_NO_RULE 0x08U
#define STACK_FLAGS (STACK_TRUNCATED | STACK_INCOMPLETE | STACK_NO_INFORMATION | STACK_NO_RULE)
#define STACK_FRAMES_MAX 127

/*
 * A stack, leaf first, written to a thread's ring before that thread's first record that names it.
 * Frame 0 is the pc in the caller of the hooked function; every pc is a return address.
 * header.value: number of frames; they follow the hash.
 */
struct record_stack {
    struct record_header header;
    uint64_t hash;
    uint64_t frames[];
};

#define BUILD_ID_BYTES_MAX 20
#define MODULE_PATH_MAX 1024

/* A mapped ELF object, written to the ring before the first stack that has a pc in it. */
struct record_module {
    struct record_header header; /* header.value: length of path in bytes, no terminator */
    uint64_t start;              /* first mapped address */
    uint64_t end;                /* one past the last */
    uint64_t bias;               /* run-time address minus the file's virtual address */
    uint8_t build_id[BUILD_ID_BYTES_MAX];
    uint32_t build_id_size; /* 0: has none */
    char path[];            /* as the loader names it; empty: the program itself */
};

#define THREAD_NAME_BYTES 16
#define THREAD_NAME_GIVEN 0x01U /* through the annotation API: text is a name's hash, followed by zeros */

struct record_thread_name {
    struct record_header header;
    uint32_t tid; /* whose name */
    uint32_t reserved;
    union {
        char name[THREAD_NAME_BYTES]; /* NUL-padded */
        uint64_t text;
    };
};

#define NAME_BYTES_MAX 255

/*
 * A text that the program gave through the annotation API (include/waitscope.h), written to some ring of
 * its process before the first record that names it by its hash. header.value: bytes of text.
 */
struct record_name {
    struct record_header header;
    uint64_t hash; /* never 0 */
    char text[];   /* no terminator */
};

/*
 * The program named a lock. Naming raises the generation as an initialisation does: whether it named the
 * lock that lay there or another one is found out where all names are known (collector/intern.c).
 */
struct record_lock_name {
    struct record_header header;
    uint64_t key;  /* LOCK_CLASS_NONE, with the new generation */
    uint64_t text; /* hash of its name; 0: the lock is gone */
};

#define REGION_OPEN 0x01U /* its thread or the program ended before it did */

/* A region of a thread, written when it ends. header.value: regions it lies in. */
struct record_region {
    struct record_header header;
    uint64_t text;  /* hash of its name, 0: it has none */
    uint64_t begin; /* ticks */
    uint64_t end;   /* ticks */
};

#define RECORD_WORDS_MAX 256U /* no record is longer */

/* Why a record was not stored. Each is counted apart and shown apart. */
enum loss_reason {
    LOSS_RING_FULL = 0, /* the collector did not drain in time */
    LOSS_NO_SLOT = 1,   /* no thread slot could be had */
    LOSS_NESTED = 2,    /* a signal handler interrupted the agent itself */
    LOSS_TOO_LONG = 3,  /* a record past RECORD_WORDS_MAX */
    LOSS_HELD_DEEP = 4, /* more locks held, or regions open, at once than there are places for */
    LOSS_CORRUPT = 5,   /* the collector found a record it would not believe */
    LOSS_COLLECTOR = 6, /* the collector could not store it: disk full, out of memory */
    LOSS_REASON_COUNT
};

#endif
