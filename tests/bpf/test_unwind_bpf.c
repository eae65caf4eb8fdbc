/* SPDX-License-Identifier: MIT */
/*
 * Stacks taken in the kernel against chains of calls that their threads know (chain.h), frame by frame:
 * without frame pointers, through several libraries, dynamic and realigned frames, frames larger than a page,
 * signal handlers; blocked and spinning. The target is followed from before its exec on; it loads a library
 * later and its child one more, of which the tables are told by the kernel's events alone.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "collector/clock.h"
#include "collector/unwind_follow.h"
#include "format/stack_hash.h"
#include "tests/bpf/chain.h"
#include "tests/bpf/probe.h"

#define BLOCKING 14U /* chains of each process that block; as many more than these as */
#define SPINNING 2U  /* spin */
#define PROCESS_CHAINS (BLOCKING + SPINNING)
#define EXACT_WANTED 50U /* stacks of each chain */
#define SECONDS_MAX 60U  /* not a time that is tested: what does not come in it never comes */

/* --- the target ---------------------------------------------------------------------------------------- */

static struct chain_world *world;
static int libraries_loaded;

static const struct chain_library *library_open(const char *path) {
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct chain_library *library = handle ? dlsym(handle, CHAIN_LIBRARY) : NULL;
    if (!library) {
        fprintf(stderr, "target: %s\n", dlerror());
        _exit(3);
    }
    *library->signal_number = SIGRTMIN + libraries_loaded++;
    return library;
}

/* A library that no process had mapped, gone from the disk when it is used. */
static const struct chain_library *library_copy(const char *path) {
    char copy[] = "/tmp/waitscope-chain-XXXXXX";
    char buffer[65536];
    ssize_t got;
    int from = open(path, O_RDONLY | O_CLOEXEC), into = mkstemp(copy);
    if (from < 0 || into < 0)
        _exit(3);
    while ((got = read(from, buffer, sizeof(buffer))) > 0)
        if (write(into, buffer, (size_t)got) != got)
            _exit(3);
    close(from);
    close(into);
    const struct chain_library *library = library_open(copy);
    unlink(copy);
    return library;
}

static void *chain_main(void *argument) {
    struct chain *chain = argument;
    chain->pid = (uint32_t)getpid();
    chain->tid = (uint32_t)syscall(SYS_gettid);
    chain->expected[chain->count++] = (uint64_t)(uintptr_t)__builtin_return_address(0);
    chain->functions[0](chain, 0);
    atomic_fetch_add(&world->finished, 1);
    return NULL;
}

static void chains_start(unsigned first, const struct chain_library *const *libraries, unsigned count,
                         pthread_t *ret_threads) {
    for (unsigned i = 0; i < PROCESS_CHAINS; i++) {
        struct chain *chain = &world->chains[first + i];
        for (unsigned j = 0; j + 1 < chain->length; j++) {
            const struct chain_library *library = libraries[chain->route[j] % count];
            chain->functions[j] = library->functions[chain->route[j] / count % library->count];
        }
        const struct chain_library *last = libraries[i % count];
        chain->functions[chain->length - 1] = i < BLOCKING ? last->block : last->spin;
        if (pthread_create(&ret_threads[i], NULL, chain_main, chain) != 0)
            _exit(3);
    }
}

static int target_main(int fd) {
    const struct chain_library *libraries[4];
    pthread_t threads[2 * PROCESS_CHAINS];
    int status;
    world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (world == MAP_FAILED)
        return 3;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    libraries[0] = library_open(CHAIN_LIBRARY_1);
    libraries[1] = library_open(CHAIN_LIBRARY_2);
    libraries[2] = library_open(CHAIN_LIBRARY_3);
    chains_start(0, libraries, 3, threads);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        libraries[3] = library_copy(CHAIN_LIBRARY_1);
        chains_start(PROCESS_CHAINS, libraries, 4, threads);
        for (unsigned i = 0; i < PROCESS_CHAINS; i++)
            pthread_join(threads[i], NULL);
        _exit(0);
    }
    libraries[3] = library_copy(CHAIN_LIBRARY_2);
    chains_start(2 * PROCESS_CHAINS, libraries, 4, threads + PROCESS_CHAINS);
    for (unsigned i = 0; i < 2 * PROCESS_CHAINS; i++)
        pthread_join(threads[i], NULL);
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 3;
}

