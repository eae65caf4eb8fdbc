/* SPDX-License-Identifier: MIT */
#include "agent/lock.h"

_Atomic uint64_t lock_filter[1U << LOCK_FILTER_BITS];

uint64_t lock_generation_raise(const void *lock, enum lock_class cls) {
    uint32_t hash = lock_hash(lock);
    _Atomic uint64_t *word = lock_filter_word(hash);
    uint64_t old = atomic_load_explicit(word, memory_order_relaxed), new;
    do
        new = (old & ~LOCK_FILTER_GENERATION) | ((old + 1) & LOCK_FILTER_GENERATION);
    while (!atomic_compare_exchange_weak_explicit(word, &old, new, memory_order_relaxed,
                                                  memory_order_relaxed)); /* [FILTER-GENERATION] */
    return lock_key_of(lock, new, cls);
}

void lock_filter_forked(void) {
    for (size_t i = 0; i < sizeof(lock_filter) / sizeof(lock_filter[0]); i++)
        lock_filter[i] &= ~((LOCK_FILTER_BEGUN - 1) & ~LOCK_FILTER_GENERATION);
}

/* --- counts ------------------------------------------------------------------------------------- */

#define COUNT_SET 4U
#define EVICTIONS_BEFORE_GROWTH 32U

static void count_evict(struct thread_slot *slot, struct lock_count *place) {
    struct record_count *record = agent_record_reserve(slot, RECORD_COUNT, sizeof(*record));
    if (record) {
        record->count = *place;
        agent_record_commit(slot);
    }
    place->key = 0;
}

/* The thread uses more locks than one page counts: all pages from now on. What was counted elsewhere is
 * written out. */
static void counts_grow(struct thread_slot *slot) {
    for (uint32_t i = 0; i < SLOT_COUNTS_SMALL; i++)
        if (slot_counts(slot)[i].key != 0)
            count_evict(slot, &slot_counts(slot)[i]);
    slot->counts_mask = SLOT_COUNTS - 1;
}

AGENT_COLD struct lock_count *lock_count_replace(struct thread_slot *slot, struct lock_count *place,
                                                 uint64_t key, uint64_t site) {
    struct lock_count *counts = slot_counts(slot), *free_place = place->key == 0 ? place : NULL;
    uint32_t index = (uint32_t)(place - counts);
    for (uint32_t i = 1; i < COUNT_SET; i++) {
        struct lock_count *other = &counts[index ^ i];
        if (other->key == key)
            return other;
        if (other->key == 0 && !free_place)
            free_place = other;
    }

    bool outermost = !agent_thread.busy;
    if (outermost)
        agent_busy_enter();
    if (!free_place && slot->counts_mask < SLOT_COUNTS - 1 &&
        ++agent_thread.counts_evicted > EVICTIONS_BEFORE_GROWTH) {
        counts_grow(slot);
        free_place = place; /* the next look-up is by the new mask; this one counts once in the old place */
    }
    if (!free_place) {
        agent_thread.random = agent_thread.random * 1664525U + 1013904223U;
        free_place = &counts[index ^ (agent_thread.random >> 30)];
        count_evict(slot, free_place);
    }
    *free_place = (struct lock_count){.key = key, .site = site};
    agent_module_note(slot, lock_key_address(key)); /* static data is named by its module */
    agent_module_note(slot, site);
    if (outermost)
        agent_busy_leave();
    return free_place;
}

struct held_lock *lock_acquired_held(struct thread_slot *slot, uint64_t key, uint32_t hash, uint64_t site) {
    uint64_t number = lock_count_find(slot, key, hash, site)->acquisitions++;
    struct held_lock *held = lock_held_push(slot, key, site);
    if (held && lock_hold_is_timed(number))
        held->since = agent_ticks();
    return held;
}

AGENT_SLOW int lock_acquired_slow(struct thread_slot *slot, uint64_t key, uint32_t hash, uint64_t site) {
    lock_acquired_held(slot, key, hash, site);
    return 0;
}

AGENT_SLOW int lock_acquired_nested(const void *lock, enum lock_class cls, uint64_t site, int result) {
    struct thread_slot *slot = agent_thread.slot;
    if (!agent_thread.busy || (result != 0 && result != EOWNERDEAD))
        return result;
    if (!slot) { /* while a slot is being looked for */
        agent_lost_count(LOSS_NESTED);
        return result;
    }
    uint8_t place = atomic_load_explicit(&agent_thread.nested_count, memory_order_relaxed);
    if (place == AGENT_NESTED_MAX) {
        agent_record_lost(slot, LOSS_NESTED);
        return result;
    }
    /* First: a handler in this handler takes the next. */
    atomic_store_explicit(&agent_thread.nested_count, (uint8_t)(place + 1), memory_order_relaxed);
    AGENT_SIGNAL_FENCE();
    uint32_t hash = lock_hash(lock);
    agent_private(slot)->nested[place].key = lock_key(lock, hash, cls);
    agent_private(slot)->nested[place].site = site;
    agent_private(slot)->nested[place].hash = hash;
    return result;
}

