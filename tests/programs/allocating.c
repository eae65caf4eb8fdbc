/* SPDX-License-Identifier: MIT */
/* Allocates from many threads, creates and ends them meanwhile, forks: for allocators that lock mutexes of
 * their own, before main and in handlers of fork, and whose locks the agent sees. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "truth.h"

#define THREADS 6
#define GENERATIONS 10
#define KEPT 64

static pthread_mutex_t stock_lock = PTHREAD_MUTEX_INITIALIZER;
static struct truth_lock *truth;
static char *stock[KEPT];

/* Takes a place of the stock, whoever filled it: memory is freed by another thread than got it. */
static void trade(unsigned *random) {
    *random = *random * 1103515245U + 12345U;
    size_t place = (*random >> 16) % KEPT, bytes = (*random >> 8) % 40000 + 1;
    char *mine = malloc(bytes);
    if (mine == NULL)
        truth_fail("no memory");
    memset(mine, (int)place, bytes);
    TRUTH_OK(pthread_mutex_lock(&stock_lock));
    char *old = stock[place];
    stock[place] = mine;
    TRUTH_OK(pthread_mutex_unlock(&stock_lock));
    if (old && old[0] != (char)place)
        truth_fail("memory is not what it was");
    free(old);
}

static void *trade_run(void *argument) {
    unsigned random = (unsigned)(uintptr_t)argument;
    for (int i = 0; i < 500; i++)
        trade(&random);
    truth_count(truth, 500);
    return NULL;
}

int main(void) {
    truth = truth_lock_add("stock_lock", "mutex", TRUTH_NO_TIME);
    for (uintptr_t generation = 0; generation < GENERATIONS; generation++) {
        pthread_t threads[THREADS];
        for (uintptr_t i = 0; i < THREADS; i++)
            threads[i] = truth_start(trade_run, (void *)(generation * THREADS + i));
        int status = 0;
        pid_t pid = fork();
        if (pid == 0) {
            for (int i = 0; i < 200; i++)
                free(malloc((size_t)i * 100));
            _exit(6);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 6)
            truth_fail("a child ended otherwise than it should");
        for (int i = 0; i < THREADS; i++)
            truth_join(threads[i]);
    }
    truth_print();
    return 0;
}
