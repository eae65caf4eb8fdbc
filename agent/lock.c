/* SPDX-License-Identifier: MIT */
#include "agent/lock.h"

/* --- acquisitions ------------------------------------------------------------------------------- */

AGENT_SLOW int lock_acquired_slow(struct thread_slot *slot, uint64_t base, uint32_t hash, uint64_t site) {
    struct lock_count *count = count_place_of(base, hash);
    if (!count_is_good(count, base))
        count = count_obtain(slot, base, hash, site);
    uint64_t due = count_use(count) ? HELD_DUE : 0;
    struct held_lock *held = lock_held_push(slot, base, site, due);
    if (due && held)
        held->due = agent_ticks() & ~HELD_WAITED;
    return 0;
}

AGENT_SLOW int lock_acquired_brief(struct thread_slot *slot, const void *lock, enum lock_class cls,
                                   uint32_t hash, uint64_t site, uint64_t begin) {
    uint64_t now = agent_ticks(), base = lock_base(lock, cls);
    struct lock_count *count = count_place(cls, hash);
    if (AGENT_UNLIKELY(!count_is_good(count, base)))
        count = count_obtain(slot, base, hash, site);
    lock_use_add(count);
    count->contended++;
    count->wait_ticks += now - begin;
    agent_thread.told_base =
        0; /* others wait since before, and this is another hold of theirs to be told of */
    struct held_lock *held = lock_held_push(slot, base, site, HELD_DUE);
    if (held)
        held->due = now | HELD_WAITED;
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
    agent_private(slot)->nested[place].base = lock_base(lock, cls);
    agent_private(slot)->nested[place].site = site;
    agent_private(slot)->nested[place].hash = lock_hash(lock);
    return result;
}

/* Handlers go on adding entries while the thread is busy here: the count is taken back to 0 only where none
 * came since it was compared. */
void agent_nested_apply(void) {
    struct thread_slot *slot = agent_thread.slot;
    agent_thread.fast = NULL;
    agent_thread.busy = true;
    AGENT_SIGNAL_FENCE();
    uint8_t done = 0;
    while (!atomic_compare_exchange_strong_explicit(&agent_thread.nested_count, &(uint8_t){done}, 0,
                                                    memory_order_relaxed, memory_order_relaxed)) {
        uint64_t base = agent_private(slot)->nested[done].base, site = agent_private(slot)->nested[done].site;
        lock_use_add(count_obtain(slot, base, agent_private(slot)->nested[done].hash, site));
        done++;
    }
    agent_busy_leave();
}

/* --- waits to be written ------------------------------------------------------------------------ */

static uint32_t pending_take(struct thread_slot *slot) {
    struct record_wait *pending = agent_private(slot)->pending;
    for (uint32_t i = 0; i < AGENT_PENDING_MAX; i++)
        if (pending[i].key == 0)
            return i + 1;
    return 0;
}

#define WAIT_HAD_NOTHING (WAIT_TIMED_OUT | WAIT_FAILED | WAIT_CANCELLED)

/* Counts a wait that has ended, and with it the acquisition that it led to, and writes its record. Busy. */
static void wait_write(struct thread_slot *slot, const struct record_wait *wait, uint64_t site) {
    uint64_t base = wait->key & ~((uint64_t)FILTER_GENERATION << LOCK_KEY_ADDRESS_BITS);
    uint32_t hash = lock_hash((const void *)(uintptr_t)lock_key_address(base));
    struct lock_count *count = count_obtain(slot, base, hash, site);
    if (!(wait->header.flags & WAIT_HAD_NOTHING)) {
        count->contended++;
        lock_use_add(count);
    }
    count->wait_ticks += wait->end - wait->begin;
    agent_record_wait(slot, wait);
}

static void pending_write(struct thread_slot *slot, uint32_t place) {
    struct agent_private *private = agent_private(slot);
    wait_write(slot, &private->pending[place - 1], private->pending_sites[place - 1]);
    private->pending[place - 1].key = 0;
}

