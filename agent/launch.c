/* SPDX-License-Identifier: MIT */
/*
 * Starting a collector beside a target that was preloaded by hand, such that the target never notices:
 *
 *   wait(), SIGCHLD   it is a grandchild, through a helper without an exit signal that is reaped at once.
 *                     When the helper ends, its child goes to the nearest subreaper: where that is the
 *                     target itself, it is none for that moment.
 *   pid 1             of a pid namespace gets all orphans. There the helper stays for as long as the
 *                     collector does: wait() does not see a child without an exit signal.
 *   signals           a session of its own: no terminal's Ctrl-C or hang-up reaches it. Handlers and the mask
 *                     are put back to what a new program expects.
 *   descriptors       none of the target's stays open in it, so pipes end when the target does; nor is one
 *                     left in the target.
 *   tracers           the helper is not traced, whatever follows the target's forks.
 */
#include "agent/launch.h"

#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "agent/resolve.h"
#include "agent/start.h"
#include "agent/syscall.h"
#include "agent/text.h"

#define COLLECTOR_FD 3
#define HELPER_STACK_BYTES 32768
#define SIGNAL_COUNT 64

struct collector_start {
    int listen_fd;
    bool stays; /* the helper, until the collector has ended; it has memory of its own then */
    long forked;
    const char *program;
    char *const *arguments;
    char *const *environment;
};

static void descriptors_close(unsigned first) {
    if (AGENT_SYSCALL_3(SYS_close_range, first, ~0U, 0) < 0)
        for (unsigned fd = first; fd < 65536; fd++)
            AGENT_SYSCALL_1(SYS_close, fd);
}

/* The grandchild: a process of its own memory, with nothing of the target left but the directory. */
static void collector_exec(const struct collector_start *start) {
    struct { /* struct kernel_sigaction, x86-64 */
        void *handler;
        unsigned long flags;
        void *restorer;
        uint64_t mask;
    } action = {0};
    uint64_t no_signals = 0;
    for (int number = 1; number <= SIGNAL_COUNT; number++)
        AGENT_SYSCALL_4(SYS_rt_sigaction, number, &action, NULL, sizeof(uint64_t));
    AGENT_SYSCALL_4(SYS_rt_sigprocmask, SIG_SETMASK, &no_signals, NULL, sizeof(uint64_t));
    AGENT_SYSCALL_1(SYS_umask, 077);

    if (start->listen_fd != COLLECTOR_FD)
        AGENT_SYSCALL_2(SYS_dup2, start->listen_fd, COLLECTOR_FD);
    else
        AGENT_SYSCALL_3(SYS_fcntl, COLLECTOR_FD, 2 /* F_SETFD */, 0);
    descriptors_close(COLLECTOR_FD + 1);
    int null = (int)AGENT_SYSCALL_3(SYS_open, "/dev/null", 2 /* O_RDWR */, 0);
    for (int fd = 0; fd < 3 && null >= 0; fd++)
        AGENT_SYSCALL_2(SYS_dup2, null, fd);
    if (null > COLLECTOR_FD)
        AGENT_SYSCALL_1(SYS_close, null);
    AGENT_SYSCALL_3(SYS_execve, start->program, start->arguments, start->environment);
}

/* The helper: unless it stays it shares the target's memory while the target's thread is held. */
static int collector_helper(void *argument) {
    struct collector_start *start = argument;
    AGENT_SYSCALL_0(SYS_setsid);
    start->forked = AGENT_SYSCALL_0(SYS_fork);
    if (start->forked == 0) {
        collector_exec(start);
        AGENT_SYSCALL_1(SYS_exit_group, 127);
    }
    if (start->stays) {
        descriptors_close(0);
        while (AGENT_SYSCALL_4(SYS_wait4, -1, NULL, __WALL, NULL) != -ECHILD)
            ;
    }
    AGENT_SYSCALL_1(SYS_exit, 0);
    return 0;
}

