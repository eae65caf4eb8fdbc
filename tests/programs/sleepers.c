/* SPDX-License-Identifier: MIT */
/*
 * Threads that sleep, each in a function of a known name, until standard input has a byte: what is attached
 * to it later finds all of them asleep. One has a frame that goes by rbp, and one is in a signal handler.
 */
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "truth.h"

static atomic_uint word;
static int ends[2];

TRUTH_FUNCTION static void sleep_by_clock(void) {
    struct timespec long_time = {.tv_sec = 600};
    nanosleep(&long_time, NULL);
    TRUTH_STAY();
}

TRUTH_FUNCTION static void sleep_on_futex(void) {
    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    TRUTH_STAY();
}

/* An array of a size that only the run knows makes the compiler keep the frame's place in rbp. */
TRUTH_FUNCTION static void sleep_in_read(size_t size) {
    char bytes[size];
    __asm__ volatile("" ::"r"(bytes) : "memory");
    TRUTH_OK(truth_errno(read(ends[0], bytes, size) < 0 ? -1 : 0));
    TRUTH_STAY();
}

TRUTH_FUNCTION static void sleep_in_handler(int number) {
    (void)number;
    pause();
    TRUTH_STAY();
}

static void *by_clock(void *argument) {
    sleep_by_clock();
    return argument;
}
static void *on_futex(void *argument) {
    sleep_on_futex();
    return argument;
}
static void *in_read(void *argument) {
    sleep_in_read((size_t)(16 + (getpid() & 1)));
    return argument;
}
static void *in_handler(void *argument) {
    raise(SIGUSR1);
    return argument;
}

int main(void) {
    void *(*const starts[])(void *) = {by_clock, on_futex, in_read, in_handler};
    struct sigaction action = {.sa_handler = sleep_in_handler};
    char byte;
    pthread_t thread;
    TRUTH_OK(truth_errno(pipe(ends)));
    TRUTH_OK(truth_errno(sigaction(SIGUSR1, &action, NULL)));
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
        TRUTH_OK(pthread_create(&thread, NULL, starts[i], NULL));
    return read(STDIN_FILENO, &byte, 1) == 1 ? 0 : 1;
}
