/* SPDX-License-Identifier: MIT */
/* Forks: children with threads and locks of their own, and forks while other threads hold locks.
 * The parent prints for all: counts are the same in every child by construction. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "truth.h"

#define CHILDREN 4
#define HELD_FORKS 100

static pthread_mutex_t child_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t parent_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t busy_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t spare_lock = PTHREAD_MUTEX_INITIALIZER;
static int ending;
static struct truth_lock *busy_truth;

static void take(pthread_mutex_t *lock, int times) {
    for (int i = 0; i < times; i++) {
        TRUTH_OK(pthread_mutex_lock(lock));
        TRUTH_OK(pthread_mutex_unlock(lock));
    }
}

static void *child_thread_run(void *argument) {
    (void)argument;
    take(&child_lock, 500);
    return NULL;
}

static void child_live(int index) {
    pthread_t thread;
    TRUTH_OK(pthread_create(&thread, NULL, child_thread_run, NULL));
    take(&child_lock, 100 * (index + 1));
    TRUTH_OK(pthread_join(thread, NULL));
    _exit(index);
}

static struct truth_gate busy_there;

/* Holds its lock nearly always, and the allocator's often. */
static void *busy_run(void *argument) {
    uint64_t taken = 0;
    while (!__atomic_load_n(&ending, __ATOMIC_RELAXED)) {
        TRUTH_OK(pthread_mutex_lock(&busy_lock));
        void *memory = malloc(100 + taken % 5000);
        truth_sleep_us(50);
        free(memory);
        TRUTH_OK(pthread_mutex_unlock(&busy_lock));
        if (taken++ == 0)
            truth_gate_add(&busy_there, 1);
    }
    truth_count(busy_truth, taken);
    return argument;
}

static void reap(pid_t pid, int code) {
    int status = 0;
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != code)
        truth_fail("a child ended otherwise than it should");
}

int main(void) {
    struct truth_lock *child = truth_lock_add("child_lock", "mutex", TRUTH_NO_TIME);
    struct truth_lock *parent = truth_lock_add("parent_lock", "mutex", TRUTH_NO_TIME);
    struct truth_lock *spare = truth_lock_add("spare_lock", "mutex", TRUTH_NO_TIME);
    busy_truth = truth_lock_add("busy_lock", "mutex", TRUTH_NO_TIME);
    take(&parent_lock, 10);
    pid_t pids[CHILDREN];
    for (int i = 0; i < CHILDREN; i++) {
        pids[i] = fork();
        if (pids[i] < 0)
            truth_fail("no child could be forked");
        if (pids[i] == 0)
            child_live(i);
        truth_count(child, 500 + 100U * (unsigned)(i + 1));
    }
    for (int i = 0; i < CHILDREN; i++)
        reap(pids[i], i);
    take(&parent_lock, 10);
    truth_count(parent, 20);

    pthread_t busy = truth_start(busy_run, NULL);
    truth_gate_await(&busy_there, 1);
    for (int i = 0; i < HELD_FORKS; i++) {
        pid_t pid = fork();
        if (pid < 0)
            truth_fail("no child could be forked");
        if (pid == 0) {
            free(malloc(1000));
            take(&spare_lock, 3);
            _exit(7);
        }
        reap(pid, 7);
        truth_count(spare, 3);
    }
    __atomic_store_n(&ending, 1, __ATOMIC_RELAXED);
    truth_join(busy);
    truth_extra("\"processes\":105"); /* itself, CHILDREN and HELD_FORKS */
    truth_print();
    return 0;
}
