/* SPDX-License-Identifier: MIT */
/* Loads the plugin beside the program, waits beneath it, unloads it; again and again. */
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "plugin.h"
#include "truth.h"

#define ROUNDS 10

static pthread_mutex_t plugin_lock = PTHREAD_MUTEX_INITIALIZER;
static struct truth_lock *truth;
static struct truth_turns turns;
static char path[PATH_MAX + 32];

TRUTH_FUNCTION static int wait_beneath(void *argument) {
    (void)argument;
    int error = TRUTH_WAIT(truth, pthread_mutex_lock(&plugin_lock));
    TRUTH_OK(pthread_mutex_unlock(&plugin_lock));
    return error;
}

TRUTH_FUNCTION static void hold_plugin(uint32_t turn) {
    TRUTH_TAKE(truth, pthread_mutex_lock(&plugin_lock));
    truth_turn_open(&turns, turn, 1);
    truth_sleep_us(3000);
    TRUTH_GIVE(truth, pthread_mutex_unlock(&plugin_lock));
}

static void *plugin_run(void *argument) {
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (library == NULL)
            truth_fail(dlerror());
        int (*call)(int (*)(void *), void *);
        *(void **)&call = dlsym(library, "plugin_wait");
        if (call == NULL)
            truth_fail("the plugin is not one");
        truth_turn_come(&turns, turn, 0);
        TRUTH_OK(call(wait_beneath, NULL));
        TRUTH_OK(dlclose(library));
        truth_turn_done(&turns);
    }
    return argument;
}

int main(void) {
    ssize_t size = readlink("/proc/self/exe", path, PATH_MAX);
    if (size <= 0)
        truth_fail("the program does not find itself");
    path[size] = '\0';
    strcpy(strrchr(path, '/') + 1, "libtruth-plugin.so");
    truth = truth_lock_add("plugin_lock", "mutex", TRUTH_BY_HOLDER);
    pthread_t thread = truth_start(plugin_run, NULL);
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        hold_plugin(turn);
        truth_turn_close(&turns, turn, 1);
    }
    truth_join(thread);
    truth_extra("\"waiter_stack\":[\"wait_beneath\",\"plugin_wait\",\"plugin_run\"]");
    truth_print();
    return 0;
}
