/* SPDX-License-Identifier: MIT */
/* Starting targets: errors, exit codes, signals, environment, names of traces, what cannot be preloaded. */
#include <elf.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "check.h"
#include "collector/launch.h"
#include "collector/output.h"
#include "test_collector_fake.h"

static struct collector_result result;

static int run(char *const *command, const char *output, const char *agent) {
    struct collector_options options = {
        .no_kernel = true, .command = command, .listen_fd = -1, .output = output, .agent = agent};
    memset(&result, 0, sizeof(result));
    return collector_record(&options, &result);
}

#define MATH "/lib/x86_64-linux-gnu/libm.so.6"
#define COMMAND(...) ((char *const[]){__VA_ARGS__, NULL})
#define SHELL(script) COMMAND("sh", "-c", script)

static void exits(enum collector_exit exit, int value) {
    CHECK_EQ_INT(result.exit, exit);
    CHECK_EQ_INT(result.value, value);
}

static void errors_and_codes(void) {
    CHECK_EQ_INT(run(COMMAND("/no/such/program"), "t", MATH), 0);
    exits(COLLECTOR_EXIT_NOT_FOUND, ENOENT);
    CHECK_STR(result.trace_path, "");
    CHECK_EQ_INT(access("t", F_OK), -1);
    CHECK_EQ_INT(run(COMMAND("no-such-program-in-path"), "t", MATH), 0);
    exits(COLLECTOR_EXIT_NOT_FOUND, ENOENT);
    CHECK_EQ_INT(run(COMMAND("/etc"), "t", MATH), 0);
    exits(COLLECTOR_EXIT_NOT_RUN, EACCES);
    CHECK_EQ_INT(run(COMMAND("/etc/passwd"), "t", MATH), 0);
    exits(COLLECTOR_EXIT_NOT_RUN, EACCES);

    CHECK_EQ_INT(run(SHELL("exit 42"), "t", MATH), 0);
    exits(COLLECTOR_EXIT_CODE, 42);
    CHECK_STR(result.trace_path, "t");
    CHECK_EQ_INT((int)result.processes, 0);
    CHECK(strstr(result.note, "no agent reported") != NULL);
    CHECK_EQ_INT(run(SHELL("kill -SEGV $$"), "t", MATH), 0);
    exits(COLLECTOR_EXIT_SIGNAL, SIGSEGV);

    /* Where tracing cannot be set up the child runs all the same. */
    CHECK_EQ_INT(run(SHELL("exit 3"), "t", "/no/such/agent.so"), 0);
    exits(COLLECTOR_EXIT_CODE, 3);
    CHECK(result.note[0] != '\0');
    CHECK_STR(result.trace_path, "");
    CHECK_EQ_INT(run(SHELL("test -z \"$LD_PRELOAD\" && exit 4"), "/no/such/directory/t", MATH), 0);
    exits(COLLECTOR_EXIT_CODE, 4);
    CHECK_EQ_INT(result.trace_errno, ENOENT);
    CHECK_STR(result.trace_path, "");
}

/* The child's dispositions, mask and limits are those that we had. */
static void inherited(void) {
    char before[4096], after[4096], line[4096] = "";
    const char *script = "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status; ulimit -n; umask";
    snprintf(line, sizeof(line), "{ %s; } > after", script);
    signal(SIGXFSZ, SIG_DFL);
    signal(SIGUSR1, SIG_IGN);
    char direct[4200];
    snprintf(direct, sizeof(direct), "{ %s; } > before", script);
    /* Not system(): its child ignores two signals of the C library's own. */
    pid_t pid = fork();
    if (pid == 0) {
        execlp("sh", "sh", "-c", direct, (char *)NULL);
        _exit(99);
    }
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    CHECK_EQ_INT(run(SHELL(line), "t", MATH), 0);
    memset(before, 0, sizeof(before));
    memset(after, 0, sizeof(after));
    FILE *file = fopen("before", "r");
    CHECK(file && fread(before, 1, sizeof(before) - 1, file) > 20);
    if (file)
        fclose(file);
    file = fopen("after", "r");
    CHECK(file && fread(after, 1, sizeof(after) - 1, file) > 20);
    if (file)
        fclose(file);
    CHECK_STR(after, before);
    signal(SIGUSR1, SIG_DFL);
    /* And ours are back. */
    sigset_t mask;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    CHECK(!sigismember(&mask, SIGINT) && !sigismember(&mask, SIGCHLD) && !sigismember(&mask, SIGTERM));
}

static void environment(void) {
    setenv("LD_PRELOAD", MATH, 1);
    setenv("WAITSCOPE_AGENT", "ring=8192", 1);
    char **block = launch_environment("/x/agent.so", "/s/socket", "");
    bool preload = false, path = false, kept = false;
    for (size_t i = 0; block && block[i]; i++) {
        preload = preload || strcmp(block[i], "LD_PRELOAD=/x/agent.so:" MATH) == 0;
        path = path || strcmp(block[i], "WAITSCOPE_SOCKET=/s/socket") == 0;
        kept = kept || strcmp(block[i], "WAITSCOPE_AGENT=ring=8192") == 0;
    }
    CHECK(preload && path && kept);
    free(block);
    unsetenv("LD_PRELOAD");
    unsetenv("WAITSCOPE_AGENT");

    /* LD_PRELOAD cannot hold this path. */
    CHECK_EQ_INT(mkdir("a b:c", 0700), 0);
    CHECK_EQ_INT(symlink(MATH, "a b:c/link.so"), 0);
    FILE *copy = fopen("a b:c/agent.so", "w"), *from = fopen(MATH, "r");
    char bytes[65536];
    size_t got;
    while (copy && from && (got = fread(bytes, 1, sizeof(bytes), from)) > 0)
        fwrite(bytes, 1, got, copy);
    if (copy)
        fclose(copy);
    if (from)
        fclose(from);
    CHECK_EQ_INT(run(SHELL("case \"$LD_PRELOAD\" in *[\\ ]*|*:*) exit 9;; esac; test -e \"$LD_PRELOAD\" &&"
                           " grep -q 'a b:c/agent.so' /proc/$$/maps"),
                     "t", "a b:c/agent.so"),
                 0);
    exits(COLLECTOR_EXIT_CODE, 0);
    unlink("a b:c/agent.so");
    unlink("a b:c/link.so");
    rmdir("a b:c");
}

