/* SPDX-License-Identifier: MIT */
/*
 * glibc's lock words, for locks that are free.
 *
 * A hook that calls the try variant and then its caller's lock costs half as much again as the lock itself.
 * So a plain mutex that is free is taken, and one that nobody waits for is given, as glibc does it; likewise
 * a rwlock that is free or held by readers only. Everything else (another kind of mutex, a waiter, a writer)
 * goes to the real function.
 *
 * The protocol, unchanged since 2.17 for mutexes and 2.25 for rwlocks:
 *   mutex   (nptl/pthread_mutex_lock.c, sysdeps/nptl/lowlevellock.h) __kind 0 or 0x200: __lock is 0 free, 1
 * taken, 2 taken and perhaps waited for; the owner sets __owner and counts itself in __nusers; who finds 2
 * when it gives the lock wakes one. rwlock  (nptl/pthread_rwlock_common.c) __readers: bits 0..2 zero while
 * readers have it and no writer wants it; bits 3.. count the readers. spin
 * lock (sysdeps/x86_64/nptl/pthread_spin_lock.S): 1 free, 0 or less taken; giving it is a store. It is not
 * taken on trust: word_verify() does with this process' libc what the fast paths rely on. Where anything
 * differs (another libc, lock elision) they are never taken.
 *
 * [WORD-LOCK] The compare-and-swap that takes a lock is an acquire, the exchange that gives it a release:
 * each other's partners and those of glibc's own operations on the same word.
 */
#ifndef WAITSCOPE_AGENT_WORD_H
#define WAITSCOPE_AGENT_WORD_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/single_threaded.h>

#include "agent/visibility.h"

#define WORD_MUTEX_UNKNOWN INT_MIN /* no mutex is of that kind; -1 is what destroying one leaves */
#define WORD_MUTEX_NO_ELISION                                                                                \
    0x200 /* PTHREAD_MUTEX_NO_ELISION_NP: of the plain kind, and asked for as such */
#define WORD_READER 8U
#define WORD_WRITER_MASK 7U
#define WORD_READERS_MAX 0x10000000U

extern int word_mutex_kind AGENT_HIDDEN;         /* 0, the plain kind; WORD_MUTEX_UNKNOWN until verified */
extern unsigned word_readers_limit AGENT_HIDDEN; /* WORD_READERS_MAX; 0 until verified */

extern bool word_spin_known AGENT_HIDDEN;

/* Tries all that is relied on. While the process has one thread; calls the real functions. */
void word_verify(void);

void word_mutex_wake(pthread_mutex_t *mutex);

static inline bool word_mutex_known(const pthread_mutex_t *mutex) {
    return AGENT_LIKELY((mutex->__data.__kind & ~WORD_MUTEX_NO_ELISION) == word_mutex_kind);
}

/* Takes a known mutex if it is free. tid: the caller's. */
static inline bool word_mutex_take(pthread_mutex_t *mutex, uint32_t tid) {
    int expected = 0;
    if (__libc_single_threaded) {
        if (AGENT_UNLIKELY(mutex->__data.__lock != 0))
            return false;
        mutex->__data.__lock = 1;
    } else if (AGENT_UNLIKELY(!__atomic_compare_exchange_n(&mutex->__data.__lock, &expected, 1, false,
                                                           __ATOMIC_ACQUIRE,
                                                           __ATOMIC_RELAXED))) { /* [WORD-LOCK] */
        return false;
    }
    mutex->__data.__owner = (int)tid;
    mutex->__data.__nusers++;
    return true;
}

/* Gives a known mutex. Returns whether somebody sleeps for it, and is to be woken by word_mutex_wake(). */
static inline bool word_mutex_give(pthread_mutex_t *mutex) {
    mutex->__data.__owner = 0;
    mutex->__data.__nusers--;
    if (__libc_single_threaded && mutex->__data.__lock == 1) {
        mutex->__data.__lock = 0;
        return false;
    }
    return AGENT_UNLIKELY(__atomic_exchange_n(&mutex->__data.__lock, 0, __ATOMIC_RELEASE) >
                          1); /* [WORD-LOCK] */
}

/* Takes a spin lock if it is free, and gives it. Only where word_spin_known. */
static inline bool word_spin_take(pthread_spinlock_t *lock) {
    int expected = 1;
    return __atomic_compare_exchange_n(lock, &expected, 0, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED); /* [WORD-LOCK] */
}
static inline void word_spin_give(pthread_spinlock_t *lock) {
    __atomic_store_n(lock, 1, __ATOMIC_RELEASE); /* [WORD-LOCK] */
}

static inline bool word_readers_only(unsigned readers) {
    return AGENT_LIKELY((readers & WORD_WRITER_MASK) == 0 && readers < word_readers_limit);
}

/* Takes a rwlock for reading if no writer has or wants it. */
static inline bool word_rwlock_read_take(pthread_rwlock_t *lock) {
    unsigned readers = __atomic_load_n(&lock->__data.__readers, __ATOMIC_RELAXED);
    return word_readers_only(readers) &&
           __atomic_compare_exchange_n(&lock->__data.__readers, &readers, readers + WORD_READER, false,
                                       __ATOMIC_ACQUIRE, __ATOMIC_RELAXED); /* [WORD-LOCK] */
}

/* Gives a rwlock that was taken for reading; false, and nothing done, if a writer wants it. */
static inline bool word_rwlock_read_give(pthread_rwlock_t *lock) {
    unsigned readers = __atomic_load_n(&lock->__data.__readers, __ATOMIC_RELAXED);
    return word_readers_only(readers) && readers >= WORD_READER &&
           __atomic_compare_exchange_n(&lock->__data.__readers, &readers, readers - WORD_READER, false,
                                       __ATOMIC_RELEASE, __ATOMIC_RELAXED); /* [WORD-LOCK] */
}

#endif
