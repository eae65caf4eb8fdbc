/* SPDX-License-Identifier: MIT */
/* A plugin loaded with RTLD_DEEPBIND takes and gives locks past everything that is preloaded: what it takes
 * the program gives, and the other way round; threads wait for each other across. */
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "truth.h"

#define THREADS 4
#define ROUNDS 200

static pthread_mutex_t bound_lock = PTHREAD_MUTEX_INITIALIZER;
static struct truth_lock *truth;
static void (*plugin_take)(pthread_mutex_t *), (*plugin_give)(pthread_mutex_t *);
static uint64_t inside, total;

static void *bound_run(void *argument) {
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 2)
            plugin_take(&bound_lock);
        else
            TRUTH_OK(pthread_mutex_lock(&bound_lock));
        if (++inside != 1)
            truth_fail("two hold it");
        if (i % 32 == 0)
            truth_sleep_us(100);
        inside--;
        total++;
        if (i % 4 < 2)
            plugin_give(&bound_lock);
        else
            TRUTH_OK(pthread_mutex_unlock(&bound_lock));
    }
    truth_count(truth, ROUNDS / 2); /* the plugin's cannot be seen */
    return argument;
}

int main(void) {
    char path[PATH_MAX + 32];
    ssize_t size = readlink("/proc/self/exe", path, PATH_MAX);
    if (size <= 0)
        truth_fail("the program does not find itself");
    path[size] = '\0';
    strcpy(strrchr(path, '/') + 1, "libtruth-plugin-locking.so");
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (library == NULL)
        truth_fail(dlerror());
    *(void **)&plugin_take = dlsym(library, "plugin_take");
    *(void **)&plugin_give = dlsym(library, "plugin_give");
    if (plugin_take == NULL || plugin_give == NULL)
        truth_fail("the plugin is not one");
    truth = truth_lock_add("bound_lock", "mutex", TRUTH_NO_TIME);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        threads[i] = truth_start(bound_run, NULL);
    for (int i = 0; i < THREADS; i++)
        truth_join(threads[i]);
    if (total != (uint64_t)THREADS * ROUNDS)
        truth_fail("a turn was lost");
    truth_print();
    return 0;
}