/* Handlers go on adding entries while the thread is busy here: the count is taken back to 0 only where none
 * came since it was compared. */
void agent_nested_apply(void) {
    struct thread_slot *slot = agent_thread.slot;
    agent_thread.fast = NULL;
    agent_thread.busy = true;
    AGENT_SIGNAL_FENCE();
    uint8_t count = 0;
    while (!atomic_compare_exchange_strong_explicit(&agent_thread.nested_count, &(uint8_t){count}, 0,
                                                    memory_order_relaxed, memory_order_relaxed)) {
        uint64_t key = agent_private(slot)->nested[count].key, site = agent_private(slot)->nested[count].site;
        lock_count_find(slot, key, agent_private(slot)->nested[count].hash, site)->acquisitions++;
        count++;
    }
    agent_busy_leave();
}

/* --- pending waits ------------------------------------------------------------------------------ */

static uint32_t pending_take(struct thread_slot *slot) {
    struct record_wait *pending = agent_private(slot)->pending;
    for (uint32_t i = 0; i < SLOT_HELD; i++)
        if (pending[i].key == 0)
            return i + 1;
    return LOCK_PENDING_NONE;
}

static void pending_write(struct thread_slot *slot, uint32_t place) {
    struct record_wait *pending = &agent_private(slot)->pending[place - 1];
    agent_record_wait(slot, pending);
    pending->key = 0;
}

/* A wait for a lock that only one thread can hold is announced until that thread has released it: taking
 * it back earlier would cost an atomic operation while the lock is held. */
static bool waiter_leaves_at_release(unsigned cls) {
    return cls == LOCK_CLASS_MUTEX || cls == LOCK_CLASS_RWLOCK_WRITE || cls == LOCK_CLASS_SPIN;
}

/* --- release ------------------------------------------------------------------------------------ */

static bool keys_same_lock(uint64_t left, uint64_t right) {
    return lock_key_address(left) == lock_key_address(right) && lock_key_class(left) == lock_key_class(right);
}

bool lock_release_begin(struct thread_slot *slot, uint64_t key, uint32_t hash,
                        struct lock_release *ret_release) {
    if (lock_release_quiet(slot, key, hash))
        return false;
    uint32_t depth = atomic_load_explicit(&slot->held_depth, memory_order_relaxed);
    uint64_t word = lock_filter_load(hash);
    uint32_t waiters = lock_waiters_of(word);
    struct lock_release release = {.key = key, .hash = hash, .begun = (uint32_t)(word >> 32)};

    uint32_t at = depth < SLOT_HELD ? depth : SLOT_HELD;
    while (at > 0 &&
           !keys_same_lock(atomic_load_explicit(&slot->held[at - 1].key, memory_order_relaxed), key))
        at--;
    if (at == 0) { /* taken by another thread, before the agent came, or too deep to be kept */
        if (depth > SLOT_HELD)
            atomic_store_explicit(&slot->held_depth, depth - 1, memory_order_relaxed);
        release.waiters = waiters;
    } else {
        struct held_lock *held = &slot->held[at - 1];
        release.key = atomic_load_explicit(&held->key, memory_order_relaxed);
        release.site = atomic_load_explicit(&held->site, memory_order_relaxed);
        release.since = held->since;
        release.place = (uint32_t)held->pending;
        if (release.place) {
            struct record_wait *wait = &agent_private(slot)->pending[release.place - 1];
            bool own = lock_key_address(wait->key) == lock_key_address(release.key);
            if (own && waiter_leaves_at_release(lock_key_class(wait->key))) {
                lock_waiter_remove(hash);
                waiters = waiters ? waiters - 1 : 0;
            }
            if (own) {
                release.since = wait->end;
                release.contended = true;
            }
        }
        release.waiters = waiters;
        uint32_t kept = depth < SLOT_HELD ? depth : SLOT_HELD;
        for (; at < kept; at++) {
            struct held_lock *from = &slot->held[at], *to = &slot->held[at - 1];
            to->since = from->since;
            to->pending = from->pending;
            atomic_store_explicit(&to->site, atomic_load_explicit(&from->site, memory_order_relaxed),
                                  memory_order_relaxed);
            atomic_store_explicit(&to->key, atomic_load_explicit(&from->key, memory_order_relaxed),
                                  memory_order_release); /* [HELD-READ] */
        }
        atomic_store_explicit(&slot->held[kept - 1].key, 0, memory_order_relaxed);
        slot->held[kept - 1].since = 0;
        slot->held[kept - 1].pending = LOCK_PENDING_NONE;
        AGENT_SIGNAL_FENCE();
        atomic_store_explicit(&slot->held_depth, depth - 1, memory_order_relaxed);
    }
    if (!release.since && !release.place && !release.waiters)
        return false;
    /* One clock inside a critical section: where its beginning read one already (the wait's end), this one is
     * read after the real call, and the model bounds it by the next holder's acquisition. */
    if (!release.place)
        release.time = agent_ticks();
    *ret_release = release;
    return true;
}

