/* SPDX-License-Identifier: MIT */
#include "truth.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LOCKS_MAX 128
#define HOLDERS_MAX 24
#define EXTRAS_MAX 16
#define PRINT_BYTES (256 * 1024)

struct holder {
    const char *function;
    int taken_line, released_line;
    uint64_t wait_ns, count;
};

struct truth_lock {
    const char *name, *kind;
    bool by_site;
    enum truth_blame blame;
    bool crowd;
    uint64_t released; /* when the holder last began to let go */
    uint64_t acquisitions, contended, reacquisitions, waits, wait_ns;
    const char *waiter_function;
    int waiter_line;
    int current; /* index of the holder that waits are blamed on, -1 */
    int holder_count;
    struct holder holders[HOLDERS_MAX];
};

static struct truth_lock locks[LOCKS_MAX];
static int lock_count;
static uint64_t threads = 1;
static const char *extras[EXTRAS_MAX];
static int extra_count;
static char guard; /* over the tables above; held for a few instructions */

static void guard_take(void) {
    while (__atomic_test_and_set(&guard, __ATOMIC_ACQUIRE))
        __builtin_ia32_pause();
}

static void guard_give(void) {
    __atomic_clear(&guard, __ATOMIC_RELEASE);
}

void truth_fail(const char *why) {
    dprintf(STDERR_FILENO, "truth: %s\n", why);
    _exit(70);
}

void truth_check(int error, const char *function, int line) {
    if (error == 0)
        return;
    dprintf(STDERR_FILENO, "truth: %s:%d: unexpected result %d (%s)\n", function, line, error,
            strerror(error));
    _exit(70);
}

int truth_errno(int result) {
    return result == -1 ? errno : result;
}

static struct truth_lock *lock_add(const char *name, const char *kind, enum truth_blame blame, bool by_site) {
    guard_take();
    int index = lock_count < LOCKS_MAX ? lock_count++ : -1;
    guard_give();
    if (index < 0)
        truth_fail("too many locks");
    locks[index] =
        (struct truth_lock){.name = name, .kind = kind, .by_site = by_site, .blame = blame, .current = -1};
    return &locks[index];
}

struct truth_lock *truth_lock_add(const char *name, const char *kind, enum truth_blame blame) {
    return lock_add(name, kind, blame, false);
}

struct truth_lock *truth_lock_add_site(const char *function, const char *kind, enum truth_blame blame) {
    return lock_add(function, kind, blame, true);
}

void truth_count(struct truth_lock *lock, uint64_t acquisitions) {
    __atomic_fetch_add(&lock->acquisitions, acquisitions, __ATOMIC_RELAXED);
}

void truth_count_contended(struct truth_lock *lock, uint64_t acquisitions) {
    __atomic_fetch_add(&lock->contended, acquisitions, __ATOMIC_RELAXED);
}

void truth_reacquired(struct truth_lock *lock, uint64_t acquisitions) {
    __atomic_fetch_add(&lock->reacquisitions, acquisitions, __ATOMIC_RELAXED);
}

void truth_crowd(struct truth_lock *lock) {
    lock->crowd = true;
}

void truth_thread(void) {
    __atomic_fetch_add(&threads, 1, __ATOMIC_RELAXED);
}

pthread_t truth_start(void *(*routine)(void *), void *argument) {
    pthread_t thread;
    TRUTH_OK(pthread_create(&thread, NULL, routine, argument));
    truth_thread();
    return thread;
}

void truth_join(pthread_t thread) {
    TRUTH_OK(pthread_join(thread, NULL));
}

void truth_extra(const char *member) {
    if (extra_count == EXTRAS_MAX)
        truth_fail("too many extras");
    extras[extra_count++] = member;
}

uint64_t truth_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

