/* SPDX-License-Identifier: MIT */
/*
 * Threads that are off a CPU for one reason each: one behind a thread that does not let go of their CPU, one
 * that reads past the page cache, one whose pages of a file come from the disk, one whose pages another
 * thread hands out late, one that loses its CPU while it holds a lock. What each was kept from running by, it
 * knows from the kernel's accounts of it: processor time, run queue delay (the second number of schedstat),
 * major faults.
 *
 * Argument: the folder for the file to read. It takes one that is on a disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "truth.h"

#define BEHIND_CPU_NS 150000000ULL
#define FILE_BYTES (64UL << 20)
#define READ_BYTES (1UL << 20)
#define FAULT_STRIDE (64UL << 10)
#define LATE_PAGES 20
#define LATE_US 5000
#define PAGE_BYTES 4096UL
#define HOLDS 4
#define HOLD_CPU_NS 30000000ULL

struct account {
    uint64_t now, cpu, delay;
};

struct part {
    const char *name;
    void (*run)(struct part *part);
    int tid;
    long faults; /* major */
    struct account began, ended;
    struct account held; /* of the one that holds a lock: sums over the times in which it does */
};

static struct truth_gate hog_there, behind_there, hogs_go;
static atomic_uint behind_done, holds_done; /* [DONE] nothing is ordered by it: a flag to end loops */
static struct truth_turns turns;
static pthread_mutex_t crowded_lock = PTHREAD_MUTEX_INITIALIZER;
static int file;
static int late_fd;
static volatile char *late_pages;
static volatile char sink;

static uint64_t clock_get(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000ULL + (uint64_t)time.tv_nsec;
}

static struct account account_read(void) {
    struct account account;
    char text[96];
    int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    ssize_t bytes = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (bytes <= 0)
        truth_fail("no schedstat (CONFIG_SCHED_INFO)");
    close(fd);
    text[bytes] = '\0';
    account.delay = strtoull(text + strcspn(text, " "), NULL, 10);
    account.cpu = clock_get(CLOCK_THREAD_CPUTIME_ID);
    account.now = clock_get(CLOCK_MONOTONIC);
    return account;
}

static void account_add(struct account *sum, const struct account *from, const struct account *to) {
    sum->now += to->now - from->now;
    sum->cpu += to->cpu - from->cpu;
    sum->delay += to->delay - from->delay;
}

static void pin(void) {
    cpu_set_t allowed, one;
    TRUTH_OK(truth_errno(sched_getaffinity(0, sizeof(allowed), &allowed)));
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &allowed))
            CPU_SET(cpu, &one);
    TRUTH_OK(truth_errno(sched_setaffinity(0, sizeof(one), &one)));
}

static void burn(uint64_t ns) {
    uint64_t begin = clock_get(CLOCK_THREAD_CPUTIME_ID);
    while (clock_get(CLOCK_THREAD_CPUTIME_ID) - begin < ns)
        ;
}

/* --- a CPU for two ---------------------------------------------------------------------------------------
 */

/* Where it may, they keep all others off it: what is ready to run beside them would have run last as often.
 */
static void keep_others_off(void) {
    struct sched_param priority = {.sched_priority = 1};
    int error = truth_errno(sched_setscheduler(0, SCHED_RR, &priority));
    TRUTH_OK(error == EPERM ? 0 : error);
}

static void hog(struct part *part) {
    (void)part;
    pin();
    keep_others_off();
    truth_gate_add(&hog_there, 1);
    truth_gate_await(&behind_there, 1);
    while (!atomic_load_explicit(&behind_done, memory_order_relaxed)) /* [DONE] */
        ;
}

static void behind(struct part *part) {
    (void)part;
    pin();
    truth_gate_await(&hog_there, 1); /* it would not get there any more */
    keep_others_off();
    truth_gate_add(&behind_there, 1);
    burn(BEHIND_CPU_NS);
    atomic_store_explicit(&behind_done, 1, memory_order_relaxed); /* [DONE] */
}

