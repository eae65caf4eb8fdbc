/* SPDX-License-Identifier: MIT */
/* Confines itself in the way that its argument names, then goes on with threads and locks. What it needs no
 * more is forbidden: a system call that this program does not make kills it.
 *   prctl, syscall     a seccomp filter, installed by that function
 *   many               likewise, and more threads at once than anybody prepared for
 *   fork               likewise, and a child afterwards
 *   asked              a filter is refused by the kernel; then a child runs unconfined
 *   chroot, nobody     another root; another user (both need root, or a user namespace around)
 *   child              a child that changes its root before it has taken any lock
 *   files, size        no descriptor more may be opened; no file may have any size: for many threads
 *   descriptors        every descriptor but the standard ones is closed
 *   exec               a filter, then it runs itself anew with the argument inner */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "truth.h"

#define THREADS 8
#define MANY 200
#define ROUNDS 50
#define SIZE(array) (sizeof(array) / sizeof((array)[0]))

static pthread_mutex_t walled_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t child_lock = PTHREAD_MUTEX_INITIALIZER;
static struct truth_lock *truth;
static struct truth_gate all_there;

/* What threads, locks and one line of output take. */
static const int ALLOWED[] = {
    SYS_futex,
    SYS_clone,
    SYS_clone3,
    SYS_mmap,
    SYS_mprotect,
    SYS_munmap,
    SYS_madvise,
    SYS_brk,
    SYS_exit,
    SYS_exit_group,
    SYS_rseq,
    SYS_write,
    SYS_set_robust_list,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sched_yield,
    SYS_wait4,
    SYS_clock_nanosleep,
    SYS_getrandom,
    SYS_rt_sigaction,
};
/* What a program takes beyond that to be started. */
static const int ALLOWED_START[] = {
    SYS_execve, SYS_openat, SYS_read,      SYS_pread64,         SYS_close,      SYS_newfstatat,
    SYS_access, SYS_fstat,  SYS_prlimit64, SYS_set_tid_address, SYS_arch_prctl,
};

static size_t allow(struct sock_filter *filter, size_t used, const int *numbers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        filter[used++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)numbers[i], 0, 1);
        filter[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    return used;
}

static void confine(bool by_syscall, bool to_start) {
    struct sock_filter filter[2 * (SIZE(ALLOWED) + SIZE(ALLOWED_START)) + 2];
    size_t used = 0;
    filter[used++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    used = allow(filter, used, ALLOWED, SIZE(ALLOWED));
    if (to_start)
        used = allow(filter, used, ALLOWED_START, SIZE(ALLOWED_START));
    filter[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog program = {(unsigned short)used, filter};
    TRUTH_OK(truth_errno(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)));
    if (by_syscall)
        TRUTH_OK(truth_errno((int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)));
    else
        TRUTH_OK(truth_errno(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)));
}

static void refuse(void) {
    struct sock_fprog program = {0, NULL};
    if (truth_errno(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) == 0 ||
        truth_errno((int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) == 0)
        truth_fail("a filter that is none was installed");
}

static void *walled_run(void *argument) {
    truth_gate_add(&all_there, 1);
    truth_gate_await(&all_there, (uint32_t)(uintptr_t)argument);
    for (int i = 0; i < ROUNDS; i++) {
        TRUTH_OK(pthread_mutex_lock(&walled_lock));
        if (i % 16 == 0)
            usleep(100); /* so that others wait */
        TRUTH_OK(pthread_mutex_unlock(&walled_lock));
    }
    truth_count(truth, ROUNDS);
    return NULL;
}

static void play(uintptr_t threads) {
    pthread_t ids[MANY];
    for (uintptr_t i = 0; i < threads; i++)
        ids[i] = truth_start(walled_run, (void *)threads);
    for (uintptr_t i = 0; i < threads; i++)
        truth_join(ids[i]);
}

static int child_live(const char *root) {
    if (root)
        TRUTH_OK(truth_errno(chroot(root)));
    for (int i = 0; i < 7; i++) {
        TRUTH_OK(pthread_mutex_lock(&child_lock));
        TRUTH_OK(pthread_mutex_unlock(&child_lock));
    }
    return 0;
}

static void child(const char *root) {
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(child_live(root));
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        truth_fail("a child ended otherwise than it should");
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "";
    bool many = strcmp(how, "many") == 0, asked = strcmp(how, "asked") == 0;
    bool limited = strcmp(how, "files") == 0 || strcmp(how, "size") == 0;
    truth = truth_lock_add("walled_lock", "mutex", TRUTH_NO_TIME);
    if (strcmp(how, "prctl") == 0 || strcmp(how, "fork") == 0 || many)
        confine(false, false);
    else if (strcmp(how, "syscall") == 0)
        confine(true, false);
    else if (strcmp(how, "exec") == 0) {
        confine(false, true);
        execl("/proc/self/exe", argv[0], "inner", (char *)NULL);
        truth_fail("exec failed");
    } else if (asked)
        refuse();
    else if (strcmp(how, "chroot") == 0)
        TRUTH_OK(truth_errno(chroot("/proc")));
    else if (strcmp(how, "nobody") == 0)
        TRUTH_OK(truth_errno(setgid(65534)) | truth_errno(setuid(65534)));
    else if (strcmp(how, "child") == 0)
        child("/proc");
    else if (limited)
        TRUTH_OK(truth_errno(setrlimit(how[0] == 'f' ? RLIMIT_NOFILE : RLIMIT_FSIZE,
                                       &(struct rlimit){how[0] == 'f' ? 3 : 0, how[0] == 'f' ? 3 : 0})));
    else if (strcmp(how, "descriptors") == 0)
        TRUTH_OK(truth_errno((int)syscall(SYS_close_range, 3, ~0U, 0)));
    else if (strcmp(how, "inner") != 0)
        truth_fail("no such way");
    play(many || limited || strcmp(how, "nobody") == 0 ? MANY : THREADS);
    if (strcmp(how, "fork") == 0 || asked)
        child(NULL);
    if (asked || strcmp(how, "child") == 0) {
        truth_count(truth_lock_add("child_lock", "mutex", TRUTH_NO_TIME), 7);
        truth_thread();
        truth_extra("\"processes\":2");
    }
    truth_print();
    return 0;
}
