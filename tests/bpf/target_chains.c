/* SPDX-License-Identifier: MIT */
/*
 * What test_unwind_bpf.c looks at: the chains of a world that it is given by its descriptor. A third of them
 * it starts at once, a third in a child, a third when it has loaded one library more.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bpf/chain.h"

static struct chain_world *world;
static int libraries_loaded;

static const struct chain_library *library_open(const char *path) {
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct chain_library *library = handle ? dlsym(handle, CHAIN_LIBRARY) : NULL;
    if (!library) {
        fprintf(stderr, "target: %s\n", dlerror());
        _exit(3);
    }
    *library->signal_number = SIGRTMIN + libraries_loaded++;
    return library;
}

/* A library that no process had mapped, gone from the disk when it is used. */
static const struct chain_library *library_copy(const char *path) {
    char copy[] = "/tmp/waitscope-chain-XXXXXX";
    char buffer[65536];
    ssize_t got;
    int from = open(path, O_RDONLY | O_CLOEXEC), into = mkstemp(copy);
    if (from < 0 || into < 0)
        _exit(3);
    while ((got = read(from, buffer, sizeof(buffer))) > 0)
        if (write(into, buffer, (size_t)got) != got)
            _exit(3);
    close(from);
    close(into);
    const struct chain_library *library = library_open(copy);
    unlink(copy);
    return library;
}

static void *chain_main(void *argument) {
    struct chain *chain = argument;
    chain->pid = (uint32_t)getpid();
    chain->tid = (uint32_t)syscall(SYS_gettid);
    chain->expected[chain->count++] = (uint64_t)(uintptr_t)__builtin_return_address(0);
    chain->functions[0](chain, 0);
    atomic_fetch_add(&world->finished, 1);
    return NULL;
}

static void chains_start(unsigned first, const struct chain_library *const *libraries, unsigned count,
                         pthread_t *ret_threads) {
    for (unsigned i = 0; i < CHAINS_TOGETHER; i++) {
        struct chain *chain = &world->chains[first + i];
        for (unsigned j = 0; j + 1 < chain->length; j++) {
            const struct chain_library *library = libraries[chain->route[j] % count];
            chain->functions[j] = library->functions[chain->route[j] / count % library->count];
        }
        const struct chain_library *last = libraries[i % count];
        chain->functions[chain->length - 1] = i < CHAINS_BLOCKING ? last->block : last->spin;
        if (pthread_create(&ret_threads[i], NULL, chain_main, chain) != 0)
            _exit(3);
    }
}

int main(int argc, char **argv) {
    const struct chain_library *libraries[4];
    pthread_t threads[2 * CHAINS_TOGETHER];
    int status;
    if (argc != 2)
        return 2;
    world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE, MAP_SHARED, atoi(argv[1]), 0);
    if (world == MAP_FAILED)
        return 3;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    libraries[0] = library_open(CHAIN_LIBRARY_1);
    libraries[1] = library_open(CHAIN_LIBRARY_2);
    libraries[2] = library_open(CHAIN_LIBRARY_3);
    chains_start(0, libraries, 3, threads);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        libraries[3] = library_copy(CHAIN_LIBRARY_1);
        chains_start(CHAINS_TOGETHER, libraries, 4, threads);
        for (unsigned i = 0; i < CHAINS_TOGETHER; i++)
            pthread_join(threads[i], NULL);
        _exit(0);
    }
    libraries[3] = library_copy(CHAIN_LIBRARY_2);
    chains_start(2 * CHAINS_TOGETHER, libraries, 4, threads + CHAINS_TOGETHER);
    for (unsigned i = 0; i < 2 * CHAINS_TOGETHER; i++)
        pthread_join(threads[i], NULL);
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 3;
}