/* --- the test ------------------------------------------------------------------------------------------ */

struct seen {
    unsigned exact, at_call, wrong, incomplete, incomplete_later;
    unsigned ends[UNWIND_ENDS];
};
static struct seen seen[CHAINS_MAX];
static unsigned records, shown, hashes_wrong;

static void stack_show(const struct chain *chain, const struct probe_record *record) {
    if (shown++ >= 3)
        return;
    fprintf(stderr, "chain %d, %u frames, ends with %s, expected %u:\n", (int)(chain - world->chains),
            record->count, probe_end_name(record->end), chain->count + 2);
    for (unsigned i = 0; i < record->count; i++)
        fprintf(stderr, "  %#18llx %#18llx\n", (unsigned long long)record->frames[i],
                i >= 1 && i <= chain->count ? (unsigned long long)chain->expected[chain->count - i] : 0ULL);
}

static void record_compare(void *argument, const struct probe_record *record) {
    (void)argument;
    records++;
    for (unsigned i = 0; i < world->count; i++) {
        const struct chain *chain = &world->chains[i];
        if (!atomic_load_explicit(&chain->ready, memory_order_acquire) ||
            chain->tid != record->tid) /* [CHAIN-READY] */
            continue;
        uint64_t pc = record->frames[0];
        if (pc < chain->end_low || pc >= chain->end_high)
            return; /* on its way there */
        seen[i].ends[record->end]++;
        if (record->end != UNWIND_END_START) {
            seen[i].incomplete++;
            /* A page that the thread is copying after the fork is not there for an instant. */
            seen[i].incomplete_later += seen[i].exact > 0 && record->end != UNWIND_END_READ;
            return;
        }
        /* The leaf, what the chain knows, and clone3. */
        bool same = record->count == chain->count + 2;
        for (unsigned j = 0; same && j < chain->count; j++)
            same = record->frames[1 + j] == chain->expected[chain->count - 1 - j];
        if (!same) {
            seen[i].wrong++;
            stack_show(chain, record);
            return;
        }
        uint64_t sum = 0;
        for (unsigned j = record->count; j-- > 0;)
            sum = stack_hash_add(sum, record->frames[j]);
        hashes_wrong += record->hash != stack_hash_finish(sum);
        seen[i].exact++;
        seen[i].at_call += pc == chain->blocked_pc;
        return;
    }
}

static void world_make(void) {
    world->count = 3 * PROCESS_CHAINS;
    srand(4);
    for (unsigned i = 0; i < world->count; i++) {
        struct chain *chain = &world->chains[i];
        chain->length = 2 + (unsigned)rand() % 70;
        for (unsigned j = 0; j < chain->length; j++)
            chain->route[j] = (uint8_t)rand();
        if (pipe(chain->pipe) < 0)
            abort();
    }
}

static bool all_seen(void) {
    for (unsigned i = 0; i < world->count; i++)
        if (seen[i].exact + seen[i].wrong < EXACT_WANTED)
            return false;
    return true;
}

/* Wakes those that block, keeps the tables right, looks at what has come. */
static void watch(pid_t target, struct unwind_follow *follow, struct probe *probe) {
    siginfo_t ended = {0};
    uint64_t end = clock_now_ns() + SECONDS_MAX * 1000000000ULL;
    while (!all_seen() && clock_now_ns() < end && ended.si_pid == 0) {
        for (unsigned i = 0; i < world->count; i++)
            if (i % PROCESS_CHAINS < BLOCKING && write(world->chains[i].pipe[1], "", 1) != 1)
                abort();
        unwind_follow_wait(follow, 5);
        unwind_follow_drain(follow);
        probe_poll(probe, 0, record_compare, NULL);
        waitid(P_PID, (id_t)target, &ended, WEXITED | WNOHANG | WNOWAIT);
    }
}

