/* SPDX-License-Identifier: MIT */
/* A program of 2002: its conditions have the old layout, a pointer to the real one, and it asks for the old
 * functions by their version. Beside it the new ones, found by dlsym and dlvsym. */
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>

#include "truth.h"

#define ROUNDS 30

int old_init(void *condition, const void *attributes);
int old_wait(void *condition, pthread_mutex_t *mutex);
int old_timedwait(void *condition, pthread_mutex_t *mutex, const struct timespec *limit);
int old_signal(void *condition);
int old_broadcast(void *condition);
int old_destroy(void *condition);
__asm__(".symver old_init, pthread_cond_init@GLIBC_2.2.5");
__asm__(".symver old_wait, pthread_cond_wait@GLIBC_2.2.5");
__asm__(".symver old_timedwait, pthread_cond_timedwait@GLIBC_2.2.5");
__asm__(".symver old_signal, pthread_cond_signal@GLIBC_2.2.5");
__asm__(".symver old_broadcast, pthread_cond_broadcast@GLIBC_2.2.5");
__asm__(".symver old_destroy, pthread_cond_destroy@GLIBC_2.2.5");

/* What an old pthread_cond_t is: nothing behind its first word is the library's. */
struct old_condition {
    void *real;
    char theirs[40];
};

typedef int wait_function(void *condition, pthread_mutex_t *mutex);
typedef int signal_function(void *condition);

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static struct old_condition old = {NULL, "nobody writes here but this program"};
static pthread_cond_t new_condition = PTHREAD_COND_INITIALIZER;
static struct truth_lock *condition_truth;
static int turn; /* 1: the waiter's, 0: main's */

struct side {
    void *condition;
    wait_function *wait;
    signal_function *signal;
};

static void pass(const struct side *side, int from) {
    TRUTH_OK(pthread_mutex_lock(&gate_lock));
    while (turn != from)
        TRUTH_OK(side->wait(side->condition, &gate_lock));
    turn = !from;
    TRUTH_OK(side->signal(side->condition));
    TRUTH_OK(pthread_mutex_unlock(&gate_lock));
}

static void *waiter_run(void *argument) {
    for (int i = 0; i < ROUNDS; i++)
        pass(argument, 1);
    return NULL;
}

static void play(void *condition, wait_function *wait, signal_function *signal) {
    struct side side = {condition, wait, signal};
    if (!wait || !signal)
        truth_fail("a function is not there");
    pthread_t waiter = truth_start(waiter_run, &side);
    for (int i = 0; i < ROUNDS; i++)
        pass(&side, 0);
    truth_join(waiter);
}

static void *find(const char *name, const char *version) {
    return version ? dlvsym(RTLD_DEFAULT, name, version) : dlsym(RTLD_DEFAULT, name);
}

#define FUNCTION(type, name, version) ((type *)(uintptr_t)find(name, version))

int main(void) {
    condition_truth = truth_lock_add("gate_lock", "mutex", TRUTH_NO_TIME);
    play(&old, old_wait, old_broadcast);
    TRUTH_OK(old_destroy(&old));
    old.real = &old; /* is not looked at: */
    TRUTH_OK(old_init(&old, NULL));
    play(&old, old_wait, old_signal);
    struct timespec past = {1, 0};
    TRUTH_OK(pthread_mutex_lock(&gate_lock));
    if (old_timedwait(&old, &gate_lock, &past) == 0)
        truth_fail("a limit that is past was waited for");
    TRUTH_OK(pthread_mutex_unlock(&gate_lock));
    TRUTH_OK(old_destroy(&old));
    if (old.theirs[0] != 'n' || old.theirs[34] != 'm')
        truth_fail("an old condition was written to beyond its one word");

    play(&new_condition, FUNCTION(wait_function, "pthread_cond_wait", "GLIBC_2.3.2"),
         FUNCTION(signal_function, "pthread_cond_signal", "GLIBC_2.3.2"));
    play(&new_condition, FUNCTION(wait_function, "pthread_cond_wait", NULL),
         FUNCTION(signal_function, "pthread_cond_broadcast", NULL));
    old = (struct old_condition){NULL, ""};
    play(&old, FUNCTION(wait_function, "pthread_cond_wait", "GLIBC_2.2.5"),
         FUNCTION(signal_function, "pthread_cond_broadcast", "GLIBC_2.2.5"));
    TRUTH_OK(((signal_function *)(uintptr_t)find("pthread_cond_destroy", "GLIBC_2.2.5"))(&old));
    truth_count(condition_truth, 5 * 2 * ROUNDS + 1);
    truth_print();
    return 0;
}
