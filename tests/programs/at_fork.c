/* SPDX-License-Identifier: MIT */
/* Forks of a process with threads that hold locks, with handlers that take them before and give them after in
 * parent and child, as allocators and logging libraries do. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "truth.h"

#define THREADS 3
#define FORKS 60
#define CHILD_TAKES 5

static pthread_mutex_t guarded_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t guarded_table = PTHREAD_RWLOCK_INITIALIZER;
static pthread_mutex_t second_lock; /* made anew in the child */
static struct truth_lock *truth, *table_truth, *second_truth;
static int ending;

static void before(void) {
    TRUTH_OK(pthread_mutex_lock(&guarded_lock));
    TRUTH_OK(pthread_rwlock_wrlock(&guarded_table));
    TRUTH_OK(pthread_mutex_lock(&second_lock));
}

static void in_parent(void) {
    TRUTH_OK(pthread_mutex_unlock(&second_lock));
    TRUTH_OK(pthread_rwlock_unlock(&guarded_table));
    TRUTH_OK(pthread_mutex_unlock(&guarded_lock));
}

static void in_child(void) {
    TRUTH_OK(pthread_mutex_init(&second_lock, NULL));
    /* glibc cannot tell readers that waited in the parent from its own: made anew as well. */
    TRUTH_OK(pthread_rwlock_init(&guarded_table, NULL));
    TRUTH_OK(pthread_mutex_unlock(&guarded_lock));
}

static void use(void) {
    TRUTH_OK(pthread_mutex_lock(&guarded_lock));
    TRUTH_OK(pthread_mutex_lock(&second_lock));
    free(malloc(3000));
    TRUTH_OK(pthread_mutex_unlock(&second_lock));
    TRUTH_OK(pthread_mutex_unlock(&guarded_lock));
    TRUTH_OK(pthread_rwlock_rdlock(&guarded_table));
    TRUTH_OK(pthread_rwlock_unlock(&guarded_table));
}

static void *busy_run(void *argument) {
    uint64_t used = 0;
    while (!__atomic_load_n(&ending, __ATOMIC_RELAXED)) {
        use();
        used++;
    }
    truth_count(truth, used);
    truth_count(second_truth, used);
    truth_count(table_truth, used);
    return argument;
}

int main(void) {
    TRUTH_OK(pthread_mutex_init(&second_lock, NULL));
    truth = truth_lock_add("guarded_lock", "mutex", TRUTH_NO_TIME);
    table_truth = truth_lock_add("guarded_table", "rwlock", TRUTH_NO_TIME);
    second_truth = truth_lock_add("second_lock", "mutex", TRUTH_NO_TIME);
    TRUTH_OK(pthread_atfork(before, in_parent, in_child));
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        threads[i] = truth_start(busy_run, NULL);
    for (int i = 0; i < FORKS; i++) {
        int status = 0;
        pid_t pid = fork();
        if (pid == 0) {
            for (int k = 0; k < CHILD_TAKES; k++)
                use();
            _exit(9);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 9)
            truth_fail("a child ended otherwise than it should");
        truth_count(truth, 1 + CHILD_TAKES);
        truth_count(second_truth, 1 + CHILD_TAKES);
        truth_count(table_truth, 1 + CHILD_TAKES);
    }
    __atomic_store_n(&ending, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < THREADS; i++)
        truth_join(threads[i]);
    truth_print();
    return 0;
}
