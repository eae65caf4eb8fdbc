/* SPDX-License-Identifier: MIT */
/* Prints what a program can see of its own process, and so whether somebody lives in it: open
 * descriptors, children, threads, signals, what wait() returns, limits, environment. No timing, so two runs
 * print the same. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "truth.h"

static pthread_mutex_t quiet_lock = PTHREAD_MUTEX_INITIALIZER;

static int entries_count(const char *path) {
    DIR *directory = opendir(path);
    if (directory == NULL)
        truth_fail("no /proc");
    int count = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

static void print_count(const char *what, const char *path) {
    printf("%s %d\n", what, entries_count(path));
}

static void print_status(void) {
    FILE *status = fopen("/proc/self/status", "r");
    if (status == NULL)
        truth_fail("no /proc");
    char line[256];
    while (fgets(line, sizeof line, status) != NULL) {
        if (strncmp(line, "Sig", 3) == 0 || strncmp(line, "Threads", 7) == 0 ||
            strncmp(line, "ShdPnd", 6) == 0 || strncmp(line, "Seccomp:", 8) == 0 ||
            strncmp(line, "NoNewPrivs", 10) == 0 || strncmp(line, "Umask", 5) == 0) {
            if (strncmp(line, "SigQ", 4) != 0)
                fputs(line, stdout);
        }
    }
    fclose(status);
}

static void print_children(void) {
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    printf("child %d errno %d\n", pid > 0, pid < 0 ? errno : 0);
    pid = fork();
    if (pid == 0)
        _exit(9);
    pid_t ended = wait(&status);
    printf("own child %d status %d\n", ended == pid, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    errno = 0;
    ended = waitpid(-1, &status, 0);
    printf("no other child %d errno %d\n", ended == -1, errno);
    FILE *file = fopen("/proc/thread-self/children", "r");
    if (file != NULL) {
        printf("children listed %d\n", fgetc(file) != EOF);
        fclose(file);
    }
}

static void print_limits(void) {
    static const int LIMITS[] = {RLIMIT_CORE,  RLIMIT_NOFILE, RLIMIT_AS,
                                 RLIMIT_STACK, RLIMIT_FSIZE,  RLIMIT_CPU};
    for (size_t i = 0; i < sizeof(LIMITS) / sizeof(LIMITS[0]); i++) {
        struct rlimit limit;
        getrlimit(LIMITS[i], &limit);
        printf("limit %d %lld %lld\n", LIMITS[i], (long long)limit.rlim_cur, (long long)limit.rlim_max);
    }
    char directory[4096] = "";
    int death_signal = -1;
    prctl(PR_GET_PDEATHSIG, &death_signal, 0, 0, 0);
    printf("nice %d death signal %d directory %s\n", getpriority(PRIO_PROCESS, 0), death_signal,
           getcwd(directory, sizeof(directory)));
}

/* All but what is set to be recorded: by the user, or by record. */
static void print_environment(void) {
    for (char **entry = environ; *entry; entry++)
        if (strncmp(*entry, "LD_PRELOAD=", 11) != 0 && strncmp(*entry, "WAITSCOPE_SOCKET=", 17) != 0 &&
            strncmp(*entry, "ASAN_OPTIONS=", 13) != 0)
            printf("variable %s\n", *entry);
}

static void print_all(const char *when) {
    printf("-- %s\n", when);
    print_count("descriptors", "/proc/self/fd");
    print_count("threads", "/proc/self/task");
    int lowest = open("/dev/null", O_RDONLY);
    printf("lowest descriptor %d\n", lowest);
    close(lowest);
    print_limits();
    print_environment();
    print_status();
    print_children();
    int subreaper = -1;
    prctl(PR_GET_CHILD_SUBREAPER, &subreaper, 0, 0, 0);
    printf("subreaper %d dumpable %d\n", subreaper, prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
    printf("group leader %d session leader %d\n", getpgrp() == getpid(), getsid(0) == getpid());
}

static void *thread_run(void *argument) {
    for (int i = 0; i < 100; i++) {
        TRUTH_OK(pthread_mutex_lock(&quiet_lock));
        if (i == 50)
            truth_sleep_us(2000);
        TRUTH_OK(pthread_mutex_unlock(&quiet_lock));
    }
    return argument;
}

int main(void) {
    print_all("at the start");
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        threads[i] = truth_start(thread_run, NULL);
    for (int i = 0; i < 2; i++)
        truth_join(threads[i]);
    /* A joined thread may be seen in /proc for a moment more. */
    for (int i = 0; i < 5000 && entries_count("/proc/self/task") > 1; i++)
        truth_sleep_us(1000);
    print_all("after waiting");
    return 0;
}
