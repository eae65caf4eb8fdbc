/* SPDX-License-Identifier: MIT */
/*
 * Follows a program and whatever it starts, as strace -f does, and says what it saw.
 *
 *     tracer AGENT PROGRAM...   AGENT: preloaded into the program, - none
 */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "truth.h"

#define FOLLOW                                                                                               \
    (PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC)

static void run(char **argv) {
    if (strcmp(argv[1], "-") != 0)
        setenv("LD_PRELOAD", argv[1], 1);
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    execv(argv[2], argv + 2);
    _exit(127);
}

int main(int argc, char **argv) {
    int status, started = 0, execs = 0, ended = 0;
    if (argc < 3)
        truth_fail("usage: tracer AGENT PROGRAM...");
    pid_t first = fork();
    if (first == 0)
        run(argv);
    if (waitpid(first, &status, 0) != first || !WIFSTOPPED(status))
        truth_fail("the program did not stop");
    TRUTH_OK(truth_errno((int)ptrace(PTRACE_SETOPTIONS, first, NULL, FOLLOW)));
    TRUTH_OK(truth_errno((int)ptrace(PTRACE_CONT, first, NULL, NULL)));
    for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
        if (!WIFSTOPPED(status)) {
            ended++;
            continue;
        }
        int event = status >> 16, number = WSTOPSIG(status);
        started += event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE;
        execs += event == PTRACE_EVENT_EXEC;
        bool deliver = event == 0 && number != SIGSTOP && number != SIGTRAP;
        ptrace(PTRACE_CONT, pid, NULL, (void *)(long)(deliver ? number : 0));
    }
    printf("started %d execs %d ended %d\n", started, execs, ended);
    return 0;
}
