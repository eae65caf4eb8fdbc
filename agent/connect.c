/* SPDX-License-Identifier: MIT */
/*
 * How the agent finds its collector, and how it starts one when it was preloaded by hand.
 *
 * A collector started from here must never be noticed: it is a grandchild of a helper with no exit
 * signal, so wait() and SIGCHLD do not see it; it has a session and descriptors of its own; and the
 * target waits only for the helper's fork.
 */
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "agent/agent.h"
#include "agent/resolve.h"
#include "agent/start.h"
#include "agent/syscall.h"
#include "format/hello.h"

static struct sockaddr_un collector_address = {.sun_family = AF_UNIX};

#define CONNECT_TRIES 50 /* a millisecond apart, while the collector's backlog is full */

static int hello_deliver(struct hello *hello, const int *slab_fd) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {hello, sizeof(*hello)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (slab_fd) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), slab_fd, sizeof(int));
    }

    int fd = (int)AGENT_SYSCALL_3(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fd;
    long ret = -EAGAIN;
    for (int tries = 0; ret == -EAGAIN && tries < CONNECT_TRIES; tries++) {
        ret = AGENT_SYSCALL_3(SYS_connect, fd, &collector_address, sizeof(collector_address));
        if (ret == -EAGAIN) {
            struct timespec pause = {0, 1000000};
            AGENT_SYSCALL_2(SYS_nanosleep, &pause, NULL);
        }
    }
    if (ret == 0)
        ret = AGENT_SYSCALL_3(SYS_sendmsg, fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    AGENT_SYSCALL_1(SYS_close, fd);
    return ret < 0 ? (int)ret : 0;
}

int agent_hello_send(int slab_fd, const struct image_id *image, uint32_t slab_index) {
    struct hello hello = {
        .magic = HELLO_MAGIC, .version = HELLO_VERSION, .image = *image, .slab_index = slab_index};
    return hello_deliver(&hello, &slab_fd);
}

void agent_hello_refuse(enum hello_refusal refusal, int error) {
    struct hello hello = {.magic = HELLO_MAGIC, .version = HELLO_VERSION, .refusal = refusal, .error = error};
    hello_deliver(&hello, NULL);
}

/* Appends text to at; NULL once it does not fit before end. */
static char *append(char *at, const char *end, const char *text) {
    size_t length = strlen(text);
    if (!at || length >= (size_t)(end - at))
        return NULL;
    memcpy(at, text, length + 1);
    return at + length;
}

static char *append_number(char *at, const char *end, uint64_t number, unsigned base) {
    char digits[24], *digit = digits + sizeof(digits) - 1;
    *digit = '\0';
    do
        *--digit = "0123456789abcdef"[number % base];
    while ((number /= base) != 0);
    return append(at, end, digit);
}

/* --- starting a collector -------------------------------------------------------------------------- */

#define COLLECTOR_FD 3
#define HELPER_STACK_BYTES 32768
#define SIGNAL_COUNT 64

struct collector_start {
    int listen_fd;
    const char *program;
    char *const *arguments;
    char *const *environment;
};

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

    if (start->listen_fd != COLLECTOR_FD)
        AGENT_SYSCALL_2(SYS_dup2, start->listen_fd, COLLECTOR_FD);
    else
        AGENT_SYSCALL_3(SYS_fcntl, COLLECTOR_FD, 2 /* F_SETFD */, 0);
    if (AGENT_SYSCALL_3(SYS_close_range, COLLECTOR_FD + 1, ~0U, 0) < 0)
        for (int fd = COLLECTOR_FD + 1; fd < 65536; fd++)
            AGENT_SYSCALL_1(SYS_close, fd);
    int null = (int)AGENT_SYSCALL_3(SYS_open, "/dev/null", 2 /* O_RDWR */, 0);
    for (int fd = 0; fd < 3 && null >= 0; fd++)
        AGENT_SYSCALL_2(SYS_dup2, null, fd);
    if (null > COLLECTOR_FD)
        AGENT_SYSCALL_1(SYS_close, null);
    AGENT_SYSCALL_3(SYS_execve, start->program, start->arguments, start->environment);
}

/* The helper: shares the target's memory while the target's thread is held, forks, and ends. */
static int collector_helper(void *argument) {
    AGENT_SYSCALL_0(SYS_setsid);
    if (AGENT_SYSCALL_0(SYS_fork) == 0) {
        collector_exec(argument);
        AGENT_SYSCALL_1(SYS_exit_group, 127);
    }
    AGENT_SYSCALL_1(SYS_exit, 0);
    return 0;
}

