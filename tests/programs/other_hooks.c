/* SPDX-License-Identifier: MIT */
/* A library that is preloaded as well, and counts what a program takes and gives: it is to see all of it. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

static int (*real_lock)(pthread_mutex_t *), (*real_trylock)(pthread_mutex_t *),
    (*real_unlock)(pthread_mutex_t *);
static atomic_long taken, given; /* relaxed: read when all threads are over */

static __attribute__((constructor)) void find(void) {
    *(void **)&real_lock = dlsym(RTLD_NEXT, "pthread_mutex_lock");
    *(void **)&real_trylock = dlsym(RTLD_NEXT, "pthread_mutex_trylock");
    *(void **)&real_unlock = dlsym(RTLD_NEXT, "pthread_mutex_unlock");
}

/* The recorder has this library too, and takes few. */
static __attribute__((destructor)) void tell(void) {
    if (atomic_load(&taken) >= 1000000)
        fprintf(stderr, "other hooks: %ld taken, %ld given\n", atomic_load(&taken), atomic_load(&given));
}

static int take(pthread_mutex_t *mutex, int (**real)(pthread_mutex_t *)) {
    if (!*real)
        find(); /* another library's constructor comes first */
    int result = (*real)(mutex);
    if (result == 0)
        atomic_fetch_add_explicit(&taken, 1, memory_order_relaxed);
    return result;
}

int pthread_mutex_lock(pthread_mutex_t *mutex) {
    return take(mutex, &real_lock);
}

int pthread_mutex_trylock(pthread_mutex_t *mutex) {
    return take(mutex, &real_trylock);
}

int pthread_mutex_unlock(pthread_mutex_t *mutex) {
    if (!real_unlock)
        find();
    atomic_fetch_add_explicit(&given, 1, memory_order_relaxed);
    return real_unlock(mutex);
}
