/* SPDX-License-Identifier: MIT */
/* What test_unwind_storm_bpf.c looks at. Returns 0 where every child did. */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/bpf/chain.h"
#include "tests/bpf/storm.h"

static void sleep_some(struct chain *chain, unsigned level) {
    struct timespec time = {.tv_nsec = 200000};
    (void)chain;
    (void)level;
    for (unsigned i = 0; i < 5; i++)
        nanosleep(&time, NULL);
}

static void library_use(const char *path) {
    static __thread struct chain chain;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct chain_library *library = handle ? dlsym(handle, CHAIN_LIBRARY) : NULL;
    if (!library)
        _exit(3);
    chain.count = 0;
    chain.functions[0] = library->functions[0];
    chain.functions[1] = library->functions[4];
    chain.functions[2] = sleep_some;
    chain.functions[0](&chain, 0);
    dlclose(handle);
}

static void *loader_main(void *argument) {
    static const char *const PATHS[] = {CHAIN_LIBRARY_1, CHAIN_LIBRARY_2, CHAIN_LIBRARY_3};
    (void)argument;
    for (unsigned i = 0; i < STORM_LOADS; i++)
        library_use(PATHS[i % 3]);
    return NULL;
}

static pthread_mutex_t turn_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static unsigned turn;
static bool turns_end;

static void *turner_main(void *argument) {
    unsigned mine = (unsigned)(uintptr_t)argument;
    pthread_mutex_lock(&turn_lock);
    while (!turns_end) {
        if (turn % STORM_TURNERS != mine)
            pthread_cond_wait(&turn_changed, &turn_lock);
        else {
            turn++;
            pthread_cond_broadcast(&turn_changed);
        }
    }
    pthread_mutex_unlock(&turn_lock);
    return NULL;
}

int main(void) {
    pthread_t loader, turners[STORM_TURNERS];
    int status, failed = 0;
    char byte;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (read(STDIN_FILENO, &byte, 1) != 1) /* until it is known what is mapped here */
        return 3;
    pthread_create(&loader, NULL, loader_main, NULL);
    for (uintptr_t i = 0; i < STORM_TURNERS; i++)
        pthread_create(&turners[i], NULL, turner_main, (void *)i);
    for (unsigned i = 0; i < STORM_FORKS; i++) {
        pid_t child = fork();
        if (child == 0) {
            sleep_some(NULL, 0);
            if (i % 4 == 0)
                execl("/bin/true", "true", (char *)NULL);
            _exit(0);
        }
        if (i % 8 == 7)
            while (waitpid(-1, &status, WNOHANG) > 0)
                failed += status != 0;
    }
    while (waitpid(-1, &status, 0) > 0)
        failed += status != 0;
    pthread_join(loader, NULL);
    pthread_mutex_lock(&turn_lock);
    turns_end = true;
    pthread_cond_broadcast(&turn_changed);
    pthread_mutex_unlock(&turn_lock);
    for (unsigned i = 0; i < STORM_TURNERS; i++)
        pthread_join(turners[i], NULL);
    return failed ? 4 : 0;
}
