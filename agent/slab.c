/* SPDX-License-Identifier: MIT */
/*
 * The agent's side of the shared memory: makes slabs, announces them, hands out slots.
 *
 * A slab is sparse: of a slot only the pages that its thread touches cost memory. The memfd is sealed
 * so that nobody, the target included, can shrink it under the collector. The descriptor is closed as
 * soon as it is sent: the target keeps none of ours.
 */
#include <errno.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "agent/agent.h"
#include "agent/confine.h"
#include "agent/start.h"
#include "agent/syscall.h"

#define SLAB_SLOTS 64U /* as many as slab_header.free_slots has bits */

struct slab {
    struct slab_header *header;
    uint32_t slots, slot_bytes, ring_bytes;
};

static struct slab slabs[SLABS_MAX];
static _Atomic uint32_t not_recording;
const _Atomic uint32_t *agent_recording_flag = &not_recording;
/* [SLAB-COUNT] stored with release after slabs[count - 1] is filled, loaded with acquire before use. */
static _Atomic uint32_t slab_count;
/* Serialises making a slab: acquire to take, release to give. Its holder is busy, so no signal handler
 * of the same thread spins on it. */
static atomic_flag slab_making = ATOMIC_FLAG_INIT;
static struct image_id image;
/* Nobody listens any more, and nobody will: no further slabs are tried. Under slab_making. */
static bool collector_gone;

#define F_ADD_SEALS_COMMAND (1024 + 9)
#define SLAB_SEALS (0x0001 | 0x0002 | 0x0004) /* F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW */

static uint64_t limit_get(int resource) {
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    AGENT_SYSCALL_4(SYS_prlimit64, 0, resource, 0, &limit);
    return limit.rlim_cur;
}

#define SLAB_SLOTS_WANTED 8U

#define SPACE_SHARE 64U /* a slab takes at most one part in this of a limited address space */

/* A geometry that the target's limits allow: growing past its file size would raise SIGXFSZ, and address
 * space that is limited is the target's own. Fewer slots first, then smaller rings. Returns the number of
 * slots, 0: none. */
static uint32_t geometry_choose(uint32_t *ret_ring_bytes) {
    uint32_t ring_bytes = agent_option_ring_bytes();
    uint64_t limit = limit_get(RLIMIT_FSIZE), space = limit_get(RLIMIT_AS), slots = SLAB_SLOTS;
    if (space != RLIM_INFINITY && space / SPACE_SHARE < limit)
        limit = space / SPACE_SHARE;
    if (limit != RLIM_INFINITY) {
        for (;; ring_bytes /= 2) {
            uint64_t room = limit > SLAB_HEADER_BYTES ? limit - SLAB_HEADER_BYTES : 0;
            slots = room / (SLOT_RING_OFFSET + ring_bytes);
            if (slots >= SLAB_SLOTS_WANTED || ring_bytes == RING_BYTES_MIN)
                break;
        }
    }
    *ret_ring_bytes = ring_bytes;
    return slots < SLAB_SLOTS ? (uint32_t)slots : SLAB_SLOTS;
}

static uint32_t file_read(const char *path, char *ret_bytes, uint32_t bytes_max) {
    uint32_t used = 0;
    int fd = (int)AGENT_SYSCALL_3(SYS_open, path, 02000000 /* O_CLOEXEC */, 0);
    if (fd < 0)
        return 0;
    while (used < bytes_max) {
        long got = AGENT_SYSCALL_3(SYS_read, fd, ret_bytes + used, bytes_max - used);
        if (got <= 0)
            break;
        used += (uint32_t)got;
    }
    AGENT_SYSCALL_1(SYS_close, fd);
    return used;
}

static void header_describe(struct slab_header *header) {
    long size = AGENT_SYSCALL_3(SYS_readlink, "/proc/self/exe", header->exe, sizeof(header->exe));
    header->exe_size = size > 0 ? (uint32_t)size : 0;
    header->command_size = file_read("/proc/self/cmdline", header->command, sizeof(header->command));
}

