/* SPDX-License-Identifier: MIT */
/* A library that locks by itself. Loaded with RTLD_DEEPBIND it finds libc's functions before any that is
 * preloaded. */
#include <pthread.h>

#include "plugin.h"

void plugin_take(pthread_mutex_t *mutex) {
    pthread_mutex_lock(mutex);
}

void plugin_give(pthread_mutex_t *mutex) {
    pthread_mutex_unlock(mutex);
}
