/* SPDX-License-Identifier: MIT */
/* Four threads that hand a turn around, each at the end of some frames without frame pointers: DEPTH of them.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#define THREADS 4U

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned turn;
static volatile uint64_t sink;

static void work(void) {
    for (unsigned i = 0; i < 2000; i++)
        sink += i * sink;
}

static __attribute__((noinline)) void take_turns(unsigned mine) {
    pthread_mutex_lock(&lock);
    for (;;) {
        while (turn % THREADS != mine)
            pthread_cond_wait(&changed, &lock);
        work();
        turn++;
        pthread_cond_broadcast(&changed);
    }
}

static __attribute__((noinline)) void descend(unsigned mine, unsigned depth) {
    volatile char local[40];
    local[0] = (char)depth;
    if (depth == 0)
        take_turns(mine);
    else
        descend(mine, depth - 1);
    sink += (uint64_t)local[0];
}

static unsigned frames;

static void *thread_main(void *argument) {
    descend((unsigned)(uintptr_t)argument, frames);
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t threads[THREADS];
    frames = argc > 1 ? (unsigned)atoi(argv[1]) : 6;
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, thread_main, (void *)i) != 0)
            return 1;
    return pthread_join(threads[0], NULL);
}
