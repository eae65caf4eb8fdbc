/* SPDX-License-Identifier: MIT */
/* vfork, posix_spawn, system and popen from a program with threads: results and counts stay right. */
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "truth.h"

extern char **environ;
static pthread_mutex_t spawn_lock = PTHREAD_MUTEX_INITIALIZER;
static struct truth_lock *truth;

static void take(void) {
    TRUTH_OK(pthread_mutex_lock(&spawn_lock));
    TRUTH_OK(pthread_mutex_unlock(&spawn_lock));
    truth_count(truth, 1);
}

static void reap(pid_t pid, int code) {
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != code)
        truth_fail("a child ended otherwise than it should");
}

static void *spawner_run(void *argument) {
    for (int i = 0; i < 10; i++) {
        take();
        pid_t pid = vfork();
        if (pid == 0) {
            /* Shares the parent's memory and thread data until it execs. */
            execl("/bin/sh", "sh", "-c", "exit 5", (char *)NULL);
            _exit(126);
        }
        reap(pid, 5);
        take();
        pid = vfork();
        if (pid == 0)
            _exit(6);
        reap(pid, 6);

        char *const arguments[] = {"sh", "-c", "exit 8", NULL};
        TRUTH_OK(posix_spawn(&pid, "/bin/sh", NULL, NULL, arguments, environ));
        reap(pid, 8);
        take();
    }
    return argument;
}

int main(void) {
    truth = truth_lock_add("spawn_lock", "mutex", TRUTH_NO_TIME);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        threads[i] = truth_start(spawner_run, NULL);
    for (int i = 0; i < 2; i++)
        truth_join(threads[i]);
    if (WEXITSTATUS(system("exit 9")) != 9)
        truth_fail("system() lost an exit code");
    FILE *pipe = popen("echo from a pipe; exit 3", "r");
    char text[64] = "";
    if (pipe == NULL || fgets(text, sizeof text, pipe) == NULL || strcmp(text, "from a pipe\n") != 0)
        truth_fail("popen() lost its output");
    if (WEXITSTATUS(pclose(pipe)) != 3)
        truth_fail("pclose() lost an exit code");
    truth_print();
    return 0;
}
