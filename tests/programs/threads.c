/* SPDX-License-Identifier: MIT */
/* Threads made, named, ended and joined in every way; a join is a wait, never contention. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "truth.h"

static struct truth_lock *truth;
static pthread_mutex_t roll_lock = PTHREAD_MUTEX_INITIALIZER;
static struct truth_gate detached_gone, may_end;

static void sign(void) {
    TRUTH_OK(pthread_mutex_lock(&roll_lock));
    truth_count(truth, 1);
    TRUTH_OK(pthread_mutex_unlock(&roll_lock));
}

static void *returning_run(void *argument) {
    sign();
    return argument;
}

static void *exiting_run(void *argument) {
    sign();
    pthread_exit(argument);
}

static void *slow_run(void *argument) {
    sign();
    truth_gate_await(&may_end, 1);
    return argument;
}

static void *named_run(void *argument) {
    TRUTH_OK(pthread_setname_np(pthread_self(), argument));
    sign();
    truth_sleep_us(2000);
    return NULL;
}

static void *detached_run(void *argument) {
    (void)argument;
    TRUTH_OK(pthread_detach(pthread_self()));
    sign();
    truth_gate_add(&detached_gone, 1);
    return NULL;
}

static void *cancelled_run(void *argument) {
    sign();
    truth_gate_add(argument, 1);
    while (pause() == -1)
        TRUTH_STAY();
    return NULL;
}

static int destroyed;
static void destroy(void *value) {
    (void)value;
    /* A destructor of thread data runs after the thread's start routine; it still takes locks. */
    sign();
    __atomic_fetch_add(&destroyed, 1, __ATOMIC_RELAXED);
}

static pthread_key_t key;
static void *keyed_run(void *argument) {
    TRUTH_OK(pthread_setspecific(key, argument));
    sign();
    return NULL;
}

static void join_for(pthread_t thread, void *expected) {
    void *value = NULL;
    TRUTH_OK(pthread_join(thread, &value));
    if (value != expected)
        truth_fail("a thread's result is wrong");
}

int main(void) {
    int cookie;
    truth = truth_lock_add("roll_lock", "mutex", TRUTH_NO_TIME);
    join_for(truth_start(returning_run, &cookie), &cookie);
    join_for(truth_start(exiting_run, &cookie), &cookie);

    pthread_t slow = truth_start(slow_run, &cookie);
    if (pthread_tryjoin_np(slow, NULL) != EBUSY)
        truth_fail("a running thread was joined");
    struct timespec until = truth_deadline(CLOCK_REALTIME, 3000);
    if (pthread_timedjoin_np(slow, NULL, &until) != ETIMEDOUT)
        truth_fail("a timed join did not time out");
    until = truth_deadline(CLOCK_MONOTONIC, 3000);
    if (pthread_clockjoin_np(slow, NULL, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        truth_fail("a clock join did not time out");
    truth_gate_add(&may_end, 1);
    void *value = NULL;
    until = truth_deadline(CLOCK_REALTIME, 10000000);
    TRUTH_OK(pthread_timedjoin_np(slow, &value, &until));
    if (value != &cookie)
        truth_fail("a timed join lost the result");

    pthread_t polled = truth_start(returning_run, &cookie);
    int error;
    while ((error = pthread_tryjoin_np(polled, &value)) == EBUSY)
        truth_sleep_us(100);
    TRUTH_OK(error);

    char names[3][16] = {"collect-wool", "spin-yarn", "weave-cloth-123"};
    pthread_t named[3];
    for (int i = 0; i < 3; i++)
        named[i] = truth_start(named_run, names[i]);
    for (int i = 0; i < 3; i++)
        truth_join(named[i]);
    /* Named by another thread. */
    may_end.value = 0;
    pthread_t other = truth_start(slow_run, NULL);
    TRUTH_OK(pthread_setname_np(other, "named-by-main"));
    char name[16];
    TRUTH_OK(pthread_getname_np(other, name, sizeof name));
    if (strcmp(name, "named-by-main") != 0)
        truth_fail("a thread's name is wrong");
    truth_gate_add(&may_end, 1);
    truth_join(other);

    for (int i = 0; i < 3; i++)
        truth_start(detached_run, NULL);
    truth_gate_await(&detached_gone, 3);

    struct truth_gate signed_in = {0};
    pthread_t cancelled = truth_start(cancelled_run, &signed_in);
    truth_gate_await(&signed_in, 1);
    TRUTH_OK(pthread_cancel(cancelled));
    TRUTH_OK(pthread_join(cancelled, &value));
    if (value != PTHREAD_CANCELED)
        truth_fail("a cancelled thread's result is wrong");
    TRUTH_OK(pthread_key_create(&key, destroy));
    pthread_t keyed = truth_start(keyed_run, &cookie);
    truth_join(keyed);
    if (destroyed != 1)
        truth_fail("thread data was not destroyed");
    if (pthread_join(pthread_self(), NULL) != EDEADLK)
        truth_fail("a thread joined itself");

    truth_extra("\"names\":[\"collect-wool\",\"spin-yarn\",\"weave-cloth-123\",\"named-by-main\"]");
    truth_extra("\"routines\":[\"returning_run\",\"exiting_run\",\"detached_run\",\"keyed_run\"]");
    truth_print();
    return 0;
}
