/* SPDX-License-Identifier: MIT */
/*
 * Locks of its own making, by futex calls that no library is asked for: one that says nothing of its owner,
 * one with the owner's tid in it, one that the kernel hands on (PI), a wait that is moved to another futex,
 * one at several at once, one that ends by its time-out. A holder sleeps under each lock while another waits.
 * For each what was waited is measured and printed.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "truth.h"

#define TURNS 5
#define NAP_US 10000

struct waiter_at {
    uint64_t value, address;
    uint32_t flags, reserved;
};

uint32_t plain_word, owned_word, kernel_word, first_word, second_word, many_words[2], timed_word;
static struct truth_turns plain_turns, owned_turns, kernel_turns, moved_turns, many_turns;
static uint64_t plain_ns, owned_ns, kernel_ns, moved_ns, many_ns, timed_ns;

static long futex(uint32_t *word, int operation, uint32_t value, const void *fourth, uint32_t *other) {
    uint32_t last = operation == FUTEX_WAIT_BITSET ? FUTEX_BITSET_MATCH_ANY : 0;
    return syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, fourth, other, last);
}

/* 0 free, 1 taken, 2 taken and waited for. */
TRUTH_FUNCTION static void plain_take(void) {
    uint32_t state = 0;
    if (__atomic_compare_exchange_n(&plain_word, &state, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return;
    while (__atomic_exchange_n(&plain_word, 2, __ATOMIC_ACQUIRE) != 0)
        futex(&plain_word, FUTEX_WAIT, 2, NULL, NULL);
    TRUTH_STAY();
}

TRUTH_FUNCTION static void plain_give(void) {
    if (__atomic_exchange_n(&plain_word, 0, __ATOMIC_RELEASE) == 2)
        futex(&plain_word, FUTEX_WAKE, 1, NULL, NULL);
    TRUTH_STAY();
}

TRUTH_FUNCTION static void owned_take(void) {
    uint32_t state = 0, own = (uint32_t)truth_tid();
    while (
        !__atomic_compare_exchange_n(&owned_word, &state, own, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        uint32_t waited = state | FUTEX_WAITERS;
        if (state == waited || __atomic_compare_exchange_n(&owned_word, &state, waited, false,
                                                           __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            futex(&owned_word, FUTEX_WAIT_BITSET, waited, NULL, NULL);
        state = 0;
    }
    TRUTH_STAY();
}

TRUTH_FUNCTION static void owned_give(void) {
    if (__atomic_exchange_n(&owned_word, 0, __ATOMIC_RELEASE) & FUTEX_WAITERS)
        futex(&owned_word, FUTEX_WAKE, 1, NULL, NULL);
    TRUTH_STAY();
}

TRUTH_FUNCTION static void kernel_take(void) {
    uint32_t state = 0, own = (uint32_t)truth_tid();
    if (!__atomic_compare_exchange_n(&kernel_word, &state, own, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        TRUTH_OK(truth_errno((int)futex(&kernel_word, FUTEX_LOCK_PI, 0, NULL, NULL)));
    TRUTH_STAY();
}

TRUTH_FUNCTION static void kernel_give(void) {
    uint32_t own = (uint32_t)truth_tid();
    if (!__atomic_compare_exchange_n(&kernel_word, &own, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        TRUTH_OK(truth_errno((int)futex(&kernel_word, FUTEX_UNLOCK_PI, 0, NULL, NULL)));
    TRUTH_STAY();
}

static const struct kind {
    struct truth_turns *turns;
    void (*take)(void), (*give)(void);
    uint64_t *ns;
} kinds[] = {
    {&plain_turns, plain_take, plain_give, &plain_ns},
    {&owned_turns, owned_take, owned_give, &owned_ns},
    {&kernel_turns, kernel_take, kernel_give, &kernel_ns},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

TRUTH_FUNCTION static void first_wait(void) {
    while (__atomic_load_n(&first_word, __ATOMIC_ACQUIRE) == 0)
        futex(&first_word, FUTEX_WAIT, 0, NULL, NULL);
    TRUTH_STAY();
}

/* What waits at the first is not woken, but waits at the second from now on, and is woken there. */
TRUTH_FUNCTION static void second_wake(void) {
    if (futex(&first_word, FUTEX_CMP_REQUEUE, 0, (const void *)1, &second_word) != 1)
        truth_fail("nobody was requeued");
    truth_sleep_us(NAP_US);
    __atomic_store_n(&first_word, 1, __ATOMIC_RELEASE);
    futex(&second_word, FUTEX_WAKE, 1, NULL, NULL);
    TRUTH_STAY();
}

TRUTH_FUNCTION static void many_wait(void) {
    struct waiter_at all[2] = {{0, (uintptr_t)&many_words[0], 2, 0}, {0, (uintptr_t)&many_words[1], 2, 0}};
    while (__atomic_load_n(&many_words[1], __ATOMIC_ACQUIRE) == 0)
        if (syscall(449, all, 2, 0, NULL, 0) < 0 && errno == ENOSYS)
            truth_fail("futex_waitv is not there");
    TRUTH_STAY();
}

TRUTH_FUNCTION static void many_wake(void) {
    __atomic_store_n(&many_words[1], 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &many_words[1], FUTEX_WAKE, 1, NULL, NULL, 0);
    TRUTH_STAY();
}

TRUTH_FUNCTION static void timed_wait(void) {
    struct timespec time = {.tv_nsec = 20000000};
    futex(&timed_word, FUTEX_WAIT, 0, &time, NULL);
    TRUTH_STAY();
}

static void *wait_all(void *unused) {
    pthread_setname_np(pthread_self(), "waiter");
    for (size_t kind = 0; kind < KINDS; kind++) {
        for (uint32_t turn = 1; turn <= TURNS; turn++) {
            truth_turn_come(kinds[kind].turns, turn, 0);
            uint64_t begin = truth_now();
            kinds[kind].take();
            *kinds[kind].ns += truth_now() - begin;
            kinds[kind].give();
            truth_turn_done(kinds[kind].turns);
        }
    }
    truth_turn_come(&moved_turns, 1, 0);
    uint64_t begin = truth_now();
    first_wait();
    moved_ns = truth_now() - begin;
    truth_turn_come(&many_turns, 1, 0);
    begin = truth_now();
    many_wait();
    many_ns = truth_now() - begin;
    begin = truth_now();
    timed_wait();
    timed_ns = truth_now() - begin;
    return unused;
}

static void *hold_all(void *unused) {
    pthread_setname_np(pthread_self(), "holder");
    for (size_t kind = 0; kind < KINDS; kind++) {
        for (uint32_t turn = 1; turn <= TURNS; turn++) {
            kinds[kind].take();
            truth_turn_open(kinds[kind].turns, turn, 1);
            truth_sleep_us(NAP_US);
            kinds[kind].give();
            truth_turn_close(kinds[kind].turns, turn, 1);
        }
    }
    truth_turn_open(&moved_turns, 1, 1);
    second_wake();
    truth_turn_open(&many_turns, 1, 1);
    truth_sleep_us(NAP_US);
    many_wake();
    return unused;
}

int main(void) {
    pthread_t holder, waiter;
    truth_sleep_us(300000); /* the tables of its code are there by then */
    TRUTH_OK(pthread_create(&holder, NULL, hold_all, NULL));
    TRUTH_OK(pthread_create(&waiter, NULL, wait_all, NULL));
    TRUTH_OK(pthread_join(holder, NULL));
    TRUTH_OK(pthread_join(waiter, NULL));
    printf("{\"plain_word\":%" PRIu64 ",\"owned_word\":%" PRIu64 ",\"kernel_word\":%" PRIu64
           ",\"second_word\":%" PRIu64 ",\"many_words\":%" PRIu64 ",\"timed_word\":%" PRIu64 "}\n",
           plain_ns, owned_ns, kernel_ns, moved_ns, many_ns, timed_ns);
    return 0;
}