struct timespec truth_deadline(clockid_t clock, uint64_t microseconds) {
    struct timespec until;
    clock_gettime(clock, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + microseconds * 1000;
    until.tv_sec += (time_t)(ns / 1000000000U);
    until.tv_nsec = (long)(ns % 1000000000U);
    return until;
}

void truth_sleep_us(uint64_t microseconds) {
    uint64_t end = truth_now() + microseconds * 1000;
    struct timespec until = {.tv_sec = (time_t)(end / 1000000000U), .tv_nsec = (long)(end % 1000000000U)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {
    }
}

int truth_tid(void) {
    return (int)syscall(SYS_gettid);
}

/* Under the guard. Functions are compared by text: __func__ of one function may have several addresses. */
static int holder_find(struct truth_lock *lock, const char *function) {
    for (int i = 0; i < lock->holder_count; i++) {
        if (strcmp(lock->holders[i].function, function) == 0)
            return i;
    }
    if (lock->holder_count == HOLDERS_MAX)
        return -1;
    lock->holders[lock->holder_count] = (struct holder){.function = function};
    return lock->holder_count++;
}

void truth_taken(struct truth_lock *lock, const char *function, int line) {
    guard_take();
    truth_count(lock, 1);
    int index = holder_find(lock, function);
    if (index >= 0) {
        lock->holders[index].taken_line = line;
        if (lock->blame != TRUTH_BY_RELEASER)
            lock->current = index;
    }
    guard_give();
    if (index < 0)
        truth_fail("too many holders");
}

void truth_giving(struct truth_lock *lock, const char *function, int line) {
    guard_take();
    int index = holder_find(lock, function);
    if (index >= 0) {
        lock->holders[index].released_line = line;
        if (lock->blame == TRUTH_BY_RELEASER)
            lock->current = index;
        lock->released = truth_now();
    }
    guard_give();
    if (index < 0)
        truth_fail("too many holders");
}

int truth_waiting(struct truth_lock *lock, const char *function, int line) {
    guard_take();
    lock->waiter_function = function;
    lock->waiter_line = line;
    int holder = lock->current;
    guard_give();
    return holder;
}

void truth_waited(struct truth_lock *lock, int holder, uint64_t begin, uint64_t end, int error) {
    uint64_t ns = end - begin;
    guard_take();
    lock->waits++;
    lock->wait_ns += ns;
    bool had = error == 0 || error == EOWNERDEAD;
    if (had) {
        truth_count(lock, 1);
        truth_count_contended(lock, 1);
    }
    uint64_t blamed = ns;
    if (lock->blame == TRUTH_BY_RELEASER)
        holder = had ? lock->current : -1;
    else if (had && lock->released > begin)
        blamed = lock->released - begin;
    else if (!had && lock->blame == TRUTH_BY_READERS)
        holder = -1;
    if (holder >= 0) {
        lock->holders[holder].wait_ns += blamed;
        lock->holders[holder].count++;
    }
    guard_give();
}

void truth_gate_add(struct truth_gate *gate, uint32_t more) {
    __atomic_fetch_add(&gate->value, more, __ATOMIC_RELEASE);
    syscall(SYS_futex, &gate->value, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

void truth_gate_await(struct truth_gate *gate, uint32_t at_least) {
    for (;;) {
        uint32_t value = __atomic_load_n(&gate->value, __ATOMIC_ACQUIRE);
        if (value >= at_least)
            return;
        syscall(SYS_futex, &gate->value, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
    }
}

/* Returns when the kernel gives the thread this state. */
static void await_state(int tid, char wanted) {
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/%d/stat", tid);
    for (;;) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            truth_fail("a waiter has gone");
        ssize_t size = read(fd, text, sizeof text - 1);
        close(fd);
        if (size <= 0)
            truth_fail("a waiter's state is unreadable");
        text[size] = '\0';
        const char *state = strrchr(text, ')');
        if (state != NULL && state[1] == ' ' && state[2] == wanted)
            return;
        /* Not the library's sleep: this one is no part of the program's story. */
        syscall(SYS_nanosleep, &(struct timespec){.tv_nsec = 50000}, NULL);
    }
}

void truth_await_asleep(int tid) {
    await_state(tid, 'S');
}

void truth_await_ended(int tid) {
    await_state(tid, 'Z');
}

void truth_turn_open_spinning(struct truth_turns *turns, uint32_t turn, uint32_t waiters) {
    truth_gate_add(&turns->open, 1);
    truth_gate_await(&turns->come, turn * waiters);
}

void truth_turn_open(struct truth_turns *turns, uint32_t turn, uint32_t waiters) {
    truth_turn_open_spinning(turns, turn, waiters);
    for (uint32_t i = 0; i < waiters; i++)
        truth_await_asleep(__atomic_load_n(&turns->tids[i], __ATOMIC_RELAXED));
}

void truth_turn_come(struct truth_turns *turns, uint32_t turn, uint32_t waiter) {
    if (waiter >= TRUTH_WAITERS_MAX)
        truth_fail("too many waiters");
    __atomic_store_n(&turns->tids[waiter], truth_tid(), __ATOMIC_RELAXED);
    truth_gate_await(&turns->open, turn);
    truth_gate_add(&turns->come, 1);
}

void truth_turn_come_again(struct truth_turns *turns) {
    truth_gate_add(&turns->again, 1);
}

void truth_turn_open_again(struct truth_turns *turns, uint32_t turn) {
    truth_gate_await(&turns->again, turn);
    truth_await_asleep(__atomic_load_n(&turns->tids[0], __ATOMIC_RELAXED));
}

void truth_turn_done(struct truth_turns *turns) {
    truth_gate_add(&turns->done, 1);
}

void truth_turn_close(struct truth_turns *turns, uint32_t turn, uint32_t waiters) {
    truth_gate_await(&turns->done, turn * waiters);
}

/* The members of one lock; returns how many bytes were put. */
static size_t lock_print(const struct truth_lock *lock, char *text, size_t bytes) {
    FILE *out = fmemopen(text, bytes, "w");
    if (out == NULL)
        truth_fail("out of memory");
    fprintf(out,
            "{\"name\":\"%s\",\"by_site\":%s,\"crowd\":%s,\"kind\":\"%s\",\"acquisitions\":%llu,"
            "\"reacquisitions\":%llu",
            lock->name, lock->by_site ? "true" : "false", lock->crowd ? "true" : "false", lock->kind,
            (unsigned long long)lock->acquisitions, (unsigned long long)lock->reacquisitions);
    if (lock->blame == TRUTH_NO_TIME) {
        fprintf(out, ",\"contended\":null,\"waits\":null,\"wait_ns\":null");
    } else {
        fprintf(out, ",\"contended\":%llu,\"waits\":%llu,\"wait_ns\":%llu",
                (unsigned long long)lock->contended, (unsigned long long)lock->waits,
                (unsigned long long)lock->wait_ns);
    }
    int most = -1;
    for (int i = 0; i < lock->holder_count; i++) {
        if (most < 0 || lock->holders[i].count > lock->holders[most].count)
            most = i;
    }
    if (most >= 0) {
        fprintf(out, ",\"holder_function\":\"%s\",\"holder_line\":%d", lock->holders[most].function,
                lock->holders[most].taken_line ? lock->holders[most].taken_line
                                               : lock->holders[most].released_line);
    } else {
        fprintf(out, ",\"holder_function\":null,\"holder_line\":null");
    }
    if (lock->waiter_function != NULL)
        fprintf(out, ",\"waiter_function\":\"%s\",\"waiter_line\":%d", lock->waiter_function,
                lock->waiter_line);
    else
        fprintf(out, ",\"waiter_function\":null,\"waiter_line\":null");
    fprintf(out, ",\"holders\":[");
    for (int i = 0; i < lock->holder_count; i++) {
        const struct holder *holder = &lock->holders[i];
        fprintf(
            out,
            "%s{\"function\":\"%s\",\"taken_line\":%d,\"released_line\":%d,\"wait_ns\":%llu,\"count\":%llu}",
            i == 0 ? "" : ",", holder->function, holder->taken_line, holder->released_line,
            (unsigned long long)holder->wait_ns, (unsigned long long)holder->count);
    }
    fprintf(out, "]}");
    long size = ftell(out);
    if (fclose(out) != 0 || size < 0 || (size_t)size >= bytes - 1)
        truth_fail("a lock's truth is too long");
    return (size_t)size;
}

void truth_print(void) {
    char *text = malloc(PRINT_BYTES);
    if (text == NULL)
        truth_fail("out of memory");
    size_t used = (size_t)snprintf(text, PRINT_BYTES, "{\"locks\":[");
    for (int i = 0; i < lock_count; i++) {
        if (i > 0)
            text[used++] = ',';
        used += lock_print(&locks[i], text + used, PRINT_BYTES - used - 2);
    }
    int more = snprintf(text + used, PRINT_BYTES - used, "],\"threads\":%llu", (unsigned long long)threads);
    used += (size_t)more;
    for (int i = 0; i < extra_count && used < PRINT_BYTES; i++)
        used += (size_t)snprintf(text + used, PRINT_BYTES - used, ",%s", extras[i]);
    if (used + 3 > PRINT_BYTES)
        truth_fail("the truth is too long");
    text[used++] = '}';
    text[used++] = '\n';
    for (size_t at = 0; at < used;) {
        ssize_t put = write(STDOUT_FILENO, text + at, used - at);
        if (put < 0 && errno != EINTR)
            truth_fail("stdout cannot be written");
        at += put > 0 ? (size_t)put : 0;
    }
    free(text);
}
