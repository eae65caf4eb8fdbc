/* SPDX-License-Identifier: MIT */
/*
 * Whole recordings of a fake agent: this program, run again as the target. What it wrote and what
 * came into the trace must agree to the last record, and what is hostile must be refused.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "check.h"
#include "test_collector_fake.h"

#define RING 65536U
#define KEY(address) lock_key_make((address), 1, LOCK_CLASS_MUTEX)

/* --- targets ------------------------------------------------------------------------------------- */

/* Each thread: 2 of everything that counts as emitted, and many waits. */
#define NORMAL_THREADS 3
#define NORMAL_WAITS 100000
static int target_normal(void) {
    struct fake fake = fake_slab(8, RING, 0, NULL);
    struct thread_slot *slots[NORMAL_THREADS];
    for (uint32_t i = 0; i < NORMAL_THREADS; i++)
        slots[i] = fake_thread(&fake, i, (uint32_t)getpid() + i);
    fake_announce(&fake);
    for (uint32_t i = 0; i < NORMAL_THREADS; i++) {
        struct record_lock_init init = {.key = KEY(0x1000 + 64 * i), .time = __rdtsc(), .stack = 0};
        fake_stack(&fake, slots[i], 100 + i, 0x400000 + i);
        fake_record_sure(&fake, slots[i], &init, RECORD_LOCK_INIT, sizeof(init));
        struct record_thread_name name = {.tid = slots[i]->tid};
        snprintf(name.name, sizeof(name.name), "worker-%u", i);
        fake_record_sure(&fake, slots[i], &name, RECORD_THREAD_NAME, sizeof(name));
    }
    for (int n = 0; n < NORMAL_WAITS; n++) {
        for (uint32_t i = 0; i < NORMAL_THREADS; i++)
            fake_wait_sure(&fake, slots[i], KEY(0x1000 + 64 * ((i + 1) % NORMAL_THREADS)), 100 + i,
                           slots[(i + 1) % NORMAL_THREADS]->tid);
    }
    struct record_release release = {.key = KEY(0x1000), .time = __rdtsc(), .since = __rdtsc() - 5000};
    fake_record_sure(&fake, slots[0], &release, RECORD_RELEASE, sizeof(release));
    struct record_count count = {.count = {.key = KEY(0x1000), .uses = 1000, .contended = 10}};
    fake_record_sure(&fake, slots[0], &count, RECORD_COUNT, sizeof(count));
    /* One thread ends by itself, with counts to harvest; the others are there when the process ends. */
    for (uint32_t i = 0; i < NORMAL_THREADS; i++) {
        struct lock_count *counts = slot_counts(slots[i]);
        for (uint32_t k = 0; k < SLOT_COUNTS; k++)
            counts[k] = (struct lock_count){
                .key = KEY(0x1000 + 64 * k), .site = 0x400100, .uses = 7 + k, .contended = 1};
    }
    fake_thread_end(slots[0]);
    return 7;
}

