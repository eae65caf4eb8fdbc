/* SPDX-License-Identifier: MIT */
#ifndef WAITSCOPE_TESTS_PLUGIN_H
#define WAITSCOPE_TESTS_PLUGIN_H

#include <pthread.h>

/* Calls wait(argument) and returns its result. */
int plugin_wait(int (*wait)(void *), void *argument);

/* Of plugin_locking.c. */
void plugin_take(pthread_mutex_t *mutex);
void plugin_give(pthread_mutex_t *mutex);

#endif
