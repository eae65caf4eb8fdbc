/* SPDX-License-Identifier: MIT */
/*
 * Stacks taken in the kernel against chains of calls that their threads know (chain.h), frame by frame:
 * without frame pointers, through several libraries, dynamic and realigned frames, frames larger than a page,
 * signal handlers; blocked and spinning. The target is followed from before its exec on; it loads a library
 * later and its child one more, of which the tables are told by the kernel's events alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "collector/clock.h"
#include "collector/unwind_follow.h"
#include "format/stack_hash.h"
#include "tests/bpf/chain.h"
#include "tests/bpf/probe.h"

#define EXACT_WANTED 50U /* stacks of each chain */
#define SECONDS_MAX 60U  /* not a time that is tested: what does not come in it never comes */

static struct chain_world *world;

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
    world->count = 3 * CHAINS_TOGETHER;
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
            if (i % CHAINS_TOGETHER < CHAINS_BLOCKING && write(world->chains[i].pipe[1], "", 1) != 1)
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

static pid_t target_start(int fd, int go) {
    pid_t pid = fork();
    char byte, number[16];
    if (pid != 0)
        return pid;
    for (unsigned i = 0; i < world->count; i++)
        close(world->chains[i].pipe[1]);
    snprintf(number, sizeof(number), "%d", fd);
    if (read(go, &byte, 1) == 1)
        execl(TARGET_CHAINS, "target_chains", number, (char *)NULL);
    _exit(3);
}

int main(void) {
    struct unwind_tables *tables;
    struct unwind_follow *follow;
    struct probe *probe;
    int go[2];
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
    pid_t target = target_start(fd, go[0]);
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
