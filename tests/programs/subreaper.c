/* SPDX-License-Identifier: MIT */
/*
 * A subreaper gets the orphans among its descendants, and this one waits for all of them.
 *
 *     subreaper AGENT   becomes a subreaper, and then a program that AGENT is preloaded into
 *
 * Prints how many children ended: one that it starts, and that one's orphan.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "truth.h"

static int reap_all(void) {
    int ended = 0;
    while (wait(NULL) > 0)
        ended++;
    if (errno != ECHILD)
        truth_fail("wait");
    return ended;
}

int main(int argc, char **argv) {
    int reaps = 0;
    if (argc > 1) {
        TRUTH_OK(truth_errno(prctl(PR_SET_CHILD_SUBREAPER, 1)));
        TRUTH_OK(truth_errno(setenv("LD_PRELOAD", argv[1], 1)));
        TRUTH_OK(truth_errno(execl(argv[0], argv[0], (char *)NULL)));
    }
    TRUTH_OK(truth_errno(prctl(PR_GET_CHILD_SUBREAPER, &reaps)));
    printf("subreaper %d\nat the start %d\n", reaps, reap_all());
    fflush(stdout);
    if (fork() == 0) {
        pid_t parent = getpid();
        if (fork() == 0)
            while (getppid() == parent) /* until that one has ended */
                truth_sleep_us(100);
        _exit(0);
    }
    printf("of its own %d\n", reap_all());
    return 0;
}