/* --- what has to come from the disk ----------------------------------------------------------------------
 */

static void file_make(const char *folder) {
    char path[4096], *bytes = malloc(READ_BYTES);
    snprintf(path, sizeof(path), "%s/off_cpu.XXXXXX", folder);
    file = bytes ? mkostemp(path, O_CLOEXEC) : -1;
    TRUTH_OK(truth_errno(file < 0 ? -1 : 0));
    TRUTH_OK(truth_errno(unlink(path)));
    memset(bytes, 'w', READ_BYTES);
    for (size_t at = 0; at < FILE_BYTES; at += READ_BYTES)
        TRUTH_OK(truth_errno(pwrite(file, bytes, READ_BYTES, (off_t)at) < 0 ? -1 : 0));
    TRUTH_OK(truth_errno(fsync(file)));
    TRUTH_OK(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED));
    free(bytes);
}

static void read_direct(struct part *part) {
    char name[64], *bytes = aligned_alloc(PAGE_BYTES, READ_BYTES);
    (void)part;
    snprintf(name, sizeof(name), "/proc/self/fd/%d", file);
    int direct = bytes ? open(name, O_RDONLY | O_DIRECT | O_CLOEXEC) : -1;
    if (direct < 0)
        truth_fail("the folder's file system refuses O_DIRECT");
    for (size_t at = 0; at < FILE_BYTES; at += READ_BYTES)
        TRUTH_OK(truth_errno(pread(direct, bytes, READ_BYTES, (off_t)at) < 0 ? -1 : 0));
    close(direct);
    free(bytes);
}

static void fault_file(struct part *part) {
    (void)part;
    volatile char *pages = mmap(NULL, FILE_BYTES, PROT_READ, MAP_SHARED, file, 0);
    TRUTH_OK(truth_errno(pages == MAP_FAILED ? -1 : 0));
    for (size_t at = 0; at < FILE_BYTES; at += FAULT_STRIDE)
        sink = pages[at];
    munmap((void *)pages, FILE_BYTES);
}

/* --- pages that somebody else has to bring ---------------------------------------------------------------
 */

