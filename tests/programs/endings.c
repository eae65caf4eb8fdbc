/* SPDX-License-Identifier: MIT */
/* Programs end in many ways, and what was counted before must be there in each. One argument:
 * return, exit, _exit, quick_exit, abort, kill, segv, term, exit_thread, main_exits, close_all. */
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "truth.h"

static pthread_mutex_t ending_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t other_lock = PTHREAD_MUTEX_INITIALIZER;
static struct truth_lock *truth, *other;
static struct truth_turns turns;

TRUTH_FUNCTION static void hold_before_end(uint32_t turn) {
    TRUTH_TAKE(truth, pthread_mutex_lock(&ending_lock));
    truth_turn_open(&turns, turn, 1);
    truth_sleep_us(3000);
    TRUTH_GIVE(truth, pthread_mutex_unlock(&ending_lock));
}

TRUTH_FUNCTION static void wait_before_end(void) {
    TRUTH_OK(TRUTH_WAIT(truth, pthread_mutex_lock(&ending_lock)));
    TRUTH_OK(pthread_mutex_unlock(&ending_lock));
}

static void *waiter_run(void *argument) {
    for (uint32_t turn = 1; turn <= 10; turn++) {
        truth_turn_come(&turns, turn, 0);
        wait_before_end();
        truth_turn_done(&turns);
    }
    /* Lives on, holding a lock, when the program ends. */
    TRUTH_OK(pthread_mutex_lock(&other_lock));
    truth_count(other, 1);
    truth_turn_done(&turns);
    if (argument == NULL) {
        for (;;)
            pause();
    }
    if (strcmp(argument, "main_exits") == 0)
        truth_await_ended(getpid());
    truth_print();
    if (strcmp(argument, "exit_thread") == 0)
        exit(4);
    return NULL;
}

static void close_all(void) {
    for (int fd = 3; fd < 4096; fd++)
        close(fd);
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "return";
    bool by_thread = strcmp(how, "exit_thread") == 0 || strcmp(how, "main_exits") == 0;
    truth = truth_lock_add("ending_lock", "mutex", TRUTH_BY_HOLDER);
    other = truth_lock_add("other_lock", "mutex", TRUTH_NO_TIME);
    if (strcmp(how, "close_all") == 0)
        close_all();
    truth_start(waiter_run, by_thread ? (void *)how : NULL);
    for (uint32_t turn = 1; turn <= 10; turn++) {
        hold_before_end(turn);
        truth_turn_close(&turns, turn, 1);
        if (strcmp(how, "close_all") == 0 && turn == 5)
            close_all();
    }
    truth_gate_await(&turns.done, 11);
    if (strcmp(how, "main_exits") == 0)
        pthread_exit(NULL);
    if (by_thread) {
        for (;;)
            pause();
    }
    truth_print();
    if (strcmp(how, "exit") == 0)
        exit(3);
    if (strcmp(how, "_exit") == 0)
        _exit(5);
    if (strcmp(how, "quick_exit") == 0)
        quick_exit(6);
    if (strcmp(how, "abort") == 0)
        abort();
    if (strcmp(how, "kill") == 0)
        kill(getpid(), SIGKILL);
    if (strcmp(how, "term") == 0)
        kill(getpid(), SIGTERM);
    if (strcmp(how, "segv") == 0)
        raise(SIGSEGV);
    return strcmp(how, "close_all") == 0 ? 2 : 0;
}
