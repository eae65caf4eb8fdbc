/* SPDX-License-Identifier: MIT */
/* Built with a sanitizer. Argument race: a data race, which TSan tells of. Argument overflow: a write behind
 * an array on the heap, which ASan stops at. Otherwise nothing is wrong, with locks of many kinds. */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t table = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static sem_t slots;
static int guarded, written, turn, racing;
static int unguarded;

static void use(int side) {
    for (int i = 0; i < 100; i++) {
        pthread_mutex_lock(&lock);
        while (turn != side)
            pthread_cond_wait(&changed, &lock);
        turn = !side;
        guarded++;
        pthread_cond_signal(&changed);
        pthread_mutex_unlock(&lock);
        pthread_rwlock_wrlock(&table);
        written++;
        pthread_rwlock_unlock(&table);
        if (racing)
            unguarded++;
    }
}

static void *side_run(void *argument) {
    use(1);
    sem_post(&slots);
    return argument;
}

int main(int argc, char **argv) {
    pthread_t thread;
    racing = argc > 1 && strcmp(argv[1], "race") == 0;
    sem_init(&slots, 0, 0);
    pthread_create(&thread, NULL, side_run, NULL);
    use(0);
    sem_wait(&slots);
    pthread_join(thread, NULL);
    if (argc > 1 && strcmp(argv[1], "overflow") == 0) {
        volatile char *array = malloc(10);
        array[10] = 1;
        free((void *)array);
    }
    printf("guarded %d %d\n", guarded, written);
    return 3;
}
