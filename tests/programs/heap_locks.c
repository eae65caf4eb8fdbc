/* SPDX-License-Identifier: MIT */
/* A hundred thousand locks on the heap, made, taken and unmade as fast as can be. */
#include <pthread.h>
#include <stdlib.h>

#include "truth.h"

#define SHELVES 100000

struct shelf {
    struct shelf *next;
    pthread_mutex_t lock;
};

TRUTH_FUNCTION static struct shelf *shelf_open(struct shelf *next) {
    struct shelf *shelf = malloc(sizeof *shelf);
    if (shelf == NULL)
        truth_fail("out of memory");
    TRUTH_OK(pthread_mutex_init(&shelf->lock, NULL));
    shelf->next = next;
    return shelf;
}

static void *idle_run(void *argument) {
    truth_gate_await(argument, 1);
    return NULL;
}

int main(void) {
    struct truth_lock *truth = truth_lock_add_site("shelf_open", "mutex", TRUTH_NO_TIME);
    static struct truth_gate end;
    pthread_t idle = truth_start(idle_run, &end);
    struct shelf *shelves = NULL;
    for (int i = 0; i < SHELVES; i++)
        shelves = shelf_open(shelves);
    unsigned taken = 0;
    for (struct shelf *shelf = shelves; shelf != NULL; shelf = shelf->next) {
        unsigned times = 1 + taken++ % 3;
        for (unsigned i = 0; i < times; i++) {
            TRUTH_OK(pthread_mutex_lock(&shelf->lock));
            TRUTH_OK(pthread_mutex_unlock(&shelf->lock));
        }
        truth_count(truth, times);
    }
    while (shelves != NULL) {
        struct shelf *next = shelves->next;
        TRUTH_OK(pthread_mutex_destroy(&shelves->lock));
        free(shelves);
        shelves = next;
    }
    truth_gate_add(&end, 1);
    truth_join(idle);
    truth_extra("\"shelves\":100000");
    truth_print();
    return 0;
}