static bool release_is_news(const struct lock_release *release) {
    bool told = agent_thread.told_key == release->key && agent_thread.told_begun == release->begun &&
                agent_thread.told_quiet != 0;
    agent_thread.told_key = release->key;
    agent_thread.told_begun = release->begun;
    agent_thread.told_quiet = told ? agent_thread.told_quiet - 1 : RELEASES_QUIET;
    return !told;
}

AGENT_SLOW void lock_release_record(struct thread_slot *slot, const struct lock_release *release) {
    uint64_t time = release->time ? release->time : agent_ticks();
    agent_busy_enter();
    if (release->since) {
        struct lock_count *count = lock_count_find(slot, release->key, release->hash, release->site);
        uint64_t held = time > release->since ? time - release->since : 0;
        if (release->contended) {
            count->contended_hold_ticks += held;
        } else {
            count->hold_ticks += held;
            count->hold_samples++;
        }
        if (held > count->hold_maximum)
            count->hold_maximum = held;
    }
    if (release->place)
        pending_write(slot, release->place);
    if (release->waiters && release_is_news(release))
        agent_record_release(slot, release->key, time, release->since, agent_stack(slot), 0,
                             release->waiters);
    agent_busy_leave();
}

AGENT_SLOW int lock_release_around(struct thread_slot *slot, uint64_t key, uint32_t hash, void *lock,
                                   int (*real)(void *lock)) {
    struct lock_release release;
    bool due = lock_release_begin(slot, key, hash, &release);
    int result = real(lock);
    if (due)
        lock_release_record(slot, &release);
    return result;
}

uint64_t lock_held_site(struct thread_slot *owner, const void *lock) {
    uint32_t depth = atomic_load_explicit(&owner->held_depth, memory_order_relaxed);
    for (uint32_t i = depth < SLOT_HELD ? depth : SLOT_HELD; i-- > 0;) {
        uint64_t key = atomic_load_explicit(&owner->held[i].key, memory_order_acquire); /* [HELD-READ] */
        if (lock_key_address(key) != (uint64_t)(uintptr_t)lock)
            continue;
        uint64_t site = atomic_load_explicit(&owner->held[i].site, memory_order_acquire);
        if (atomic_load_explicit(&owner->held[i].key, memory_order_relaxed) == key)
            return site;
    }
    return 0;
}

/* --- waits -------------------------------------------------------------------------------------- */

void lock_wait_begin(struct lock_wait *wait, struct thread_slot *slot, const void *lock, enum lock_class cls,
                     uint32_t hash, uint64_t site, uint32_t owner_tid, uint64_t owner_site) {
    agent_busy_enter();
    wait->hash = hash;
    wait->site = site;
    lock_waiter_add(hash);
    wait->record = (struct record_wait){.key = lock_key(lock, hash, cls), .owner_site = owner_site};
    wait->record.begin = agent_ticks();
    if (owner_tid) {
        wait->record.header.value = owner_tid;
        struct thread_slot *owner = owner_site ? NULL : agent_directory_tid(owner_tid);
        if (owner)
            wait->record.owner_site = lock_held_site(owner, lock);
        if (wait->record.owner_site)
            agent_module_note(slot, wait->record.owner_site);
    }
    wait->record.stack = agent_stack(slot);
    atomic_store_explicit(&slot->now_owner, owner_tid, memory_order_relaxed);
    atomic_store_explicit(&slot->now_since, wait->record.begin, memory_order_relaxed);
    atomic_store_explicit(&slot->now_stack, wait->record.stack, memory_order_relaxed);
    atomic_store_explicit(&slot->now_owner_site, wait->record.owner_site, memory_order_relaxed);
    atomic_store_explicit(&slot->now_key, wait->record.key, memory_order_release); /* [NOW] */
    agent_busy_leave();
}

static void wait_close(struct lock_wait *wait, struct thread_slot *slot, uint32_t flags) {
    wait->record.end = agent_ticks();
    wait->record.header.flags = (uint8_t)flags;
    atomic_store_explicit(&slot->now_key, 0, memory_order_relaxed);
}

#define WAIT_HAD_NOTHING (WAIT_TIMED_OUT | WAIT_FAILED | WAIT_CANCELLED)

