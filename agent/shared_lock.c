/* SPDX-License-Identifier: MIT */
/*
 * The place of a lock in shared memory is asked of /proc/self/maps (proc(5)), once for each lock, before it
 * is taken for the first time. The collector could read the same, but not once the memory is unmapped or the
 * process is gone.
 */
#include "agent/shared_lock.h"

#include "agent/agent.h"
#include "agent/confine.h"
#include "agent/filter.h"
#include "agent/syscall.h"

/* Keys of locks that this process has told of, by a hash of the address. [SHARED-TOLD] relaxed: threads that
 * race, or locks of one place, tell once more than is needed. */
#define TOLD_PLACES 4096U
static _Atomic uint64_t told_keys[TOLD_PLACES];

/* A look at maps takes some 10 us, more where much is mapped. A program with more locks than this, or as many
 * that share a place, goes on without: relaxed, some more do no harm. */
#define LOOKS_MAX 4096U
static _Atomic uint32_t looks;

/* --- /proc/self/maps ------------------------------------------------------------------------------- */

struct maps {
    int fd;
    uint32_t at, size;
    char bytes[1024];
};

/* The next letter, '\0' at the end. */
static char maps_letter(struct maps *maps) {
    if (maps->at == maps->size) {
        long got = AGENT_SYSCALL_3(SYS_read, maps->fd, maps->bytes, sizeof(maps->bytes));
        maps->at = 0;
        maps->size = got > 0 ? (uint32_t)got : 0;
        if (got <= 0)
            return '\0';
    }
    return maps->bytes[maps->at++];
}

/* A number and the letter that ends it. */
static char maps_number(struct maps *maps, unsigned base, uint64_t *ret_number) {
    uint64_t number = 0;
    for (;;) {
        char letter = maps_letter(maps);
        unsigned digit = letter >= '0' && letter <= '9'   ? (unsigned)(letter - '0')
                         : letter >= 'a' && letter <= 'f' ? (unsigned)(letter - 'a') + 10
                                                          : base;
        if (digit >= base) {
            *ret_number = number;
            return letter;
        }
        number = number * base + digit;
    }
}

/* What is mapped at an address; inode 0 where that is not shared. Returns false where nothing is, or nothing
 * can be read. */
static bool maps_find(struct maps *maps, uint64_t address, struct record_lock_shared *ret_place) {
    uint64_t start, end, offset, major, minor;
    while (maps_number(maps, 16, &start) == '-') {
        bool shared = false;
        maps_number(maps, 16, &end);
        for (int i = 0; i < 5; i++)
            shared |= maps_letter(maps) == 's'; /* "rw-s " */
        maps_number(maps, 16, &offset);
        maps_number(maps, 16, &major);
        maps_number(maps, 16, &minor);
        char letter = maps_number(maps, 10, &ret_place->inode);
        if (address >= start && address < end) {
            ret_place->device = major << 32 | minor;
            ret_place->offset = offset + (address - start);
            ret_place->inode = shared ? ret_place->inode : 0;
            return true;
        }
        while (letter != '\n' && letter != '\0')
            letter = maps_letter(maps);
    }
    return false;
}

static bool place_find(uint64_t address, struct record_lock_shared *ret_place) {
    struct maps maps = {0};
    if (!agent_kernel_enter())
        return false;
    maps.fd = (int)AGENT_SYSCALL_3(SYS_open, "/proc/self/maps", 02000000 /* O_CLOEXEC */, 0);
    bool found = maps.fd >= 0 && maps_find(&maps, address, ret_place) && ret_place->inode != 0;
    if (maps.fd >= 0)
        AGENT_SYSCALL_1(SYS_close, maps.fd);
    agent_kernel_leave();
    return found;
}

/* --- telling --------------------------------------------------------------------------------------- */

static AGENT_SLOW void place_tell(struct thread_slot *slot, uint64_t key, _Atomic uint64_t *told) {
    struct record_lock_shared place = {.key = key};
    agent_busy_enter();
    bool found = place_find(lock_key_address(key), &place);
    struct record_lock_shared *record =
        found ? agent_record_reserve(slot, RECORD_LOCK_SHARED, sizeof(*record)) : NULL;
    if (record) {
        place.header = record->header;
        *record = place;
        agent_record_commit(slot);
    }
    if (record || !found) /* what cannot be found out is not asked again */
        atomic_store_explicit(told, key, memory_order_relaxed); /* [SHARED-TOLD] */
    agent_busy_leave();
}

void shared_lock_tell(struct thread_slot *slot, uint64_t key) {
    _Atomic uint64_t *told =
        &told_keys[lock_hash((const void *)(uintptr_t)lock_key_address(key)) % TOLD_PLACES];
    if (atomic_load_explicit(told, memory_order_relaxed) == key || /* [SHARED-TOLD] */
        atomic_load_explicit(&looks, memory_order_relaxed) >= LOOKS_MAX)
        return;
    atomic_fetch_add_explicit(&looks, 1, memory_order_relaxed);
    place_tell(slot, key, told);
}

void shared_locks_forked(void) {
    atomic_store_explicit(&looks, 0, memory_order_relaxed);
    for (uint32_t i = 0; i < TOLD_PLACES; i++)
        if (atomic_load_explicit(&told_keys[i], memory_order_relaxed))     /* untouched pages stay so */
            atomic_store_explicit(&told_keys[i], 0, memory_order_relaxed); /* [SHARED-TOLD] */
}
