/* SPDX-License-Identifier: MIT */
/*
 * For the benches that have the agent's objects linked into them: the process that is benched comes up with
 * the agent on, its parent plays the collector's part by taking the slabs and nothing more. The bench empties
 * the rings itself.
 */
#ifndef WAITSCOPE_TESTS_BENCH_BENCH_AGENT_H
#define WAITSCOPE_TESTS_BENCH_BENCH_AGENT_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agent/agent.h"
#include "tests/bench/bench.h"

/* As the collector does, if it were infinitely quick. Of this thread. */
static inline void bench_ring_empty(struct thread_slot *slot) {
    uint64_t head = atomic_load_explicit(&slot->ring.head, memory_order_relaxed); /* own thread's */
    atomic_store_explicit(&slot->ring.tail, head, memory_order_release);          /* [RING-CONSUME] */
}

/* Runs inside() in a process of its own, this program started again with --inside. To be returned by main().
 */
static inline int bench_agent_main(int argc, char **argv, int (*inside)(void)) {
    if (argc == 2 && strcmp(argv[1], "--inside") == 0) {
        int result = agent_thread.slot ? inside() : 1;
        fflush(stdout);
        _exit(result); /* some threads never end */
    }
    char folder[] = "/tmp/bench_agent.XXXXXX";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int status = 1, listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    if (listener < 0 || !mkdtemp(folder))
        return 1;
    snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", folder);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 8) == 0) {
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            setenv(WAITSCOPE_SOCKET_VARIABLE, address.sun_path, 1);
            execl(bench_self(), argv[0], "--inside", (char *)NULL);
            _exit(127);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            status = 1;
    }
    close(listener);
    unlink(address.sun_path);
    rmdir(folder);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

#endif