void lock_pending_flush(struct thread_slot *slot) {
    for (uint32_t i = 0; i < AGENT_PENDING_MAX; i++)
        if (agent_private(slot)->pending[i].key != 0 && agent_private(slot)->pending[i].end != 0)
            pending_write(slot, i + 1);
    for (uint32_t i = 0; i < SLOT_HELD; i++) {
        uint64_t key = atomic_load_explicit(&slot->held[i].key, memory_order_relaxed);
        atomic_store_explicit(&slot->held[i].key, key & ~HELD_DUE, memory_order_relaxed);
    }
}

/* --- release ------------------------------------------------------------------------------------ */

/* A wait for a lock that only one thread can hold is announced until that thread has released it: taking
 * it back earlier would cost an atomic operation while the lock is held. */
static bool waiter_leaves_at_release(unsigned cls) {
    return cls == LOCK_CLASS_MUTEX || cls == LOCK_CLASS_RWLOCK_WRITE || cls == LOCK_CLASS_SPIN;
}

/* Closes the gap of a lock that is not the last taken. */
static void held_remove(struct thread_slot *slot, uint32_t at, uint32_t depth) {
    uint32_t kept = depth < SLOT_HELD ? depth : SLOT_HELD;
    for (; at + 1 < kept; at++) {
        struct held_lock *from = &slot->held[at + 1], *to = &slot->held[at];
        to->due = from->due;
        atomic_store_explicit(&to->site, atomic_load_explicit(&from->site, memory_order_relaxed),
                              memory_order_relaxed);
        atomic_store_explicit(&to->key, atomic_load_explicit(&from->key, memory_order_relaxed),
                              memory_order_release); /* [HELD-READ] */
    }
    /* Of more locks than there are places for, the last place is nobody's now. */
    if (depth > SLOT_HELD)
        atomic_store_explicit(&slot->held[kept - 1].key, 0, memory_order_relaxed);
    AGENT_SIGNAL_FENCE();
    atomic_store_explicit(&slot->held_depth, depth - 1, memory_order_relaxed);
}

AGENT_SLOW void lock_release_find(struct thread_slot *slot, struct lock_release *release) {
    uint32_t depth = atomic_load_explicit(&slot->held_depth, memory_order_relaxed);
    uint32_t at = depth < SLOT_HELD ? depth : SLOT_HELD;
    uint64_t key = 0;
    while (at > 0) {
        key = atomic_load_explicit(&slot->held[at - 1].key, memory_order_relaxed);
        if ((key & ~HELD_DUE) == release->base)
            break;
        at--;
    }
    if (at == 0) { /* taken by another thread, before the agent came, or too deep to be kept */
        if (depth > SLOT_HELD)
            atomic_store_explicit(&slot->held_depth, depth - 1, memory_order_relaxed);
        return;
    }
    struct held_lock *held = &slot->held[at - 1];
    release->site = atomic_load_explicit(&held->site, memory_order_relaxed);
    release->due = key & HELD_DUE ? held->due : 0;
    held_remove(slot, at - 1, depth);
}

/* The place of the wait in agent_private.pending, counted from 1; 0: none. */
static uint32_t release_place(const struct lock_release *release) {
    return release->due <= HELD_PENDING_MAX ? (uint32_t)release->due : 0;
}

static bool release_is_news(uint64_t base, uint32_t begun) {
    if (agent_thread.told_base != base || agent_thread.told_begun != begun) {
        agent_thread.told_base = base;
        agent_thread.told_begun = begun;
        agent_thread.told_quiet = agent_thread.told_period = RELEASES_QUIET;
        return true;
    }
    if (AGENT_LIKELY(agent_thread.told_quiet-- != 0))
        return false;
    if (agent_thread.told_period < RELEASES_QUIET_MAX)
        agent_thread.told_period = 2 * agent_thread.told_period + 1;
    agent_thread.told_quiet = agent_thread.told_period;
    return true;
}

/* Busy. */
static void release_write(struct thread_slot *slot, uint64_t base, uint64_t word, uint64_t time,
                          uint64_t since, uint32_t waiters) {
    agent_record_release(slot, filter_key(base, word), time, since, agent_stack(slot), 0, waiters);
}

AGENT_SLOW int lock_release_tell(struct thread_slot *slot, uint64_t base, uint32_t hash, int result) {
    return lock_release_tell_at(slot, base, hash, result, 0);
}

