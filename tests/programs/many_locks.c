/* SPDX-License-Identifier: MIT */
/* Locks inside arrays and structs, some on the heap, and an address used again and again. */
#include <pthread.h>
#include <stdlib.h>

#include "truth.h"

#define SHELVES 1000
#define GENERATIONS 20

struct pool {
    int size;
    pthread_mutex_t lock;
    pthread_cond_t ready;
};
struct bin {
    long weight;
    struct {
        char tag;
        pthread_mutex_t guard;
    } inner;
};
struct shelf {
    struct shelf *next;
    pthread_mutex_t lock;
};

static struct pool pools[4];
static pthread_mutex_t M[8];
static struct { struct bin bins[3]; } racks[2];
static struct truth_turns pool_turns;

TRUTH_FUNCTION static void take_times(pthread_mutex_t *lock, int times, struct truth_lock *truth) {
    for (int i = 0; i < times; i++) {
        TRUTH_OK(pthread_mutex_lock(lock));
        TRUTH_OK(pthread_mutex_unlock(lock));
    }
    truth_count(truth, (uint64_t)times);
}

TRUTH_FUNCTION static void hold_pool(struct truth_lock *truth, uint32_t turn) {
    TRUTH_TAKE(truth, pthread_mutex_lock(&pools[2].lock));
    truth_turn_open(&pool_turns, turn, 1);
    truth_sleep_us(3000);
    TRUTH_GIVE(truth, pthread_mutex_unlock(&pools[2].lock));
}

TRUTH_FUNCTION static void wait_pool(struct truth_lock *truth) {
    TRUTH_OK(TRUTH_WAIT(truth, pthread_mutex_lock(&pools[2].lock)));
}

static void *pool_run(void *argument) {
    for (uint32_t turn = 1; turn <= 20; turn++) {
        truth_turn_come(&pool_turns, turn, 0);
        wait_pool(argument);
        TRUTH_OK(pthread_mutex_unlock(&pools[2].lock));
        truth_turn_done(&pool_turns);
    }
    return NULL;
}

TRUTH_FUNCTION static struct shelf *shelf_open(struct shelf *next) {
    struct shelf *shelf = malloc(sizeof *shelf);
    if (shelf == NULL)
        truth_fail("out of memory");
    TRUTH_OK(pthread_mutex_init(&shelf->lock, NULL));
    shelf->next = next;
    return shelf;
}

TRUTH_FUNCTION static void generation_open(pthread_mutex_t *lock) {
    TRUTH_OK(pthread_mutex_init(lock, NULL));
    TRUTH_STAY();
}

static void *idle_run(void *argument) {
    truth_gate_await(argument, 1);
    return NULL;
}

int main(void) {
    static const char *const pool_names[] = {"pools[0].lock", "pools[1].lock", "pools[2].lock",
                                             "pools[3].lock"};
    static const char *const m_names[] = {"M[0]", "M[1]", "M[2]", "M[3]", "M[4]", "M[5]", "M[6]", "M[7]"};
    static const char *const bin_names[] = {"racks[0].bins[1].inner.guard", "racks[1].bins[2].inner.guard"};
    struct truth_lock *pool_truths[4];
    for (int i = 0; i < 4; i++) {
        TRUTH_OK(pthread_mutex_init(&pools[i].lock, NULL));
        pool_truths[i] = truth_lock_add(pool_names[i], "mutex", i == 2 ? TRUTH_BY_HOLDER : TRUTH_NO_TIME);
    }
    /* A second thread, so that the locks are real ones: glibc has a shorter way while there is but one. */
    static struct truth_gate end;
    pthread_t idle = truth_start(idle_run, &end);
    for (int i = 0; i < 4; i++)
        take_times(&pools[i].lock, 10 + i, pool_truths[i]);
    pthread_t waiter = truth_start(pool_run, pool_truths[2]);
    for (uint32_t turn = 1; turn <= 20; turn++) {
        hold_pool(pool_truths[2], turn);
        truth_turn_close(&pool_turns, turn, 1);
    }
    truth_join(waiter);

    for (int i = 0; i < 8; i++)
        take_times(&M[i], 100 + i, truth_lock_add(m_names[i], "mutex", TRUTH_NO_TIME));
    take_times(&racks[0].bins[1].inner.guard, 7, truth_lock_add(bin_names[0], "mutex", TRUTH_NO_TIME));
    take_times(&racks[1].bins[2].inner.guard, 9, truth_lock_add(bin_names[1], "mutex", TRUTH_NO_TIME));

    struct shelf *shelves = NULL;
    struct truth_lock *shelf_truth = truth_lock_add_site("shelf_open", "mutex", TRUTH_NO_TIME);
    for (int i = 0; i < SHELVES; i++)
        shelves = shelf_open(shelves);
    int taken = 0;
    for (struct shelf *shelf = shelves; shelf != NULL; shelf = shelf->next)
        take_times(&shelf->lock, 1 + taken++ % 3, shelf_truth);

    struct truth_lock *generation_truth = truth_lock_add_site("generation_open", "mutex", TRUTH_NO_TIME);
    pthread_mutex_t *again = malloc(sizeof *again);
    if (again == NULL)
        truth_fail("out of memory");
    for (int i = 1; i <= GENERATIONS; i++) {
        generation_open(again);
        take_times(again, i, generation_truth);
        TRUTH_OK(pthread_mutex_destroy(again));
    }
    free(again);
    while (shelves != NULL) {
        struct shelf *next = shelves->next;
        TRUTH_OK(pthread_mutex_destroy(&shelves->lock));
        free(shelves);
        shelves = next;
    }
    /* After all those: a lock that lived through them is still the same one. */
    for (int i = 0; i < 4; i++)
        take_times(&pools[i].lock, 1000, pool_truths[i]);
    truth_gate_add(&end, 1);
    truth_join(idle);
    truth_extra("\"shelves\":1000");
    truth_extra("\"generations\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]");
    truth_print();
    return 0;
}