/* clone(2) with a stack of its own. The child runs function(argument) and never returns here. */
static long helper_clone(unsigned long flags, char *stack_top, int (*function)(void *), void *argument) {
    uint64_t *top = (uint64_t *)((uintptr_t)stack_top & ~(uintptr_t)15);
    *--top = (uint64_t)(uintptr_t)argument;
    *--top = (uint64_t)(uintptr_t)function;
    long result;
    __asm__ volatile("xor %%r10d, %%r10d\n\t"
                     "xor %%r8d, %%r8d\n\t"
                     "syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "pop %%rax\n\t"
                     "pop %%rdi\n\t"
                     "call *%%rax\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(result)
                     : "a"(SYS_clone), "D"(flags), "S"(top), "d"(0)
                     : "rcx", "r11", "r8", "r10", "memory");
    return result;
}

/* Runs the helper. Returns 0 or a negative errno. */
static int helper_run(struct collector_start *start, char *stack_top) {
    uint64_t all = ~0ULL, before;
    int reaps = 0;
    start->stays = AGENT_SYSCALL_0(SYS_getpid) == 1;
    /* No handler of the target may run in the helper, which shares its memory. */
    AGENT_SYSCALL_4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof(uint64_t));
    AGENT_SYSCALL_2(SYS_prctl, PR_GET_CHILD_SUBREAPER, &reaps);
    if (reaps)
        AGENT_SYSCALL_2(SYS_prctl, PR_SET_CHILD_SUBREAPER, 0);
    unsigned long flags = CLONE_UNTRACED | (start->stays ? 0 : CLONE_VM | CLONE_VFORK);
    long helper = helper_clone(flags, stack_top, collector_helper, start);
    if (helper > 0 && !start->stays)
        AGENT_SYSCALL_4(SYS_wait4, helper, NULL, __WALL, NULL);
    if (reaps)
        AGENT_SYSCALL_2(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1);
    AGENT_SYSCALL_4(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(uint64_t));
    return helper < 0 ? (int)helper : start->forked < 0 ? (int)start->forked : 0;
}

/* The collector's environment is the target's without what concerns the agent. */
static char *const *environment_clean(char *const *environment, char **memory, size_t entries_max) {
    size_t kept = 0;
    for (; *environment && kept + 1 < entries_max; environment++)
        if (strncmp(*environment, "LD_PRELOAD=", 11) != 0 && strncmp(*environment, "WAITSCOPE_", 10) != 0)
            memory[kept++] = *environment;
    memory[kept] = NULL;
    return memory;
}

static int collector_start(const char *program, int listen_fd, const char *socket, char *const *environment) {
    char pid[24], descriptor[8];
    text_append_number(pid, pid + sizeof(pid), (uint64_t)AGENT_SYSCALL_0(SYS_getpid), 10);
    text_append_number(descriptor, descriptor + sizeof(descriptor), COLLECTOR_FD, 10);
    char *arguments[] = {(char *)(uintptr_t)program, "collect", "--listen-fd", descriptor, "--socket",
                         (char *)(uintptr_t)socket,  "--pid",   pid,           NULL};
    size_t entries = 0;
    while (environment[entries])
        entries++;
    size_t bytes = HELPER_STACK_BYTES + (entries + 1) * sizeof(char *);
    long memory =
        AGENT_SYSCALL_6(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory < 0 && memory > -4096)
        return (int)memory;
    struct collector_start start = {
        .listen_fd = listen_fd,
        .program = program,
        .arguments = arguments,
        .environment = environment_clean(environment, (char **)(memory + HELPER_STACK_BYTES), entries + 1),
    };
    int ret = helper_run(&start, (char *)memory + HELPER_STACK_BYTES);
    AGENT_SYSCALL_2(SYS_munmap, memory, bytes);
    return ret;
}