static void trace_names(void) {
    char name[64];
    CHECK_EQ_INT(run(SHELL("exit 0"), NULL, MATH), 0);
    snprintf(name, sizeof(name), "waitscope.sh.%d.trace", result.pid);
    CHECK_STR(result.trace_path, name);
    unlink(name);

    struct trace_writer *first = NULL, *second = NULL;
    char path[PATH_MAX];
    CHECK_EQ_INT(output_open(NULL, "/usr/bin/prog", 77, &first, path), 0);
    CHECK_STR(path, "waitscope.prog.77.trace");
    CHECK_EQ_INT(output_open(NULL, "prog", 77, &second, path), 0);
    CHECK_STR(path, "waitscope.prog.77-2.trace");
    trace_writer_free(first);
    trace_writer_free(second);
    unlink("waitscope.prog.77.trace");
    unlink("waitscope.prog.77-2.trace");
}

/* A signal that a process sends us reaches the child; Ctrl-C is the terminal's own business. */
static void signals_pass(void) {
    pid_t pid = fork();
    if (pid == 0) {
        int error = run(SHELL("trap 'exit 21' TERM; touch ready; while :; do sleep 0.05; done"), "t", MATH);
        _exit(error == 0 && result.exit == COLLECTOR_EXIT_CODE ? result.value : 99);
    }
    int status = 0;
    for (int i = 0; i < 400 && access("ready", F_OK) != 0; i++)
        usleep(10000);
    CHECK_EQ_INT(access("ready", F_OK), 0);
    kill(pid, SIGINT);
    usleep(50000);
    CHECK_EQ_INT(waitpid(pid, &status, WNOHANG), 0);
    kill(pid, SIGTERM);
    CHECK_EQ_INT(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_EQ_INT(WEXITSTATUS(status), 21);
    unlink("ready");
}

static void elf_write(const char *path, unsigned char class, unsigned machine, bool interpreter) {
    struct {
        Elf64_Ehdr header;
        Elf64_Phdr segment;
    } file = {0};
    memcpy(file.header.e_ident, ELFMAG, SELFMAG);
    file.header.e_ident[EI_CLASS] = class;
    file.header.e_machine = (Elf64_Half)machine;
    file.header.e_phoff = sizeof(file.header);
    file.header.e_phentsize = sizeof(file.segment);
    file.header.e_phnum = 1;
    file.segment.p_type = interpreter ? PT_INTERP : PT_LOAD;
    FILE *out = fopen(path, "w");
    CHECK(out && fwrite(&file, sizeof(file), 1, out) == 1);
    if (out)
        fclose(out);
    chmod(path, 0755);
}

static void refused_says(const char *program, const char *word) {
    char note[256] = "";
    CHECK_EQ_INT(preload_refused(program, note, sizeof(note)), word != NULL);
    CHECK(!word || strstr(note, word) != NULL);
    if (word && !strstr(note, word))
        fprintf(stderr, "%s: note is \"%s\"\n", program, note);
}

static void preloadable(void) {
    refused_says("sh", NULL);
    refused_says("no-such-program-in-path", NULL);
    elf_write("./fine", ELFCLASS64, EM_X86_64, true);
    refused_says("./fine", NULL);
    elf_write("./static", ELFCLASS64, EM_X86_64, false);
    refused_says("./static", "statically");
    elf_write("./narrow", ELFCLASS32, EM_386, true);
    refused_says("./narrow", "32-bit");
    elf_write("./arm", ELFCLASS64, EM_AARCH64, true);
    refused_says("./arm", "another machine");
    FILE *script = fopen("./script", "w");
    if (CHECK(script != NULL)) {
        fprintf(script, "#! ./static -x\n");
        fclose(script);
        chmod("./script", 0755);
    }
    refused_says("./script", "statically");
    chmod("./fine", 04755);
    if (geteuid() == 0) {
        CHECK_EQ_INT(chown("./fine", 65534, 65534), 0);
        chmod("./fine", 04755);
        refused_says("./fine", "setuid");
    }
    for (size_t i = 0; i < 5; i++)
        unlink((const char *const[]){"fine", "static", "narrow", "arm", "script"}[i]);
}

int main(void) {
    char directory[] = "/tmp/waitscope-launch.XXXXXX";
    if (!CHECK(mkdtemp(directory) != NULL && chdir(directory) == 0))
        return check_summary();
    errors_and_codes();
    inherited();
    environment();
    trace_names();
    signals_pass();
    preloadable();
    for (size_t i = 0; i < 3; i++)
        unlink((const char *const[]){"t", "before", "after"}[i]);
    CHECK_EQ_INT(chdir("/"), 0);
    CHECK_EQ_INT(rmdir(directory), 0);
    return check_summary();
}
