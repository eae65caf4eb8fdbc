/* SPDX-License-Identifier: MIT */
/* vfork, clone within the parent's memory, posix_spawn, system and popen from a program with threads: results
 * and counts stay right. What a child takes in its parent's memory, on its parent's thread's behalf, is the
 * parent's: glibc itself takes the child for that thread. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
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

static int borrower_run(void *code) {
    take();
    _exit((int)(uintptr_t)code);
}

/* A child in this memory, on a stack of its own. */
static pid_t borrower_start(char *stack_top, uintptr_t code) {
    return clone(borrower_run, stack_top, CLONE_VM | CLONE_VFORK | SIGCHLD, (void *)code);
}

/* A child in this memory and on this stack, by the raw system call. It leaves its parent the return address
 * of that call, and nothing of what may lie below: whoever stood between the two finds it gone. */
TRUTH_FUNCTION static pid_t borrower_raw(void) {
    long pid = syscall(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0L, 0L, 0L, 0L);
    if (pid == 0)
        __asm__ volatile("lea -272(%%rsp), %%rdi\n\tmov $32, %%ecx\n\txor %%eax, %%eax\n\trep stosq\n\t"
                         "mov %0, %%eax\n\tmov $7, %%edi\n\tsyscall\n\thlt"
                         :
                         : "i"(SYS_exit_group)
                         : "rax", "rcx", "rdi", "r11", "memory");
    return (pid_t)pid;
}

static void *spawner_run(void *argument) {
    char stack[16384] __attribute__((aligned(16)));
    for (int i = 0; i < 10; i++) {
        reap(borrower_start(stack + sizeof(stack), 4), 4);
        take();
        reap(borrower_raw(), 7);
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
        if (pid == 0) {
            take();
            _exit(6);
        }
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
