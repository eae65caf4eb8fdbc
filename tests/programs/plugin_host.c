/* SPDX-License-Identifier: MIT */
/* Loads one of two plugins beside the program, waits beneath it, unloads it; again and again. Both lie at one
 * address, one after the other. */
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
static char paths[2][PATH_MAX + 32];
static void *addresses[2];

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
        void *library = dlopen(paths[turn % 2], RTLD_NOW | RTLD_LOCAL);
        if (library == NULL)
            truth_fail(dlerror());
        int (*call)(int (*)(void *), void *);
        *(void **)&call = dlsym(library, "plugin_wait");
        if (call == NULL)
            truth_fail("the plugin is not one");
        addresses[turn % 2] = *(void **)&call;
        truth_turn_come(&turns, turn, 0);
        TRUTH_OK(call(wait_beneath, NULL));
        TRUTH_OK(dlclose(library));
        truth_turn_done(&turns);
    }
    return argument;
}

int main(void) {
    static const char *const NAMES[2] = {"libtruth-plugin.so", "libtruth-plugin-wide.so"};
    for (int i = 0; i < 2; i++) {
        ssize_t size = readlink("/proc/self/exe", paths[i], PATH_MAX);
        if (size <= 0)
            truth_fail("the program does not find itself");
        paths[i][size] = '\0';
        strcpy(strrchr(paths[i], '/') + 1, NAMES[i]);
    }
    truth = truth_lock_add("plugin_lock", "mutex", TRUTH_BY_HOLDER);
    pthread_t thread = truth_start(plugin_run, NULL);
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        hold_plugin(turn);
        truth_turn_close(&turns, turn, 1);
    }
    truth_join(thread);
    if (addresses[0] != addresses[1])
        truth_fail("the plugins did not lie at one address");
    truth_extra("\"waiter_stack\":[\"wait_beneath\",\"plugin_wait\",\"plugin_run\"]");
    truth_print();
    return 0;
}