AGENT_SLOW int lock_release_tell_at(struct thread_slot *slot, uint64_t base, uint32_t hash, int result,
                                    uint64_t time) {
    uint64_t word = filter_load(hash);
    if (!release_is_news(base, filter_begun(word)) && time == 0)
        return result;
    uint32_t waiters = filter_waiters(word);
    if (time == 0)
        time = agent_ticks();
    agent_busy_enter();
    release_write(slot, base, word, time, 0, waiters ? waiters : 1);
    agent_busy_leave();
    return result;
}

static void release_timed(struct thread_slot *slot, const struct lock_release *release, uint64_t since,
                          uint64_t time, bool waited) {
    struct lock_count *count = count_place_of(release->base, release->hash);
    if (AGENT_UNLIKELY(!count_is_good(count, release->base)))
        count = count_obtain(slot, release->base, release->hash, release->site);
    count_hold(count, time > since ? time - since : 0, waited);
}

/* The wait of which this is the release; NULL if the acquisition did not wait, or if what is pending is the
 * wait on a condition whose mutex this is. */
static const struct record_wait *release_wait(struct thread_slot *slot, const struct lock_release *release) {
    if (!release_place(release))
        return NULL;
    const struct record_wait *wait = &agent_private(slot)->pending[release_place(release) - 1];
    return lock_key_address(wait->key) == lock_key_address(release->base) ? wait : NULL;
}

/* How many others waited when the lock was released. After a wait the lock's word says that somebody sleeps
 * whether or not that is so; then somebody did if others were waiting beside this thread, or have begun
 * since. */
static uint32_t release_waiters(struct thread_slot *slot, const struct lock_release *release, uint64_t word,
                                bool waited, bool announced) {
    uint32_t waiters = filter_waiters(word);
    if (release->before > waiters)
        waiters = release->before;
    if (announced && waiters > 0)
        waiters--;
    if (waiters > 0)
        return waiters;
    if (!release->slept)
        return release->slept_elsewhere;
    uint64_t then = waited ? agent_private(slot)->pending_words[release_place(release) - 1] : 0;
    return !waited || filter_waiters(then) > 1 || filter_begun(then) != filter_begun(word);
}

AGENT_SLOW int lock_release_end(struct thread_slot *slot, struct lock_release *release, int result) {
    if (release->is_top)
        lock_release_drop(slot);
    uint64_t word = filter_load(release->hash);
    const struct record_wait *wait = release_wait(slot, release);
    bool announced = wait && waiter_leaves_at_release(lock_key_class(wait->key));
    uint32_t waiters = release_waiters(slot, release, word, wait != NULL, announced);
    if (!release->due && waiters == 0)
        return result;
    uint64_t time = release->time ? release->time : agent_ticks(), since = 0;
    bool waited = wait != NULL;
    if (wait) {
        since = wait->end;
    } else if (release->due > HELD_PENDING_MAX) {
        since = release->due & ~HELD_WAITED;
        waited = release->due & HELD_WAITED;
    }
    if (!release_place(release) && waiters == 0) {
        release_timed(slot, release, since, time, waited); /* every hold if all are timed */
        return result;
    }
    agent_busy_enter();
    if (announced)
        filter_waiter_remove(release->hash);
    if (release_place(release))
        pending_write(slot, release_place(release));
    if (since)
        release_timed(slot, release, since, time, waited);
    if (waiters && (release_is_news(release->base, filter_begun(word)) || release->time))
        release_write(slot, release->base, word, time, since, waiters);
    agent_busy_leave();
    return result;
}

AGENT_SLOW int lock_release_around(struct thread_slot *slot, uint64_t base, uint32_t hash, void *lock,
                                   int (*real)(void *lock)) {
    struct lock_release release = {.base = base, .hash = hash, .before = lock_waiters(hash)};
    lock_release_begin(slot, &release);
    return lock_release_end(slot, &release, real(lock));
}

void lock_release_before(struct thread_slot *slot, uint64_t base, uint32_t hash) {
    struct lock_release release = {.base = base, .hash = hash};
    lock_release_begin(slot, &release);
    lock_release_end(slot, &release, 0);
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
    lock_wait_begin_at(wait, slot, lock, cls, hash, site, owner_tid, owner_site, agent_ticks());
}