static void target_end(pid_t target) {
    int status;
    for (unsigned i = 0; i < world->count; i++) {
        close(world->chains[i].pipe[1]);
        atomic_store(&world->chains[i].stop, true);
    }
    if (CHECK_EQ_INT(waitpid(target, &status, 0), target))
        CHECK_EQ_INT(status, 0);
    CHECK_EQ_INT(atomic_load(&world->finished), world->count);
}

static pid_t target_start(const char *program, int fd, int go) {
    pid_t pid = fork();
    char byte, number[16];
    if (pid != 0)
        return pid;
    for (unsigned i = 0; i < world->count; i++)
        close(world->chains[i].pipe[1]);
    snprintf(number, sizeof(number), "%d", fd);
    if (read(go, &byte, 1) == 1)
        execl(program, program, "target", number, (char *)NULL);
    _exit(3);
}

int main(int argc, char **argv) {
    struct unwind_tables *tables;
    struct unwind_follow *follow;
    struct probe *probe;
    int go[2];
    if (argc == 3)
        return target_main(atoi(argv[2]));
    int result = probe_tables_open(&tables);
    if (result != 0)
        return result;
    int fd = memfd_create("chains", 0);
    if (!CHECK(fd >= 0 && ftruncate(fd, sizeof(*world)) == 0 && pipe2(go, O_CLOEXEC) == 0))
        return check_summary();
    world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    world_make();
    if (!CHECK_EQ_INT(unwind_follow_open(tables, &follow), 0) || !CHECK_EQ_INT(probe_open(tables, &probe), 0))
        return check_summary();
    pid_t target = target_start("/proc/self/exe", fd, go[0]);
    CHECK_EQ_INT(unwind_tables_process_add(tables, target), 0);
    probe_set(probe, PROBE_EMIT_ALL, false, false);
    CHECK_EQ_INT(probe_start(probe, 997), 0);
    CHECK(write(go[1], "", 1) == 1);
    watch(target, follow, probe);

    unsigned exact = 0, at_call = 0, incomplete = 0;
    for (unsigned i = 0; i < world->count; i++) {
        exact += seen[i].exact;
        at_call += seen[i].at_call;
        incomplete += seen[i].incomplete;
        if (!CHECK_EQ_INT(seen[i].wrong, 0) || !CHECK(seen[i].exact >= EXACT_WANTED) ||
            !CHECK_EQ_INT(seen[i].incomplete_later, 0))
            fprintf(stderr, "  chain %u of %u calls\n", i, world->chains[i].length);
    }
    printf("%u stacks of %u chains exact, %u of them at the system call; %u before the code was known; %u "
           "records\n",
           exact, world->count, at_call, incomplete, records);
    CHECK(at_call > 0 && at_call < exact);
    CHECK_EQ_INT(hashes_wrong, 0);
    struct unwind_follow_stats stats;
    unwind_follow_stats(follow, &stats);
    printf("%llu mappings, %llu forks, %llu execs; from event to table %.0f us on average, %.0f at most\n",
           (unsigned long long)stats.mapped, (unsigned long long)stats.forked,
           (unsigned long long)stats.execed,
           stats.refreshes ? (double)stats.delay_ns_sum / 1e3 / (double)stats.refreshes : 0.0,
           (double)stats.delay_ns_max / 1e3);
    CHECK(stats.forked >= 1 && stats.execed >= 1 && stats.mapped >= 4);
    CHECK(unwind_tables_process_known(tables, target));
    target_end(target);
    unwind_follow_drain(follow);
    CHECK(!unwind_tables_process_known(tables, target));
    probe_close(probe);
    unwind_follow_close(follow);
    unwind_tables_close(tables);
    return check_summary();
}