/* Names and regions: first what is right, then in rings of their own what is not to be believed. */
#define ANNOTATED_WRONG 6U
static int target_annotated(void) {
    struct fake fake = fake_slab(1 + ANNOTATED_WRONG, RING, 0, NULL);
    struct thread_slot *slot = fake_thread(&fake, 0, (uint32_t)getpid());
    union {
        struct record_name record;
        char bytes[sizeof(struct record_name) + 256];
    } name = {.record = {.header.value = 6, .hash = 5}};
    struct record_lock_name lock = {.key = lock_key_make(0x1000, 2, LOCK_CLASS_NONE), .text = 5};
    struct record_thread_name thread = {.header.flags = THREAD_NAME_GIVEN, .tid = slot->tid, .text = 5};
    struct record_region region = {.header.value = 3, .text = 5, .begin = __rdtsc() - 5000, .end = __rdtsc()};
    fake_announce(&fake);
    memcpy(name.record.text, "ledger", 6);
    fake_record_sure(&fake, slot, &name, RECORD_NAME, sizeof(name.record) + 8);
    fake_record_sure(&fake, slot, &lock, RECORD_LOCK_NAME, sizeof(lock));
    fake_record_sure(&fake, slot, &thread, RECORD_THREAD_NAME, sizeof(thread));
    fake_record_sure(&fake, slot, &region, RECORD_REGION, sizeof(region));
    fake_wait_sure(&fake, slot, KEY(0x1000), 0, 0);
    region.text = 6; /* of a name that was never told */
    fake_record_sure(&fake, slot, &region, RECORD_REGION, sizeof(region));

    for (uint32_t i = 0; i < ANNOTATED_WRONG; i++) {
        struct thread_slot *wrong = fake_thread(&fake, 1 + i, (uint32_t)getpid() + 1 + i);
        struct record_name *record = &name.record;
        record->header.value = i == 0 ? 9 : i == 1 ? 0 : i == 2 ? NAME_BYTES_MAX + 1 : 6;
        record->hash = i == 3 ? 0 : 7;
        lock.key = i == 4 ? KEY(0x1000) : lock_key_make(0, 2, LOCK_CLASS_NONE);
        if (i < 4)
            fake_record_sure(&fake, wrong, record, RECORD_NAME, sizeof(*record) + (i == 2 ? 256 : 8));
        else
            fake_record_sure(&fake, wrong, &lock, RECORD_LOCK_NAME, sizeof(lock));
    }
    return 0;
}

static int target_flood(void) {
    struct fake fake = fake_slab(1, RING, 0, NULL);
    struct thread_slot *slot = fake_thread(&fake, 0, (uint32_t)getpid());
    fake_announce(&fake);
    for (int n = 0; n < 2000000; n++)
        fake_wait(&fake, slot, KEY(0x1000), 0, 0);
    return 0;
}

/* A fixed rate of one thread: nothing is to be dropped once the collector is there. */
static int target_rate(void) {
    struct fake fake = fake_slab(1, RING, 0, NULL);
    struct thread_slot *slot = fake_thread(&fake, 0, (uint32_t)getpid());
    fake_announce(&fake);
    usleep(20000);
    uint64_t begin = fake_now();
    for (uint64_t n = 0; n < 300000; n++) {
        while (fake_now() - begin < n * 3333) /* 300 000 a second */
            ;
        fake_wait(&fake, slot, KEY(0x1000), 0, 0);
    }
    return 0;
}

static int target_exec(const char *self) {
    struct fake fake = fake_slab(2, RING, 0, NULL);
    struct thread_slot *slot = fake_thread(&fake, 0, (uint32_t)getpid());
    fake_announce(&fake);
    for (int n = 0; n < 100; n++)
        fake_wait_sure(&fake, slot, KEY(0x1000), 0, 0);
    execl(self, self, "target", "small", (char *)NULL);
    return 98;
}

static int target_small(void) {
    struct fake fake = fake_slab(2, RING, 0, NULL);
    struct thread_slot *slot = fake_thread(&fake, 0, (uint32_t)getpid());
    fake_announce(&fake);
    for (int n = 0; n < 50; n++)
        fake_wait_sure(&fake, slot, KEY(0x1000), 0, 0);
    return 3;
}

static int target_fork(void) {
    target_small();
    pid_t pid = fork();
    if (pid == 0)
        _exit(target_small());
    waitpid(pid, NULL, 0);
    return 0;
}

/* 10 000 threads one after another through four slots; a wait and a count each. */
#define REUSES 10000
#define REUSED_SLOTS 4
struct reuse {
    const struct fake *fake;
    uint32_t number;
    bool wrong;
};