/* Makes slab number index. Returns 0 or a negative errno. */
static int slab_make(uint32_t index, uint64_t start_ticks, uint64_t start_ns, uint32_t flags) {
    uint32_t ring_bytes, slots = geometry_choose(&ring_bytes);
    uint32_t slot_bytes = SLOT_RING_OFFSET + ring_bytes;
    int ret, fd = -1;

    if (index >= SLABS_MAX || (slots == 0 && limit_get(RLIMIT_FSIZE) != RLIM_INFINITY))
        return -EFBIG;
    if (slots == 0)
        return -ENOMEM;
    uint64_t bytes = SLAB_HEADER_BYTES + (uint64_t)slots * slot_bytes;
    fd = (int)AGENT_SYSCALL_2(SYS_memfd_create, "waitscope", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return fd;
    ret = (int)AGENT_SYSCALL_2(SYS_ftruncate, fd, bytes);
    if (ret < 0)
        goto cleanup;
    ret = (int)AGENT_SYSCALL_3(SYS_fcntl, fd, F_ADD_SEALS_COMMAND, SLAB_SEALS);
    if (ret < 0)
        goto cleanup;
    long base = AGENT_SYSCALL_6(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base < 0 && base > -4096) {
        ret = (int)base;
        goto cleanup;
    }
    AGENT_SYSCALL_3(SYS_madvise, base, bytes, MADV_DONTDUMP);

    struct slab_header *header = (struct slab_header *)base;
    header->magic = SLAB_MAGIC;
    header->version = SLAB_VERSION;
    header->slab_bytes = (uint32_t)bytes;
    header->slot_count = slots;
    header->slot_bytes = slot_bytes;
    header->ring_bytes = ring_bytes;
    header->slab_index = index;
    header->image = image;
    header->pid = (int32_t)AGENT_SYSCALL_0(SYS_getpid);
    header->ppid = (int32_t)AGENT_SYSCALL_0(SYS_getppid);
    header->clock_kind = agent_clock_kind;
    header->agent_flags = flags;
    header->start_ticks = start_ticks;
    header->start_ns = start_ns;
    header->hold_period = agent_hold_period;
    atomic_store_explicit(&header->free_slots, slots < 64 ? (1ULL << slots) - 1 : ~0ULL,
                          memory_order_relaxed);
    atomic_store_explicit(&header->recording, 1, memory_order_relaxed);
    if (index == 0)
        header_describe(header);

    ret = agent_hello_send(fd, &image, index);
    if (ret < 0) {
        collector_gone = index > 0 && (ret == -ECONNREFUSED || ret == -ENOENT);
        AGENT_SYSCALL_2(SYS_munmap, base, bytes);
        goto cleanup;
    }
    slabs[index] = (struct slab){header, slots, slot_bytes, ring_bytes};
    if (index == 0)
        agent_recording_flag = &header->recording;
    atomic_store_explicit(&slab_count, index + 1, memory_order_release); /* [SLAB-COUNT] */
    atomic_fetch_or_explicit(&slabs[0].header->free_slabs[index / 64], 1ULL << (index % 64),
                             memory_order_relaxed); /* [SLOT-FREE] */
cleanup:
    AGENT_SYSCALL_1(SYS_close, fd);
    return ret;
}

int agent_slab_first(uint64_t start_ticks, uint64_t start_ns, uint32_t flags) {
    if (AGENT_SYSCALL_3(SYS_getrandom, &image, sizeof(image), 0x1 /* GRND_NONBLOCK */) != sizeof(image))
        image = (struct image_id){start_ticks, (uint64_t)AGENT_SYSCALL_0(SYS_getpid) << 32 ^ start_ns};
    return slab_make(0, start_ticks, start_ns, flags);
}

void agent_slab_setup_cost(uint64_t ns) {
    slabs[0].header->setup_ns = ns;
}

/* The lowest free slot of a slab: those at the front are used again and again, their pages are there. */
static struct thread_slot *slab_take(const struct slab *slab) {
    uint64_t bits = atomic_load_explicit(&slab->header->free_slots, memory_order_relaxed);
    while (bits != 0) {
        if (!atomic_compare_exchange_weak_explicit(&slab->header->free_slots, &bits, bits & (bits - 1),
                                                   memory_order_acquire,
                                                   memory_order_relaxed)) /* [SLOT-FREE] */
            continue;
        uint32_t index = (uint32_t)__builtin_ctzll(bits), expected = SLOT_FREE;
        struct thread_slot *slot = slab_slot(slab->header, slab->slot_bytes, index);
        if (index < slab->slots &&
            atomic_compare_exchange_strong_explicit(&slot->state, &expected, SLOT_TAKEN, memory_order_acquire,
                                                    memory_order_relaxed)) { /* [SLOT-STATE] */
            slot->ring_bytes = slab->ring_bytes;
            return slot;
        }
        bits = atomic_load_explicit(&slab->header->free_slots, memory_order_relaxed);
    }
    return NULL;
}

/* Of the lowest slab that is said to have a free slot. */
static struct thread_slot *slot_take_hinted(void) {
    uint32_t count = atomic_load_explicit(&slab_count, memory_order_acquire); /* [SLAB-COUNT] */
    for (uint32_t word = 0; word * 64 < count; word++) {
        _Atomic uint64_t *hints = &slabs[0].header->free_slabs[word];
        uint64_t bits = atomic_load_explicit(hints, memory_order_relaxed);
        for (; bits != 0; bits &= bits - 1) {
            uint32_t index = word * 64 + (uint32_t)__builtin_ctzll(bits);
            struct thread_slot *slot = index < count ? slab_take(&slabs[index]) : NULL;
            if (slot)
                return slot;
            if (index >= count)
                break;
            /* Who frees one from here on sets the bit again; who did before is seen now. */
            atomic_fetch_and_explicit(hints, ~(bits & -bits), memory_order_acq_rel); /* [SLOT-FREE] */
            if (atomic_load_explicit(&slabs[index].header->free_slots, memory_order_relaxed) != 0)
                atomic_fetch_or_explicit(hints, bits & -bits, memory_order_relaxed);
        }
    }
    return NULL;
}

/* Of any slab: a collector that was killed between the two bits may have left one that is not told of. */
static struct thread_slot *slot_take_any(void) {
    uint32_t count = atomic_load_explicit(&slab_count, memory_order_acquire); /* [SLAB-COUNT] */
    struct thread_slot *slot = slot_take_hinted();
    for (uint32_t i = 0; i < count && !slot; i++)
        slot = slab_take(&slabs[i]);
    return slot;
}

/* One more slab. The making of slabs is held, and the kernel may be called. Returns 0 or a negative errno. */
static int slab_add(void) {
    const struct slab_header *first = slabs[0].header;
    uint32_t index = atomic_load_explicit(&slab_count, memory_order_relaxed);
    if (collector_gone)
        return -ECONNREFUSED;
    return slab_make(index, first->start_ticks, first->start_ns, first->agent_flags);
}

static void making_lock(void) {
    while (atomic_flag_test_and_set_explicit(&slab_making, memory_order_acquire))
        AGENT_SYSCALL_0(SYS_sched_yield);
}

struct thread_slot *agent_slot_take(void) {
    struct thread_slot *slot = slot_take_hinted();
    if (slot)
        return slot;
    if (!agent_kernel_enter())
        return slot_take_any();
    making_lock();
    /* Others may take all of a new slab before this thread gets one. */
    while (!(slot = slot_take_any())) {
        if (slab_add() != 0)
            break;
    }
    atomic_flag_clear_explicit(&slab_making, memory_order_release);
    agent_kernel_leave();
    return slot;
}

void agent_slab_spare(void) {
    making_lock();
    slab_add();
    atomic_flag_clear_explicit(&slab_making, memory_order_release);
}

void agent_slot_publish(struct thread_slot *slot, uint32_t tid) {
    slot->generation++;
    slot->tid = tid;
    slot->start_ticks = agent_ticks();
    atomic_store_explicit(&slot->state, SLOT_LIVE, memory_order_release); /* [SLOT-STATE] */
}

/* Rare: the slab is looked for. */
void agent_slot_abandon(struct thread_slot *slot) {
    uint32_t count = atomic_load_explicit(&slab_count, memory_order_acquire); /* [SLAB-COUNT] */
    slot->start_routine = 0;
    slot->creator_stack = 0;
    slot->creator_tid = 0;
    atomic_store_explicit(&slot->state, SLOT_FREE, memory_order_release); /* [SLOT-STATE] */
    for (uint32_t i = 0; i < count; i++) {
        uint64_t offset = (uintptr_t)slot - (uintptr_t)slabs[i].header - SLAB_HEADER_BYTES;
        if (offset < (uint64_t)slabs[i].slots * slabs[i].slot_bytes)
            slab_slot_freed(slabs[0].header, slabs[i].header, i, (uint32_t)(offset / slabs[i].slot_bytes));
    }
}

void agent_lost_count(enum loss_reason reason) {
    if (atomic_load_explicit(&slab_count, memory_order_acquire)) /* [SLAB-COUNT] */
        atomic_fetch_add_explicit(&slabs[0].header->lost[reason], 1, memory_order_relaxed);
}

void agent_slabs_forget(void) {
    uint32_t count = atomic_load_explicit(&slab_count, memory_order_acquire); /* [SLAB-COUNT] */
    for (uint32_t i = 0; i < count; i++)
        AGENT_SYSCALL_2(SYS_munmap, slabs[i].header, slabs[i].header->slab_bytes);
    atomic_store_explicit(&slab_count, 0, memory_order_release); /* [SLAB-COUNT] */
    agent_recording_flag = &not_recording;
    collector_gone = false;
    atomic_flag_clear_explicit(&slab_making, memory_order_release);
}