/* clone(2) with a stack of its own. The child runs function(argument) and never returns here. */
static long helper_clone(char *stack_top, int (*function)(void *), void *argument) {
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
                     : "a"(SYS_clone), "D"(CLONE_VM | CLONE_VFORK), "S"(top), "d"(0)
                     : "rcx", "r11", "r8", "r10", "memory");
    return result;
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

static int collector_start(const char *program, int listen_fd, char *const *environment) {
    char pid[24], descriptor[8];
    append_number(pid, pid + sizeof(pid), (uint64_t)AGENT_SYSCALL_0(SYS_getpid), 10);
    append_number(descriptor, descriptor + sizeof(descriptor), COLLECTOR_FD, 10);
    char *arguments[] = {(char *)(uintptr_t)program, "collect", "--listen-fd", descriptor, "--socket",
                         collector_address.sun_path, "--pid",   pid,           NULL};
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

    /* No handler of the target may run in the helper, which shares its memory. */
    uint64_t all = ~0ULL, before;
    AGENT_SYSCALL_4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof(uint64_t));
    long helper = helper_clone((char *)memory + HELPER_STACK_BYTES, collector_helper, &start);
    if (helper > 0)
        AGENT_SYSCALL_4(SYS_wait4, helper, NULL, __WALL, NULL);
    AGENT_SYSCALL_4(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(uint64_t));
    AGENT_SYSCALL_2(SYS_munmap, memory, bytes);
    return helper < 0 ? (int)helper : 0;
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
        if (up > 0 && append(slash, ret_path + bytes, "/bin/waitscope") &&
            AGENT_SYSCALL_2(SYS_access, ret_path, 1 /* X_OK */) == 0)
            return true;
        *slash = '\0';
    }
    return false;
}

/* A listening socket in a fresh directory that only this user can enter. */
static int socket_listen(void) {
    const char *base = agent_environment_get("XDG_RUNTIME_DIR");
    if (!base || !*base)
        base = agent_environment_get("TMPDIR");
    if (!base || !*base)
        base = "/tmp";
    uint64_t random[2] = {0};
    if (AGENT_SYSCALL_3(SYS_getrandom, random, sizeof(random), 1 /* GRND_NONBLOCK */) != sizeof(random))
        return -EAGAIN;
    char *path = collector_address.sun_path, *end = path + sizeof(collector_address.sun_path);
    char *at = append(append(path, end, base), end, "/waitscope-");
    at = append_number(append_number(at, end, random[0], 16), end, random[1], 16);
    if (!at)
        return -ENAMETOOLONG;
    long ret = AGENT_SYSCALL_2(SYS_mkdir, path, 0700);
    if (ret < 0)
        return (int)ret;
    if (!append(at, end, "/socket"))
        return -ENAMETOOLONG;

    int fd = (int)AGENT_SYSCALL_3(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    ret = AGENT_SYSCALL_3(SYS_bind, fd, &collector_address, sizeof(collector_address));
    if (ret == 0)
        ret = AGENT_SYSCALL_2(SYS_listen, fd, 4096);
    if (ret < 0) {
        AGENT_SYSCALL_1(SYS_close, fd);
        return (int)ret;
    }
    return fd;
}

int agent_connect_find(char *const *environment, uint32_t *flags) {
    char program[1024];
    const char *path = agent_environment_get(WAITSCOPE_SOCKET_VARIABLE);
    if (path && *path) {
        size_t length = strlen(path);
        if (length >= sizeof(collector_address.sun_path))
            return -ENAMETOOLONG;
        memcpy(collector_address.sun_path, path, length + 1);
        return 0;
    }
    if (collector_address.sun_path[0]) /* known from before a fork */
        return 0;
    if (!environment || !collector_program_find(program, sizeof(program)))
        return -ENOENT;
    int fd = socket_listen();
    if (fd < 0)
        return fd;
    int ret = collector_start(program, fd, environment);
    AGENT_SYSCALL_1(SYS_close, fd);
    if (ret == 0) {
        *flags |= AGENT_FLAG_DIRECT;
        ret = agent_environment_add(WAITSCOPE_SOCKET_VARIABLE, collector_address.sun_path);
    }
    return ret;
}
