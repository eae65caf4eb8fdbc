/* SPDX-License-Identifier: MIT */
/* _Fork(), which runs no pthread_atfork handlers: parent and children take one lock side by side, each in a
 * process of its own. */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "truth.h"

#define CHILDREN 3

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void take(int times) {
    for (int i = 0; i < times; i++) {
        TRUTH_OK(pthread_mutex_lock(&lock));
        TRUTH_OK(pthread_mutex_unlock(&lock));
    }
}

int main(void) {
    struct truth_lock *truth = truth_lock_add("lock", "mutex", TRUTH_NO_TIME);
    take(10);
    pid_t pids[CHILDREN];
    for (int i = 0; i < CHILDREN; i++) {
        pids[i] = _Fork();
        if (pids[i] < 0)
            truth_fail("no child could be forked");
        if (pids[i] == 0) {
            take(100 * (i + 1));
            _exit(i);
        }
        truth_count(truth, 100U * (unsigned)(i + 1));
    }
    take(10);
    truth_count(truth, 20);
    for (int i = 0; i < CHILDREN; i++) {
        int status = 0;
        if (waitpid(pids[i], &status, 0) != pids[i] || !WIFEXITED(status) || WEXITSTATUS(status) != i)
            truth_fail("a child ended otherwise than it should");
    }
    truth_extra("\"processes\":4");
    truth_print();
    return 0;
}