static void late_prepare(void) {
    struct uffdio_api api = {.api = UFFD_API};
    late_fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    TRUTH_OK(truth_errno(late_fd < 0 ? -1 : 0));
    TRUTH_OK(truth_errno(ioctl(late_fd, UFFDIO_API, &api)));
    void *pages =
        mmap(NULL, LATE_PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TRUTH_OK(truth_errno(pages == MAP_FAILED ? -1 : 0));
    struct uffdio_register range = {
        .range = {.start = (uint64_t)(uintptr_t)pages, .len = LATE_PAGES * PAGE_BYTES},
        .mode = UFFDIO_REGISTER_MODE_MISSING};
    TRUTH_OK(truth_errno(ioctl(late_fd, UFFDIO_REGISTER, &range)));
    late_pages = pages;
}

static void late_bring(struct part *part) {
    static char page[PAGE_BYTES];
    (void)part;
    for (int i = 0; i < LATE_PAGES; i++) {
        struct uffd_msg message;
        TRUTH_OK(truth_errno(read(late_fd, &message, sizeof(message)) != sizeof(message) ? -1 : 0));
        usleep(LATE_US);
        struct uffdio_copy copy = {.dst = message.arg.pagefault.address & ~(PAGE_BYTES - 1),
                                   .src = (uint64_t)(uintptr_t)page,
                                   .len = PAGE_BYTES};
        TRUTH_OK(truth_errno(ioctl(late_fd, UFFDIO_COPY, &copy)));
    }
}

static void late_touch(struct part *part) {
    (void)part;
    for (size_t i = 0; i < LATE_PAGES; i++)
        sink = late_pages[i * PAGE_BYTES];
}

/* --- a holder that has no CPU ----------------------------------------------------------------------------
 */

static void crowd(struct part *part) {
    (void)part;
    pin();
    for (uint32_t i = 1; i <= HOLDS; i++) {
        truth_gate_await(&hogs_go, i);
        while (atomic_load_explicit(&holds_done, memory_order_relaxed) < i) /* [DONE] */
            ;
    }
}

/* The others on its CPU run only from when somebody waits for the lock until it is let go. */
static void hold_crowded(struct part *part) {
    pin();
    for (uint32_t i = 1; i <= HOLDS; i++) {
        TRUTH_OK(pthread_mutex_lock(&crowded_lock));
        truth_turn_open(&turns, i, 1);
        struct account from = account_read();
        truth_gate_add(&hogs_go, 1);
        burn(HOLD_CPU_NS);
        struct account to = account_read();
        TRUTH_OK(pthread_mutex_unlock(&crowded_lock));
        atomic_store_explicit(&holds_done, i, memory_order_relaxed); /* [DONE] */
        account_add(&part->held, &from, &to);
        truth_turn_close(&turns, i, 1);
    }
}

static void wait_crowded(struct part *part) {
    for (uint32_t i = 1; i <= HOLDS; i++) {
        truth_turn_come(&turns, i, 0);
        struct account from = account_read();
        TRUTH_OK(pthread_mutex_lock(&crowded_lock));
        struct account to = account_read();
        TRUTH_OK(pthread_mutex_unlock(&crowded_lock));
        account_add(&part->held, &from, &to);
        truth_turn_done(&turns);
    }
}

/* By acts: the threads of one act run together. */
static struct part parts[] = {
    {.name = "hog", .run = hog},
    {.name = "behind", .run = behind},
    {.name = "reader", .run = read_direct},
    {.name = "faulter", .run = fault_file},
    {.name = "bringer", .run = late_bring},
    {.name = "toucher", .run = late_touch},
    {.name = "crowd-1", .run = crowd},
    {.name = "crowd-2", .run = crowd},
    {.name = "holder", .run = hold_crowded},
    {.name = "waiter", .run = wait_crowded},
};
static const unsigned ACTS[] = {2, 1, 1, 2, 4};
#define PARTS (sizeof(parts) / sizeof(parts[0]))

static void *part_run(void *argument) {
    struct part *part = argument;
    struct rusage usage;
    part->began = account_read();
    part->tid = truth_tid();
    pthread_setname_np(pthread_self(), part->name);
    part->run(part);
    TRUTH_OK(truth_errno(getrusage(RUSAGE_THREAD, &usage)));
    part->faults = usage.ru_majflt;
    part->ended = account_read();
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t threads[PARTS];
    file_make(argc > 1 ? argv[1] : ".");
    late_prepare();
    for (size_t act = 0, first = 0; act < sizeof(ACTS) / sizeof(ACTS[0]); first += ACTS[act++]) {
        for (size_t i = first; i < first + ACTS[act]; i++)
            TRUTH_OK(pthread_create(&threads[i], NULL, part_run, &parts[i]));
        for (size_t i = first; i < first + ACTS[act]; i++)
            TRUTH_OK(pthread_join(threads[i], NULL));
    }
    printf("[");
    for (const struct part *part = parts; part < parts + PARTS; part++)
        printf("%s{\"name\":\"%s\",\"tid\":%d,\"begin\":%" PRIu64 ",\"end\":%" PRIu64 ",\"cpu\":%" PRIu64
               ",\"delay\":%" PRIu64 ",\"faults\":%ld,\"held\":{\"wall\":%" PRIu64 ",\"cpu\":%" PRIu64
               ",\"delay\":%" PRIu64 "}}",
               part == parts ? "" : ",", part->name, part->tid, part->began.now, part->ended.now,
               part->ended.cpu, part->ended.delay, part->faults, part->held.now, part->held.cpu,
               part->held.delay);
    printf("]\n");
    return 0;
}