void lock_wait_begin_at(struct lock_wait *wait, struct thread_slot *slot, const void *lock,
                        enum lock_class cls, uint32_t hash, uint64_t site, uint32_t owner_tid,
                        uint64_t owner_site, uint64_t begin) {
    agent_busy_enter();
    wait->hash = hash;
    wait->base = lock_base(lock, cls);
    wait->site = site;
    wait->place = pending_take(slot);
    wait->record = wait->place ? &agent_private(slot)->pending[wait->place - 1] : &wait->own;
    uint64_t word = filter_waiter_add(hash);
    if (wait->place) {
        agent_private(slot)->pending_sites[wait->place - 1] = site;
        agent_private(slot)->pending_words[wait->place - 1] = word;
    }
    struct record_wait *record = wait->record;
    *record =
        (struct record_wait){.key = filter_key(wait->base, word), .begin = begin, .owner_site = owner_site};
    if (owner_tid) {
        record->header.value = owner_tid;
        struct thread_slot *owner = owner_site ? NULL : agent_directory_tid(owner_tid);
        if (owner)
            record->owner_site = lock_held_site(owner, lock);
        if (record->owner_site)
            agent_module_note(slot, record->owner_site);
    }
    record->stack = agent_stack(slot);
    atomic_store_explicit(&slot->now_owner, owner_tid, memory_order_relaxed);
    atomic_store_explicit(&slot->now_since, record->begin, memory_order_relaxed);
    atomic_store_explicit(&slot->now_stack, record->stack, memory_order_relaxed);
    atomic_store_explicit(&slot->now_owner_site, record->owner_site, memory_order_relaxed);
    atomic_store_explicit(&slot->now_key, record->key, memory_order_release); /* [NOW] */
    agent_busy_leave();
}

static void wait_close(struct lock_wait *wait, struct thread_slot *slot, uint32_t flags) {
    wait->record->end = agent_ticks();
    wait->record->header.flags = (uint8_t)flags;
    atomic_store_explicit(&slot->now_key, 0, memory_order_relaxed);
}

/* Written now: nothing that would be released is held, or there was no place to keep it. */
static void wait_write_now(struct lock_wait *wait, struct thread_slot *slot) {
    agent_busy_enter();
    wait_write(slot, wait->record, wait->site);
    if (wait->place)
        wait->record->key = 0;
    agent_busy_leave();
}

void lock_wait_acquired(struct lock_wait *wait, struct thread_slot *slot, uint32_t flags) {
    wait_close(wait, slot, flags);
    struct held_lock *held = lock_held_push(slot, wait->base, wait->site, wait->place ? HELD_DUE : 0);
    bool kept = held && wait->place;
    if (kept)
        held->due = wait->place;
    if (!kept || !waiter_leaves_at_release(lock_key_class(wait->base)))
        filter_waiter_remove(wait->hash);
    if (!kept)
        wait_write_now(wait, slot);
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
    if (wait->place)
        wait->record->key = 0;
    filter_waiter_remove(wait->hash);
}

void lock_wait_end(struct lock_wait *wait, struct thread_slot *slot, uint32_t flags) {
    wait_close(wait, slot, flags);
    filter_waiter_remove(wait->hash);
    wait_write_now(wait, slot);
}

void lock_wait_end_held(struct lock_wait *wait, struct thread_slot *slot, uint32_t flags, uint64_t mutex) {
    wait_close(wait, slot, flags);
    struct held_lock *held = lock_held_push(slot, mutex, wait->site, wait->place ? HELD_DUE : 0);
    if (held && wait->place)
        held->due = wait->place;
    filter_waiter_remove(wait->hash);
    if (!held || !wait->place)
        wait_write_now(wait, slot);
}

void lock_wait_cancelled(void *argument) {
    struct lock_wait *wait = argument;
    struct thread_slot *slot = agent_thread.slot;
    if (slot)
        lock_wait_end(wait, slot, WAIT_CANCELLED);
}

AGENT_SLOW void lock_init_record(const void *lock, enum lock_class cls, uint32_t initial) {
    uint64_t key = filter_generation_raise(lock, cls);
    struct thread_slot *slot = agent_slot();
    if (!slot)
        return;
    agent_busy_enter();
    agent_module_note(slot, (uintptr_t)lock);
    agent_record_lock_init(slot, key, agent_stack(slot), initial);
    agent_busy_leave();
}