static void *reuse_run(void *argument) {
    struct reuse *reuse = argument;
    struct thread_slot *slot =
        fake_thread(reuse->fake, reuse->number % REUSED_SLOTS, (uint32_t)syscall(SYS_gettid));
    reuse->wrong = slot->generation != reuse->number / REUSED_SLOTS + 1 || slot_counts(slot)[0].key != 0 ||
                   slot->emitted != 0 || slot->ring.head != 0;
    fake_wait_sure(reuse->fake, slot, KEY(0x1000), 0, 0);
    slot_counts(slot)[0] = (struct lock_count){.key = KEY(0x1000), .uses = 3};
    fake_thread_end(slot);
    return NULL;
}

static int target_reuse(void) {
    struct fake fake = fake_slab(REUSED_SLOTS, RING, 0, NULL);
    fake_announce(&fake);
    for (uint32_t n = 0; n < REUSES; n++) {
        struct reuse reuse = {.fake = &fake, .number = n};
        pthread_t thread;
        if (pthread_create(&thread, NULL, reuse_run, &reuse) != 0 || pthread_join(thread, NULL) != 0)
            return 92;
        if (reuse.wrong)
            return 97;
    }
    struct stat status;
    return fstat(fake.fd, &status) == 0 && status.st_blocks * 512 < 200000 ? 0 : 96;
}

/* Garbage in one ring; another thread and its records are not harmed. */
static int target_garbage(void) {
    struct fake fake = fake_slab(4, RING, 0, NULL);
    struct thread_slot *bad = fake_thread(&fake, 0, 1), *good = fake_thread(&fake, 1, 2);
    fake_announce(&fake);
    for (int n = 0; n < 1000; n++) {
        fake_wait_sure(&fake, good, KEY(0x2000), 0, 0);
        uint64_t words[8];
        if (getrandom(words, sizeof(words), 0) != sizeof(words))
            return 95;
        uint64_t head = atomic_load(&bad->ring.head);
        memcpy(slot_ring_bytes(bad) + (head & (RING - 1)) / 64 * 64, words, sizeof(words));
        atomic_store(&bad->ring.head, head + (n % 3 ? 64 : words[0] >> (words[1] & 63)));
        bad->lost[n % LOSS_REASON_COUNT] = words[2];
        bad->emitted = words[3];
        slot_counts(bad)[n % SLOT_COUNTS].key = words[4];
        usleep(100);
    }
    return 0;
}

/* What must be refused, and then an honest slab. */
static int target_refused(void) {
    struct fake unsealed = fake_slab(2, RING, 0, NULL);
    fake_hello_send(&unsealed);
    struct fake half = fake_slab(2, RING, 0, NULL);
    fcntl(half.fd, F_ADD_SEALS, F_SEAL_SHRINK);
    fake_hello_send(&half);
    struct fake magic = fake_slab(2, RING, 0, NULL);
    magic.header->magic++;
    fake_announce(&magic);
    struct fake count = fake_slab(2, RING, 0, NULL);
    count.header->slot_count = 3;
    fake_announce(&count);
    struct fake ring = fake_slab(2, RING, 0, NULL);
    ring.header->ring_bytes = RING - 8;
    fake_announce(&ring);
    struct fake file = fake_slab(2, RING, 0, NULL);
    file.fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    fake_hello_send(&file);
    close(fake_connect());
    int fd = fake_connect();
    if (send(fd, "hello?", 6, 0) != 6)
        return 94;
    return target_small();
}

