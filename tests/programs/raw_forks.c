/* SPDX-License-Identifier: MIT */
/* Children made without fork(): by _Fork, clone and the system calls themselves. No handler of pthread_atfork
 * runs in them. And one by fork(), whose first such handler was registered before any library's constructor.
 * What each takes is its own, and what the parent takes meanwhile is the parent's. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "truth.h"

#define TAKES 300
#define STACK_BYTES 65536

static pthread_mutex_t mixed_lock = PTHREAD_MUTEX_INITIALIZER;
static struct truth_lock *truth;
static int children;

static void take(int times) {
    for (int i = 0; i < times; i++) {
        TRUTH_OK(pthread_mutex_lock(&mixed_lock));
        TRUTH_OK(pthread_mutex_unlock(&mixed_lock));
    }
}

static int child_run(void *argument) {
    (void)argument;
    take(TAKES);
    _exit(3);
}

/* Takes along with its child, so that two would write to one place if they shared it. */
static void reap(long pid) {
    int status = 0;
    take(TAKES);
    if (pid < 0 || waitpid((pid_t)pid, &status, __WALL) != pid || !WIFEXITED(status) ||
        WEXITSTATUS(status) != 3)
        truth_fail("a child ended otherwise than it should");
    truth_count(truth, (uint64_t)2 * TAKES);
    children++;
}

static void handler_in_child(void) {
    take(TAKES);
    _exit(3);
}

static bool handler_wanted;
static void early_handler(void) {
    if (handler_wanted)
        handler_in_child();
}

/* Before the constructors of libraries, and so before whoever is preloaded. */
static void register_early(void) {
    pthread_atfork(NULL, NULL, early_handler);
}
__attribute__((section(".preinit_array"), used)) static void (*const preinit)(void) = register_early;

int main(void) {
    static _Alignas(16) char stack[STACK_BYTES];
    truth = truth_lock_add("mixed_lock", "mutex", TRUTH_NO_TIME);
    take(TAKES);
    truth_count(truth, TAKES);

    long pid = _Fork();
    if (pid == 0)
        child_run(NULL);
    reap(pid);
    reap(clone(child_run, stack + STACK_BYTES, SIGCHLD, NULL));
    pid = syscall(SYS_fork);
    if (pid == 0)
        child_run(NULL);
    reap(pid);
    pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);
    if (pid == 0)
        child_run(NULL);
    reap(pid);
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    } arguments = {.exit_signal = SIGCHLD};
    pid = syscall(SYS_clone3, &arguments, sizeof(arguments));
    if (pid == 0)
        child_run(NULL);
    reap(pid);

    /* What a handler takes in the child before anybody else had his turn is the child's, too. */
    handler_wanted = true;
    reap(fork());
    truth_extra("\"processes\":7");
    truth_print();
    return 0;
}
