/* SPDX-License-Identifier: MIT */
/*
 * A kit for programs that know the truth about themselves: they count their own acquisitions, time
 * the waits they planned, and print one JSON object on stdout at the end (truth_print).
 *
 * The kit plans who waits for whom with atomics and raw futex calls only, never with pthread calls,
 * so that it does not disturb what is counted. Times are CLOCK_MONOTONIC nanoseconds. Everything
 * may be called from any thread. A failed call ends the program with status 70 and a line on
 * stderr: a truth that could not be carried out is no truth.
 *
 * What is counted:
 *   acquisitions  calls that returned with the lock had: 0 or EOWNERDEAD; a semaphore that was
 *                 decremented, a barrier that was passed. A condition's waits are its acquisitions;
 *                 the mutex that pthread_cond_wait takes back is counted in reacquisitions.
 *   contended     the acquisitions that had to wait
 *   wait_ns       all planned waits, also those that timed out
 *   waits         how many planned waits
 */
#ifndef WAITSCOPE_TESTS_TRUTH_H
#define WAITSCOPE_TESTS_TRUTH_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A function whose name is known to be on the stack. */
#if defined(__clang__)
#define TRUTH_FUNCTION __attribute__((noinline))
#else
#define TRUTH_FUNCTION __attribute__((noinline, noclone))
#endif
/* Put behind a call that must not become a tail call. */
#define TRUTH_STAY() __asm__ volatile("" ::: "memory")

struct truth_lock;

enum truth_blame {
    TRUTH_BY_HOLDER,   /* a wait is blamed on who held it when the wait began, until that one let go */
    TRUTH_BY_READERS,  /* likewise, but not a wait in vain: which reader was in its way nobody can tell */
    TRUTH_BY_RELEASER, /* ... on who signalled, posted or arrived last */
    TRUTH_NO_TIME,     /* waits are not planned: contended and wait_ns are printed as null */
};

/*
 * name: what a report should call it, such as pools[2].lock. kind: mutex, rwlock, condition,
 * barrier, spin, semaphore. Strings are borrowed for ever. Never NULL.
 */
struct truth_lock *truth_lock_add(const char *name, const char *kind, enum truth_blame blame);
/* The name is that of the function that initialised it; several locks may share it. */
struct truth_lock *truth_lock_add_site(const char *function, const char *kind, enum truth_blame blame);

void truth_count(struct truth_lock *lock, uint64_t acquisitions);
void truth_count_contended(struct truth_lock *lock, uint64_t acquisitions);
void truth_reacquired(struct truth_lock *lock, uint64_t acquisitions);
/* Several wait at once: when the holder lets go, they also wait for each other, for a moment. */
void truth_crowd(struct truth_lock *lock);
void truth_thread(void); /* one more thread was started */
/* pthread_create and truth_thread. */
pthread_t truth_start(void *(*routine)(void *), void *argument);
void truth_join(pthread_t thread);
/* A raw member for the JSON object, such as "\"processes\":3". Borrowed; at most 16. */
void truth_extra(const char *member);

uint64_t truth_now(void);
/* Now plus so much, on that clock. */
struct timespec truth_deadline(clockid_t clock, uint64_t microseconds);
void truth_sleep_us(uint64_t microseconds);
void truth_check(int error, const char *function, int line); /* anything but 0 is fatal */
#define TRUTH_OK(call) truth_check((call), __func__, __LINE__)
void truth_fail(const char *why) __attribute__((noreturn));

/* Takes the lock as one whom others will wait for: no wait is planned. */
#define TRUTH_TAKE(lock, call)                                                                               \
    (truth_check((call), __func__, __LINE__), truth_taken((lock), __func__, __LINE__))
/* Releases, signals, posts, or arrives last. Registered before the call is made. */
#define TRUTH_GIVE(lock, call)                                                                               \
    (truth_giving((lock), __func__, __LINE__), truth_check((call), __func__, __LINE__))
/* A planned wait; the value is what the call returned. */
#define TRUTH_WAIT(lock, call)                                                                               \
    __extension__({                                                                                          \
        struct truth_lock *truth_l = (lock);                                                                 \
        int truth_holder = truth_waiting(truth_l, __func__, __LINE__);                                       \
        uint64_t truth_begin = truth_now();                                                                  \
        int truth_error = (call);                                                                            \
        truth_waited(truth_l, truth_holder, truth_begin, truth_now(), truth_error);                          \
        truth_error;                                                                                         \
    })

void truth_taken(struct truth_lock *lock, const char *function, int line);
void truth_giving(struct truth_lock *lock, const char *function, int line);
int truth_waiting(struct truth_lock *lock, const char *function, int line);
void truth_waited(struct truth_lock *lock, int holder, uint64_t begin, uint64_t end, int error);

/* For calls that return -1 and errno. */
int truth_errno(int result);

/* A place where threads meet, by raw futex. Zero-initialised. */
struct truth_gate {
    uint32_t value;
};
void truth_gate_add(struct truth_gate *gate, uint32_t more);
void truth_gate_await(struct truth_gate *gate, uint32_t at_least);

/*
 * Turns between one holder and some waiters. The holder, holding, calls truth_turn_open: it lets
 * the waiters go and returns when each of them sleeps in its wait. A waiter calls truth_turn_come
 * and then waits, with nothing in between. Turns count from 1. Zero-initialised.
 */
#define TRUTH_WAITERS_MAX 16
struct truth_turns {
    struct truth_gate open, come, again, done;
    int tids[TRUTH_WAITERS_MAX];
};
void truth_turn_open(struct truth_turns *turns, uint32_t turn, uint32_t waiters);
/* The same for waiters that never sleep, such as those of a spin lock. */
void truth_turn_open_spinning(struct truth_turns *turns, uint32_t turn, uint32_t waiters);
void truth_turn_come(struct truth_turns *turns, uint32_t turn, uint32_t waiter);
/* A waiter that first waits in vain says so when that wait has ended and goes straight into its next;
 * the holder, after truth_turn_open with one waiter, returns when it sleeps there. Otherwise a release
 * could still overtake the time-out. */
void truth_turn_come_again(struct truth_turns *turns);
void truth_turn_open_again(struct truth_turns *turns, uint32_t turn);
/* The waiter has let go of the lock; the holder, before its next turn, awaits that of each. */
void truth_turn_done(struct truth_turns *turns);
void truth_turn_close(struct truth_turns *turns, uint32_t turn, uint32_t waiters);
/* Returns when the thread, of whatever process, sleeps in the kernel. */
void truth_await_asleep(int tid);
/* Returns when a thread has ended that stays listed until others have: a process' first one. */
void truth_await_ended(int tid);
int truth_tid(void);

/* Writes the JSON object and a newline with one write. */
void truth_print(void);

#ifdef __cplusplus
}
#endif

#endif
