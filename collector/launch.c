/* SPDX-License-Identifier: MIT */
#include "collector/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "format/hello.h"

_Static_assert(sizeof(sigset_t) <= sizeof(((struct launch_inherited *)0)->mask), "signal mask");

int launch_prepare(struct launch_inherited *ret_inherited) {
    struct launch_inherited inherited = {0};
    struct sigaction action, former;
    sigset_t mask, old;
    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGQUIT);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGHUP);
    sigaddset(&mask, SIGCHLD);
    int fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    if (sigprocmask(SIG_BLOCK, &mask, &old) != 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    memcpy(inherited.mask, &old, sizeof(old));

    memset(&action, 0, sizeof(action));
    action.sa_handler = SIG_IGN;
    sigaction(SIGXFSZ, &action, &former);
    inherited.ignored_xfsz = former.sa_handler == SIG_IGN;
    /* With SIGCHLD ignored, wait() would not tell how the child ended. */
    action.sa_handler = SIG_DFL;
    sigaction(SIGCHLD, &action, &former);
    inherited.ignored_child = former.sa_handler == SIG_IGN;

    getrlimit(RLIMIT_NOFILE, &inherited.descriptors);
    struct rlimit more = inherited.descriptors;
    more.rlim_cur = more.rlim_max;
    setrlimit(RLIMIT_NOFILE, &more);
    *ret_inherited = inherited;
    return fd;
}

/* Async-signal-safe: runs between fork and exec too. */
void launch_restore(const struct launch_inherited *inherited) {
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = inherited->ignored_xfsz ? SIG_IGN : SIG_DFL;
    sigaction(SIGXFSZ, &action, NULL);
    action.sa_handler = inherited->ignored_child ? SIG_IGN : SIG_DFL;
    sigaction(SIGCHLD, &action, NULL);
    setrlimit(RLIMIT_NOFILE, &inherited->descriptors);
    sigset_t mask;
    memcpy(&mask, inherited->mask, sizeof(mask));
    sigprocmask(SIG_SETMASK, &mask, NULL);
}

static void child_run(char *const *command, char *const *environment,
                      const struct launch_inherited *inherited, int go, int failed) {
    char word = 0;
    ssize_t got;
    do
        got = read(go, &word, 1);
    while (got < 0 && errno == EINTR);
    if (got != 1)
        _exit(125); /* the collector is gone */
    launch_restore(inherited);
    if (word == LAUNCH_TRACED && environment)
        execvpe(command[0], command, environment);
    else
        execvp(command[0], command);
    int error = errno;
    (void)!write(failed, &error, sizeof(error));
    _exit(error == ENOENT ? 127 : 126);
}

int launch_fork(char *const *command, char *const *environment, const struct launch_inherited *inherited,
                struct launch *ret_launch) {
    int go[2], failed[2];
    if (pipe2(go, O_CLOEXEC) != 0)
        return -errno;
    if (pipe2(failed, O_CLOEXEC) != 0) {
        int error = -errno;
        close(go[0]);
        close(go[1]);
        return error;
    }
    pid_t pid = fork();
    int error = pid < 0 ? -errno : 0;
    if (pid == 0) {
        close(go[1]);
        close(failed[0]);
        child_run(command, environment, inherited, go[0], failed[1]);
    }
    close(go[0]);
    close(failed[1]);
    if (pid < 0) {
        close(go[1]);
        close(failed[0]);
        return error;
    }
    *ret_launch = (struct launch){pid, go[1], failed[0]};
    return 0;
}

int launch_go(struct launch *launch, bool traced) {
    char word = traced ? LAUNCH_TRACED : LAUNCH_BARE;
    int error = 0;
    ssize_t done;
    struct sigaction ignore, former;
    memset(&ignore, 0, sizeof(ignore));
    ignore.sa_handler = SIG_IGN; /* the child may have been killed already */
    sigaction(SIGPIPE, &ignore, &former);
    (void)!write(launch->go, &word, 1);
    sigaction(SIGPIPE, &former, NULL);
    do
        done = read(launch->failed, &error, sizeof(error));
    while (done < 0 && errno == EINTR);
    close(launch->go);
    close(launch->failed);
    return done == (ssize_t)sizeof(error) ? error : 0;
}

extern char **environ;

/* Filters on system calls that this process, and so its child, lives under. */
static int seccomp_filters(void) {
    char line[256];
    int mode = 0, filters = 0;
    FILE *status = fopen("/proc/self/status", "re");
    while (status && fgets(line, sizeof(line), status)) {
        sscanf(line, "Seccomp: %d", &mode);
        sscanf(line, "Seccomp_filters: %d", &filters);
    }
    if (status)
        fclose(status);
    return filters > 0 ? filters : mode != 0; /* kernels before 5.9 do not count them */
}

char **launch_environment(const char *agent, const char *socket_path, const char *agent_options) {
    const char *preload = getenv("LD_PRELOAD");
    const char *names[] = {"LD_PRELOAD", WAITSCOPE_SOCKET_VARIABLE, WAITSCOPE_AGENT_VARIABLE,
                           WAITSCOPE_SECCOMP_VARIABLE, "ASAN_OPTIONS"};
    const char *sanitizer = getenv("ASAN_OPTIONS");
    size_t count = 0, text = 0;
    int filters = seccomp_filters();
    while (environ[count])
        count++;
    text = strlen(agent) + (preload ? strlen(preload) : 0) + strlen(socket_path) + strlen(agent_options) +
           (sanitizer ? strlen(sanitizer) : 0) + 256;
    char **block = malloc((count + 6) * sizeof(char *) + text);
    if (!block)
        return NULL;
    char *at = (char *)(block + count + 6);
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        bool ours = false;
        for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
            size_t length = strlen(names[n]);
            /* The user's agent options stay where we have none of our own. */
            if (n == 2 && !agent_options[0])
                continue;
            ours = ours || (strncmp(environ[i], names[n], length) == 0 && environ[i][length] == '=');
        }
        if (!ours)
            block[used++] = environ[i];
    }
    block[used++] = at;
    at +=
        sprintf(at, "LD_PRELOAD=%s%s%s", agent, preload && preload[0] ? ":" : "", preload ? preload : "") + 1;
    block[used++] = at;
    at += sprintf(at, "%s=%s", WAITSCOPE_SOCKET_VARIABLE, socket_path) + 1;
    /* A program with ASan's runtime in a shared library refuses to start where another one comes before it.
     * The agent stands down there; what the user has set himself comes last and counts. */
    block[used++] = at;
    at += sprintf(at, "ASAN_OPTIONS=verify_asan_link_order=0%s%s", sanitizer && sanitizer[0] ? ":" : "",
                  sanitizer ? sanitizer : "") +
          1;
    if (agent_options[0]) {
        block[used++] = at;
        at += sprintf(at, "%s=%s", WAITSCOPE_AGENT_VARIABLE, agent_options) + 1;
    }
    if (filters > 0) {
        block[used++] = at;
        sprintf(at, "%s=%d", WAITSCOPE_SECCOMP_VARIABLE, filters);
    }
    block[used] = NULL;
    return block;
}