static struct lock_count *wait_count(struct lock_wait *wait, struct thread_slot *slot) {
    struct lock_count *count = lock_count_find(slot, wait->record.key, wait->hash, wait->site);
    if (!(wait->record.header.flags & WAIT_HAD_NOTHING))
        count->contended++;
    count->wait_ticks += wait->record.end - wait->record.begin;
    return count;
}

/* Of what is not held (conditions, semaphores, barriers, joins) the wait itself is the acquisition. */
static void wait_count_use(struct lock_wait *wait, struct thread_slot *slot) {
    struct lock_count *count = wait_count(wait, slot);
    if (!(wait->record.header.flags & WAIT_HAD_NOTHING))
        count->acquisitions++;
}

static bool pending_attach(struct thread_slot *slot, struct held_lock *held, const struct record_wait *wait) {
    uint32_t place = held && !held->pending ? pending_take(slot) : LOCK_PENDING_NONE;
    if (place == LOCK_PENDING_NONE)
        return false;
    agent_private(slot)->pending[place - 1] = *wait;
    AGENT_SIGNAL_FENCE();
    held->pending = place;
    return true;
}

void lock_wait_acquired(struct lock_wait *wait, struct thread_slot *slot, uint32_t flags) {
    wait_close(wait, slot, flags);
    struct held_lock *held = lock_acquired_held(slot, wait->record.key, wait->hash, wait->site);
    wait_count(wait, slot);
    bool attached = pending_attach(slot, held, &wait->record);
    if (!attached || !waiter_leaves_at_release(lock_key_class(wait->record.key)))
        lock_waiter_remove(wait->hash);
    if (!attached) {
        agent_busy_enter();
        agent_record_wait(slot, &wait->record);
        agent_busy_leave();
    }
}

/* Of the errors only a time-out and a mutex that is lost can come after a wait; the others (a deadlock that
 * would be, a malformed limit) come back at once. */
static bool error_after_wait(int result) {
    return result == ETIMEDOUT || result == ENOTRECOVERABLE;
}

void lock_wait_result(struct lock_wait *wait, struct thread_slot *slot, int result, uint32_t flags) {
    flags |= lock_wait_flags(result);
    if (result == 0 || result == EOWNERDEAD)
        lock_wait_acquired(wait, slot, flags);
    else if (error_after_wait(result))
        lock_wait_end(wait, slot, flags);
    else
        lock_wait_drop(wait, slot);
}

void lock_wait_drop(struct lock_wait *wait, struct thread_slot *slot) {
    atomic_store_explicit(&slot->now_key, 0, memory_order_relaxed);
    lock_waiter_remove(wait->hash);
}

void lock_wait_end(struct lock_wait *wait, struct thread_slot *slot, uint32_t flags) {
    wait_close(wait, slot, flags);
    lock_waiter_remove(wait->hash);
    agent_busy_enter();
    wait_count_use(wait, slot);
    agent_record_wait(slot, &wait->record);
    agent_busy_leave();
}

void lock_wait_end_later(struct lock_wait *wait, struct thread_slot *slot, uint32_t flags, const void *lock) {
    uint32_t depth = atomic_load_explicit(&slot->held_depth, memory_order_relaxed);
    struct held_lock *held = depth - 1 < SLOT_HELD ? &slot->held[depth - 1] : NULL;
    if (held &&
        lock_key_address(atomic_load_explicit(&held->key, memory_order_relaxed)) != (uint64_t)(uintptr_t)lock)
        held = NULL;
    wait_close(wait, slot, flags);
    lock_waiter_remove(wait->hash);
    wait_count_use(wait, slot);
    if (!pending_attach(slot, held, &wait->record)) {
        agent_busy_enter();
        agent_record_wait(slot, &wait->record);
        agent_busy_leave();
    }
}

void lock_wait_cancelled(void *argument) {
    struct lock_wait *wait = argument;
    struct thread_slot *slot = agent_thread.slot;
    if (slot)
        lock_wait_end(wait, slot, WAIT_CANCELLED);
}

AGENT_SLOW void lock_init_record(const void *lock, enum lock_class cls, uint32_t initial) {
    uint64_t key = lock_generation_raise(lock, cls);
    struct thread_slot *slot = agent_slot();
    if (!slot)
        return;
    agent_busy_enter();
    agent_module_note(slot, (uintptr_t)lock);
    agent_record_lock_init(slot, key, agent_stack(slot), initial);
    agent_busy_leave();
}

void lock_pending_flush(struct thread_slot *slot) {
    struct record_wait *pending = agent_private(slot)->pending;
    for (uint32_t i = 0; i < SLOT_HELD; i++)
        if (pending[i].key != 0)
            pending_write(slot, i + 1);
    for (uint32_t i = 0; i < SLOT_HELD; i++)
        slot->held[i].pending = LOCK_PENDING_NONE;
}
