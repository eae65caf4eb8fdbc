/* SPDX-License-Identifier: MIT */
/* Locks that two processes share, at another address in each: a robust mutex whose owner's process dies, a
 * mutex that hands on its priority, a plain one, a condition, a semaphore, a rwlock, a barrier. The child is
 * forked, and maps the memory anew. Prints how often each process took what. Of the plain mutex each also
 * waits for the other, a planned number of times; the child takes it at its parent's address too.
 *   hang   the child keeps the plain mutex, the parent waits for it, and both do so until they are killed */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "truth.h"

#define ROUNDS 40
#define PLANNED 12 /* waits, each side */

struct shared {
    pthread_mutex_t robust, inheriting, plain;
    pthread_cond_t changed;
    pthread_rwlock_t table;
    pthread_barrier_t meeting;
    sem_t slots;
    int turn;
    int step, come, done; /* of the planned waits */
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
    TRUTH_OK(pthread_mutex_init(&shared->plain, &mutex));
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

/* Without sleeping: a waiter that sleeps does so in its wait. */
static void await(const int *word, int value) {
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value)
        sched_yield();
}

static void hold_plain(struct shared *shared, int step, int waiter, uint64_t microseconds) {
    TRUTH_OK(pthread_mutex_lock(&shared->plain));
    __atomic_store_n(&shared->step, step, __ATOMIC_RELEASE);
    await(&shared->come, step);
    truth_await_asleep(waiter);
    truth_sleep_us(microseconds);
    TRUTH_OK(pthread_mutex_unlock(&shared->plain));
    await(&shared->done, step);
}

TRUTH_FUNCTION static void parent_hold(struct shared *shared, int step, int waiter) {
    hold_plain(shared, step, waiter, 2000);
    TRUTH_STAY();
}

TRUTH_FUNCTION static void child_hold(struct shared *shared, int step, int waiter) {
    hold_plain(shared, step, waiter, 2500);
    TRUTH_STAY();
}

TRUTH_FUNCTION static void wait_plain(struct shared *shared, int step) {
    await(&shared->step, step);
    __atomic_store_n(&shared->come, step, __ATOMIC_RELEASE);
    TRUTH_OK(pthread_mutex_lock(&shared->plain));
    TRUTH_OK(pthread_mutex_unlock(&shared->plain));
    __atomic_store_n(&shared->done, step, __ATOMIC_RELEASE);
}

/* Side 0 holds in odd steps, side 1 in even ones. */
static void play_planned(struct shared *shared, int side, int other) {
    for (int step = 1; step <= 2 * PLANNED; step++) {
        if (step % 2 == side)
            wait_plain(shared, step);
        else if (side)
            child_hold(shared, step, other);
        else
            parent_hold(shared, step, other);
    }
}

static void hang(struct shared *shared) {
    pid_t pid = fork();
    if (pid < 0)
        truth_fail("no child could be forked");
    if (pid == 0) {
        TRUTH_OK(pthread_setname_np(pthread_self(), "keeper"));
        TRUTH_OK(pthread_mutex_lock(&shared->plain));
        __atomic_store_n(&shared->step, 1, __ATOMIC_RELEASE);
        await(&shared->come, 1);
        truth_await_asleep(getppid());
        if (write(STDOUT_FILENO, "stuck\n", 6) != 6)
            truth_fail("the child cannot tell");
        for (;;)
            pause();
    }
    await(&shared->step, 1);
    __atomic_store_n(&shared->come, 1, __ATOMIC_RELEASE);
    TRUTH_OK(pthread_mutex_lock(&shared->plain));
    truth_fail("a mutex was had that another process keeps");
}

int main(int argc, char **argv) {
    int fd = memfd_create("shared", MFD_CLOEXEC), status = 0, slept_pipe[2];
    if (fd < 0 || ftruncate(fd, sizeof(struct shared)) != 0 || pipe(slept_pipe) != 0)
        truth_fail("no shared memory");
    struct shared *shared = shared_map(fd, NULL);
    shared_open(shared);
    if (argc > 1 && strcmp(argv[1], "hang") == 0)
        hang(shared);
    TRUTH_OK(pthread_mutex_lock(&shared->plain));
    TRUTH_OK(pthread_mutex_unlock(&shared->plain));
    pid_t pid = fork();
    if (pid == 0) {
        TRUTH_OK(pthread_mutex_lock(&shared->plain));
        TRUTH_OK(pthread_mutex_unlock(&shared->plain));
        struct shared *other = shared_map(fd, NULL);
        if (other == shared || munmap(shared, sizeof(*shared)) != 0)
            truth_fail("the child has it at the same address");
        uint64_t slept = play(other, 1);
        play_planned(other, 1, getppid());
        if (write(slept_pipe[1], &slept, sizeof slept) != sizeof slept)
            truth_fail("the child cannot tell");
        TRUTH_OK(pthread_mutex_lock(&other->robust));
        truth_thread();
        kill(getpid(), SIGKILL);
    }
    uint64_t slept = play(shared, 0), child_slept = 0;
    play_planned(shared, 0, pid);
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
             2 * (ROUNDS + PLANNED + 1), ROUNDS, ROUNDS, ROUNDS, (int)slept, 2 * (ROUNDS + PLANNED + 1),
             ROUNDS, ROUNDS, (int)child_slept);
    truth_extra(extra);
    static char planned[32];
    snprintf(planned, sizeof planned, "\"planned\":%d", PLANNED);
    truth_extra(planned);
    truth_extra("\"processes\":2");
    truth_thread();
    truth_print();
    return 0;
}