/* A child's agent stands down before the launched command's, whose reason is the one to be told. */
static int stand_down(uint32_t refusal, int error, uint32_t child_refusal) {
    pid_t pid = fork();
    if (pid == 0) {
        fake_refuse(child_refusal, 0);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    usleep(20000);
    fake_refuse(HELLO_REFUSED_LIBC + 1, 0);
    fake_refuse(refusal, error);
    usleep(20000);
    fake_refuse(child_refusal, 0);
    return 6;
}

static int target_limited(void) {
    return stand_down(HELLO_REFUSED_FILE_LIMIT, EFBIG, HELLO_REFUSED_SANITIZER);
}

static int target_sanitized(void) {
    return stand_down(HELLO_REFUSED_SANITIZER, ENOTSUP, HELLO_REFUSED_MEMORY);
}

static int target_poor(void) {
    return stand_down(HELLO_REFUSED_MEMORY, ENOMEM, HELLO_REFUSED_FILE_LIMIT);
}

/* Peers that say nothing must not hold up anybody. */
static int target_silent(void) {
    for (int i = 0; i < 300; i++)
        fake_connect();
    return target_small();
}

static int target_killed(void) {
    struct fake fake = fake_slab(1, RING, 0, NULL);
    struct thread_slot *slot = fake_thread(&fake, 0, (uint32_t)getpid());
    fake_announce(&fake);
    for (int n = 0; n < 1000; n++)
        fake_wait_sure(&fake, slot, KEY(0x1000), 0, 0);
    kill(getpid(), SIGKILL);
    return 0;
}

static int target_waits_on(void) {
    struct fake fake = fake_slab(1, RING, 0, NULL);
    struct thread_slot *slot = fake_thread(&fake, 0, (uint32_t)getpid());
    fake_announce(&fake);
    slot->now_owner = (uint32_t)getpid();
    slot->now_since = __rdtsc();
    slot->now_key = KEY(0x7000);
    while (atomic_load(&fake.header->recording))
        usleep(1000);
    return 5;
}

static const struct {
    const char *name;
    int (*run)(void);
} TARGETS[] = {
    {"normal", target_normal},   {"flood", target_flood},         {"rate", target_rate},
    {"small", target_small},     {"fork", target_fork},           {"reuse", target_reuse},
    {"garbage", target_garbage}, {"refused", target_refused},     {"silent", target_silent},
    {"killed", target_killed},   {"waits_on", target_waits_on},   {"limited", target_limited},
    {"poor", target_poor},       {"sanitized", target_sanitized}, {"annotated", target_annotated},
};

/* --- recordings ---------------------------------------------------------------------------------- */

static char output[PATH_MAX];

static void record(const char *name, const struct collector_options *options, struct collector_result *result,
                   struct fake_trace *trace) {
    memset(trace, 0, sizeof(*trace));
    uint64_t begin = fake_now();
    int status = fake_record_self((const char *const[]){"target", name, NULL}, options, output, result);
    CHECK_EQ_INT(status, 0);
    CHECK_EQ_INT(result->trace_errno, 0);
    CHECK_STR(result->trace_path, output);
    CHECK(fake_trace_read(output, trace));
    CHECK_EQ_INT(trace->state, TRACE_COMPLETE);
    CHECK(!trace->damaged);
    CHECK_EQ_U64(trace->emitted, trace->stored + trace->loss_total);
    CHECK_EQ_U64(trace->wait_orphans, 0);
    CHECK_EQ_U64(trace->time_wrong, 0);
    printf("%-9s %7llu waits, %llu of %llu stored, %.0f ms\n", name,
           (unsigned long long)trace->rows[TRACE_WAIT], (unsigned long long)trace->stored,
           (unsigned long long)trace->emitted, (double)(fake_now() - begin) / 1e6);
}

static struct collector_result result;
static struct fake_trace trace;

static void exits(enum collector_exit exit, int value) {
    CHECK_EQ_INT(result.exit, exit);
    CHECK_EQ_INT(result.value, value);
}

static void check_normal(void) {
    record("normal", NULL, &result, &trace);
    exits(COLLECTOR_EXIT_CODE, 7);
    CHECK_EQ_INT((int)result.processes, 1);
    CHECK_EQ_U64(trace.rows[TRACE_WAIT], (uint64_t)NORMAL_THREADS * NORMAL_WAITS);
    CHECK_EQ_U64(trace.rows[TRACE_RELEASE], 1);
    CHECK_EQ_U64(trace.emitted, (uint64_t)NORMAL_THREADS * (NORMAL_WAITS + 2) + 2);
    CHECK_EQ_U64(trace.loss_total, 0);
    CHECK_EQ_U64(trace.cost_emitted, trace.emitted);
    uint64_t each = 0;
    for (uint64_t k = 0; k < SLOT_COUNTS; k++)
        each += 7 + k;
    CHECK_EQ_U64(trace.acquisitions, 1000 + NORMAL_THREADS * each);
    CHECK_EQ_U64(trace.contended, 10 + NORMAL_THREADS * SLOT_COUNTS);
    CHECK_EQ_U64(trace.waits_without_owner, 0);
    CHECK_EQ_U64(trace.waits_without_stack, 0);
    CHECK_EQ_U64(trace.rows[TRACE_THREAD], NORMAL_THREADS);
    CHECK_EQ_U64(trace.rows[TRACE_THREAD_END], NORMAL_THREADS);
    CHECK_EQ_U64(trace.rows[TRACE_LOCK], SLOT_COUNTS);
    CHECK_EQ_U64(trace.rows[TRACE_STACK], NORMAL_THREADS);
    CHECK_EQ_U64(trace.ends[1].exit, TRACE_EXIT_CODE);
    CHECK_EQ_U64(trace.ends[1].value, 7);
    CHECK(trace.ends[1].cpu_ns > 0);
    CHECK_EQ_U64(trace.processes[1].how, 0);
    struct stat status;
    CHECK(stat(output, &status) == 0 && (status.st_mode & 0777) == 0600);
}

static void check_annotated(void) {
    record("annotated", NULL, &result, &trace);
    exits(COLLECTOR_EXIT_CODE, 0);
    CHECK_EQ_U64(trace.rows[TRACE_REGION], 1);
    CHECK_EQ_U64(trace.rows[TRACE_LOCK_NAME], 1);
    CHECK_EQ_U64(trace.rows[TRACE_THREAD_NAME], 2 + ANNOTATED_WRONG); /* the fake names each as well */
    CHECK_EQ_U64(trace.losses[LOSS_COLLECTOR], 1);
    CHECK_EQ_U64(trace.losses[LOSS_CORRUPT], ANNOTATED_WRONG);
}

static void check_processes(void) {
    record("exec", NULL, &result, &trace);
    exits(COLLECTOR_EXIT_CODE, 3);
    CHECK_EQ_U64(trace.rows[TRACE_WAIT], 150);
    CHECK_EQ_U64(trace.rows[TRACE_PROCESS], 2);
    CHECK_EQ_U64(trace.ends[1].exit, TRACE_EXIT_EXEC);
    CHECK_EQ_U64(trace.ends[2].exit, TRACE_EXIT_CODE);
    CHECK_EQ_U64(trace.ends[2].value, 3);
    CHECK_EQ_U64(trace.processes[1].pid, trace.processes[2].pid);
    CHECK_EQ_U64(trace.processes[2].how, 2);

    record("fork", NULL, &result, &trace);
    exits(COLLECTOR_EXIT_CODE, 0);
    CHECK_EQ_U64(trace.rows[TRACE_WAIT], 100);
    CHECK_EQ_U64(trace.rows[TRACE_PROCESS], 2);
    CHECK_EQ_U64(trace.processes[2].parent_pid, trace.processes[1].pid);

    record("fork", &(struct collector_options){.no_follow = true}, &result, &trace);
    CHECK_EQ_U64(trace.rows[TRACE_WAIT], 50);
    CHECK_EQ_U64(trace.rows[TRACE_PROCESS], 1);

    record("killed", NULL, &result, &trace);
    exits(COLLECTOR_EXIT_SIGNAL, SIGKILL);
    CHECK_EQ_U64(trace.rows[TRACE_WAIT], 1000);
    CHECK_EQ_U64(trace.ends[1].exit, TRACE_EXIT_SIGNAL);
    CHECK_EQ_U64(trace.ends[1].value, SIGKILL);
}

static void check_hostile(void) {
    record("garbage", NULL, &result, &trace);
    exits(COLLECTOR_EXIT_CODE, 0);
    CHECK(trace.losses[LOSS_CORRUPT] > 0);
    uint64_t good = 0;
    for (size_t i = 1; i <= FAKE_LOCKS_MAX; i++) {
        if (trace.locks[i].address == 0x2000)
            good += trace.lock_waits[i];
    }
    CHECK_EQ_U64(good, 1000);

    record("refused", NULL, &result, &trace);
    exits(COLLECTOR_EXIT_CODE, 3);
    CHECK_EQ_U64(trace.rows[TRACE_PROCESS], 1);
    CHECK_EQ_U64(trace.rows[TRACE_WAIT], 50);

    uint64_t begin = fake_now();
    record("silent", NULL, &result, &trace);
    exits(COLLECTOR_EXIT_CODE, 3);
    CHECK_EQ_U64(trace.rows[TRACE_WAIT], 50);
    CHECK(fake_now() - begin < 2000000000ULL);
}

static void check_stood_down(void) {
    static const struct {
        const char *target, *words;
    } CASES[] = {
        {"limited", "file size limit"}, {"sanitized", "sanitizer"}, {"poor", "Cannot allocate memory"}};
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        record(CASES[i].target, NULL, &result, &trace);
        exits(COLLECTOR_EXIT_CODE, 6);
        CHECK_EQ_INT((int)result.processes, 0);
        if (!CHECK(strstr(result.note, CASES[i].words) != NULL))
            printf("%s\n", result.note);
    }
}