/* bin/waitscope beside the lib directory that this library lies in, whatever its depth below prefix. */
static bool collector_program_find(char *ret_path, size_t bytes) {
    const char *self = agent_self_path();
    if (!self || strlen(self) + sizeof("/bin/waitscope") >= bytes)
        return false;
    memcpy(ret_path, self, strlen(self) + 1);
    for (int up = 0; up < 4; up++) {
        char *slash = strrchr(ret_path, '/');
        if (!slash)
            return false;
        *slash = '\0';
        if (up > 0 && text_append(slash, ret_path + bytes, "/bin/waitscope") &&
            AGENT_SYSCALL_2(SYS_access, ret_path, 1 /* X_OK */) == 0)
            return true;
        *slash = '\0';
    }
    return false;
}

/* --- the socket ------------------------------------------------------------------------------------ */

static void socket_remove(struct sockaddr_un *address) {
    AGENT_SYSCALL_1(SYS_unlink, address->sun_path);
    char *slash = strrchr(address->sun_path, '/');
    if (slash)
        *slash = '\0';
    AGENT_SYSCALL_1(SYS_rmdir, address->sun_path);
    address->sun_path[0] = '\0';
}

#define SOCKET_BELOW_BASE "/waitscope-0123456789abcdef0123456789abcdef/socket"

/* Where a directory for the socket is made. One that leaves no room for a socket's name is passed over. */
static const char *socket_base_find(void) {
    static const char *const VARIABLES[] = {"XDG_RUNTIME_DIR", "TMPDIR"};
    for (size_t i = 0; i < sizeof(VARIABLES) / sizeof(VARIABLES[0]); i++) {
        const char *base = agent_environment_get(VARIABLES[i]);
        if (base && *base &&
            strlen(base) + sizeof(SOCKET_BELOW_BASE) <= sizeof(((struct sockaddr_un *)0)->sun_path))
            return base;
    }
    return "/tmp";
}

/* A listening socket in a fresh directory that only this user can enter, whatever the umask. */
static int socket_listen(struct sockaddr_un *address) {
    const char *base = socket_base_find();
    uint64_t random[2] = {0};
    if (AGENT_SYSCALL_3(SYS_getrandom, random, sizeof(random), 1 /* GRND_NONBLOCK */) != sizeof(random))
        return -EAGAIN;
    char *path = address->sun_path, *end = path + sizeof(address->sun_path);
    char *at = text_append(text_append(path, end, base), end, "/waitscope-");
    char *folder_end = text_append_number(text_append_number(at, end, random[0], 16), end, random[1], 16);
    int fd = -1;
    long ret = -ENAMETOOLONG;
    if (!text_append(folder_end, end, "/socket"))
        goto cleanup;
    *folder_end = '\0';
    ret = AGENT_SYSCALL_2(SYS_mkdir, path, 0700);
    if (ret == 0)
        ret = AGENT_SYSCALL_2(SYS_chmod, path, 0700);
    *folder_end = '/';
    if (ret < 0)
        goto cleanup;
    ret = fd = (int)AGENT_SYSCALL_3(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        ret = AGENT_SYSCALL_3(SYS_bind, fd, address, sizeof(*address));
    if (ret == 0)
        ret = AGENT_SYSCALL_2(SYS_chmod, path, 0600);
    if (ret == 0)
        ret = AGENT_SYSCALL_2(SYS_listen, fd, 4096);
    if (ret == 0)
        return fd;
    if (fd >= 0)
        AGENT_SYSCALL_1(SYS_close, fd);
    socket_remove(address);
cleanup:
    path[0] = '\0';
    return (int)ret;
}

int launch_collector(char *const *environment, struct sockaddr_un *address) {
    char program[1024];
    if (!environment || !collector_program_find(program, sizeof(program)))
        return -ENOENT;
    int fd = socket_listen(address);
    if (fd < 0)
        return fd;
    int ret = collector_start(program, fd, address->sun_path, environment);
    AGENT_SYSCALL_1(SYS_close, fd);
    if (ret < 0)
        socket_remove(address);
    return ret;
}
