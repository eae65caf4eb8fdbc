/* SPDX-License-Identifier: MIT */
/* Locks that two processes share, at another address in each: a robust mutex whose owner's process dies, a
 * mutex that hands on its priority, a condition, a semaphore, a rwlock, a barrier. The child is forked, and
 * maps the memory anew. Prints how often each process took what. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "truth.h"

#define ROUNDS 40

struct shared {
    pthread_mutex_t robust, inheriting;
    pthread_cond_t changed;
    pthread_rwlock_t table;
    pthread_barrier_t meeting;
    sem_t slots;
    int turn;
};

static struct shared *shared_map(int fd, void *beyond) {
    struct shared *shared = mmap(beyond, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED)
        truth_fail("no shared memory");
    return shared;
}

static void shared_open(struct shared *shared) {
    pthread_mutexattr_t mutex;
    pthread_condattr_t condition;
    pthread_rwlockattr_t rwlock;
    pthread_barrierattr_t barrier;
    TRUTH_OK(pthread_mutexattr_init(&mutex));
    TRUTH_OK(pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED));
    TRUTH_OK(pthread_mutexattr_setprotocol(&mutex, PTHREAD_PRIO_INHERIT));
    TRUTH_OK(pthread_mutex_init(&shared->inheriting, &mutex));
    TRUTH_OK(pthread_mutexattr_setprotocol(&mutex, PTHREAD_PRIO_NONE));
    TRUTH_OK(pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST));
    TRUTH_OK(pthread_mutex_init(&shared->robust, &mutex));
    TRUTH_OK(pthread_condattr_init(&condition));
    TRUTH_OK(pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED));
    TRUTH_OK(pthread_cond_init(&shared->changed, &condition));
    TRUTH_OK(pthread_rwlockattr_init(&rwlock));
    TRUTH_OK(pthread_rwlockattr_setpshared(&rwlock, PTHREAD_PROCESS_SHARED));
    TRUTH_OK(pthread_rwlock_init(&shared->table, &rwlock));
    TRUTH_OK(pthread_barrierattr_init(&barrier));
    TRUTH_OK(pthread_barrierattr_setpshared(&barrier, PTHREAD_PROCESS_SHARED));
    TRUTH_OK(pthread_barrier_init(&shared->meeting, &barrier, 2));
    TRUTH_OK(truth_errno(sem_init(&shared->slots, 1, 0)));
}

/* Both sides do the same; side 0 begins. Of each lock each side takes ROUNDS, or says how many it took. */
static uint64_t play(struct shared *shared, int side) {
    uint64_t slept = 0;
    for (int i = 0; i < ROUNDS; i++) {
        TRUTH_OK(pthread_mutex_lock(&shared->robust));
        while (shared->turn != side) {
            TRUTH_OK(pthread_cond_wait(&shared->changed, &shared->robust));
            slept++;
        }
        shared->turn = !side;
        TRUTH_OK(pthread_cond_signal(&shared->changed));
        TRUTH_OK(pthread_mutex_unlock(&shared->robust));

        TRUTH_OK(pthread_mutex_lock(&shared->inheriting));
        truth_sleep_us(20);
        TRUTH_OK(pthread_mutex_unlock(&shared->inheriting));
        TRUTH_OK(side ? pthread_rwlock_wrlock(&shared->table) : pthread_rwlock_rdlock(&shared->table));
        truth_sleep_us(20);
        TRUTH_OK(pthread_rwlock_unlock(&shared->table));
        if (side)
            TRUTH_OK(truth_errno(sem_post(&shared->slots)));
        else
            TRUTH_OK(truth_errno(sem_wait(&shared->slots)));
        int met = pthread_barrier_wait(&shared->meeting);
        if (met != 0 && met != PTHREAD_BARRIER_SERIAL_THREAD)
            truth_fail("a barrier failed");
    }
    return slept;
}

int main(void) {
    int fd = memfd_create("shared", MFD_CLOEXEC), status = 0, slept_pipe[2];
    if (fd < 0 || ftruncate(fd, sizeof(struct shared)) != 0 || pipe(slept_pipe) != 0)
        truth_fail("no shared memory");
    struct shared *shared = shared_map(fd, NULL);
    shared_open(shared);
    pid_t pid = fork();
    if (pid == 0) {
        struct shared *other = shared_map(fd, NULL);
        if (other == shared || munmap(shared, sizeof(*shared)) != 0)
            truth_fail("the child has it at the same address");
        uint64_t slept = play(other, 1);
        if (write(slept_pipe[1], &slept, sizeof slept) != sizeof slept)
            truth_fail("the child cannot tell");
        TRUTH_OK(pthread_mutex_lock(&other->robust));
        truth_thread();
        kill(getpid(), SIGKILL);
    }
    uint64_t slept = play(shared, 0), child_slept = 0;
    if (read(slept_pipe[0], &child_slept, sizeof child_slept) != sizeof child_slept ||
        waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
        truth_fail("the child ended otherwise than it should");
    if (pthread_mutex_lock(&shared->robust) != EOWNERDEAD)
        truth_fail("a dead owner was not told of");
    TRUTH_OK(pthread_mutex_consistent(&shared->robust));
    TRUTH_OK(pthread_mutex_unlock(&shared->robust));
    static char extra[256];
    snprintf(extra, sizeof extra,
             "\"taken\":[{\"mutex\":%d,\"rwlock\":%d,\"semaphore\":%d,\"barrier\":%d,\"condition\":%d},"
             "{\"mutex\":%d,\"rwlock\":%d,\"semaphore\":0,\"barrier\":%d,\"condition\":%d}]",
             2 * ROUNDS + 1, ROUNDS, ROUNDS, ROUNDS, (int)slept, 2 * ROUNDS + 1, ROUNDS, ROUNDS,
             (int)child_slept);
    truth_extra(extra);
    truth_extra("\"processes\":2");
    truth_thread();
    truth_print();
    return 0;
}