static void check_load(void) {
    record("reuse", NULL, &result, &trace);
    exits(COLLECTOR_EXIT_CODE, 0);
    CHECK_EQ_U64(trace.rows[TRACE_WAIT], REUSES);
    CHECK_EQ_U64(trace.rows[TRACE_THREAD], REUSES);
    CHECK_EQ_U64(trace.rows[TRACE_THREAD_END], REUSES);
    CHECK_EQ_U64(trace.acquisitions, 3 * REUSES);

    record("flood", NULL, &result, &trace);
    CHECK_EQ_U64(trace.emitted, 2000000);
    CHECK_EQ_U64(trace.losses[LOSS_RING_FULL], trace.loss_total);
    CHECK_EQ_U64(trace.rows[TRACE_WAIT], trace.stored);

    record("rate", NULL, &result, &trace);
    CHECK_EQ_U64(trace.emitted, 300000);
    CHECK_EQ_U64(trace.rows[TRACE_WAIT], trace.stored);
}

static void check_duration(void) {
    record("waits_on", &(struct collector_options){.duration_ns = 400000000}, &result, &trace);
    CHECK_EQ_INT(result.exit, COLLECTOR_EXIT_RUNNING);
    CHECK(trace.rows[TRACE_SNAPSHOT] >= 2);
    CHECK_EQ_U64(trace.rows[TRACE_THREAD_END], 1);
    CHECK_EQ_U64(trace.ends[1].exit, TRACE_EXIT_UNKNOWN);
    CHECK_EQ_INT(collector_wait_child(&result), 0);
    exits(COLLECTOR_EXIT_CODE, 5);
    CHECK_EQ_INT(collector_wait_child(&result), -ECHILD);
}

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "target") == 0) {
        if (strcmp(argv[2], "exec") == 0)
            return target_exec(argv[0]);
        for (size_t i = 0; i < sizeof(TARGETS) / sizeof(TARGETS[0]); i++) {
            if (strcmp(argv[2], TARGETS[i].name) == 0)
                return TARGETS[i].run();
        }
        return 93;
    }
    char directory[] = "/tmp/waitscope-record.XXXXXX";
    if (!CHECK(mkdtemp(directory) != NULL))
        return check_summary();
    snprintf(output, sizeof(output), "%s/trace", directory);
    check_normal();
    check_annotated();
    check_processes();
    check_hostile();
    check_stood_down();
    check_load();
    check_duration();
    unlink(output);
    CHECK_EQ_INT(rmdir(directory), 0);
    return check_summary();
}
