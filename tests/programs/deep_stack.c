/* SPDX-License-Identifier: MIT */
/* A wait at the bottom of twenty frames without frame pointers; the whole chain must be shown. */
#include <alloca.h>
#include <pthread.h>
#include <string.h>

#include "truth.h"

#define ROUNDS 20

static pthread_mutex_t deep_lock = PTHREAD_MUTEX_INITIALIZER;
static struct truth_lock *truth;
static struct truth_turns turns;
static volatile int sink;

TRUTH_FUNCTION static void frame_20(int depth) {
    TRUTH_OK(TRUTH_WAIT(truth, pthread_mutex_lock(&deep_lock)));
    TRUTH_OK(pthread_mutex_unlock(&deep_lock));
    sink = depth;
}

/* Frames of different sizes; every third has one of a size only known at run time. */
#define FRAME(number, next)                                                                                  \
    TRUTH_FUNCTION static void frame_##number(int depth) {                                                   \
        volatile char fixed[1##number];                                                                      \
        fixed[depth % 8] = (char)depth;                                                                      \
        if (depth % 3 == 0) {                                                                                \
            char *flexible = alloca((size_t)(64 + sink % 64));                                               \
            memset(flexible, depth, 64);                                                                     \
            fixed[0] = flexible[depth];                                                                      \
        }                                                                                                    \
        frame_##next(depth + 1);                                                                             \
        sink = fixed[depth % 8];                                                                             \
    }
FRAME(19, 20)
FRAME(18, 19)
FRAME(17, 18)
FRAME(16, 17)
FRAME(15, 16)
FRAME(14, 15)
FRAME(13, 14)
FRAME(12, 13)
FRAME(11, 12)
FRAME(10, 11)
FRAME(09, 10)
FRAME(08, 09)
FRAME(07, 08)
FRAME(06, 07)
FRAME(05, 06)
FRAME(04, 05)
FRAME(03, 04)
FRAME(02, 03)
FRAME(01, 02)

TRUTH_FUNCTION static void hold_deep(uint32_t turn) {
    TRUTH_TAKE(truth, pthread_mutex_lock(&deep_lock));
    truth_turn_open(&turns, turn, 1);
    truth_sleep_us(3000);
    TRUTH_GIVE(truth, pthread_mutex_unlock(&deep_lock));
}

static void *diver_run(void *argument) {
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        truth_turn_come(&turns, turn, 0);
        frame_01(1);
        truth_turn_done(&turns);
    }
    return argument;
}

int main(void) {
    truth = truth_lock_add("deep_lock", "mutex", TRUTH_BY_HOLDER);
    pthread_t diver = truth_start(diver_run, NULL);
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        hold_deep(turn);
        truth_turn_close(&turns, turn, 1);
    }
    truth_join(diver);
    truth_extra(
        "\"waiter_stack\":[\"frame_20\",\"frame_19\",\"frame_18\",\"frame_17\",\"frame_16\",\"frame_15\","
        "\"frame_14\",\"frame_13\",\"frame_12\",\"frame_11\",\"frame_10\",\"frame_09\",\"frame_08\","
        "\"frame_07\",\"frame_06\",\"frame_05\",\"frame_04\",\"frame_03\",\"frame_02\",\"frame_01\","
        "\"diver_run\"]");
    truth_print();
    return 0;
}
