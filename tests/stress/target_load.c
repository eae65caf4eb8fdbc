/* SPDX-License-Identifier: MIT */
/*
 * What the stress programs run, bare or recorded. It never knows which of the two it is, and says what it did
 * on standard output, a line each; where its driver has to look at it at a certain moment it waits for a line
 * on standard input.
 *
 *     target_load crowd THREADS          as many threads at once, each of which has waited once and is idle
 *     target_load churn THREADS BATCH    as many threads one after another, BATCH at a time
 *     target_load locks LOCKS STEP       as many locks made, used and forgotten at reused addresses, with a
 * look every STEP target_load forks FORKS            as many children, forked while locks are held and memory
 * is allocated target_load victims CHILDREN FILE  as many children that record without end and are killed at
 * some moment; FILE is a struct victims of what each had recorded target_load burst THREADS EVENTS   as many
 * recorded events by as many threads, as fast as can be target_load steady EVENTS          as many events at
 * a rate, and a sum of its own target_load limited THREADS BYTES  as crowd, where no file may be longer than
 * BYTES
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "victims.h"

#define STACK_BYTES 65536U

static void die(const char *what) {
    fprintf(stderr, "target_load: %s: %s\n", what, strerror(errno));
    exit(99);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

static uint64_t cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

/* Lets the driver look; the time it takes is not counted. */
static uint64_t pause_at(const char *where) {
    char line[16];
    uint64_t before = now_ns();
    printf("%s\n", where);
    fflush(stdout);
    if (!fgets(line, sizeof(line), stdin))
        exit(98); /* the driver is gone */
    return now_ns() - before;
}

static void figures_print(uint64_t wall, uint64_t cpu) {
    printf("done %llu %llu\n", (unsigned long long)wall, (unsigned long long)cpu);
    fflush(stdout);
}

static pthread_t thread_start(void *(*routine)(void *), void *argument) {
    static pthread_attr_t attributes;
    static int known;
    pthread_t thread;
    if (!known) {
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
        known = 1;
    }
    errno = pthread_create(&thread, &attributes, routine, argument);
    if (errno != 0)
        die("pthread_create");
    return thread;
}

/* --- crowd ---------------------------------------------------------------------------------------- */

static sem_t arrived;

struct member {
    pthread_t thread;
    sem_t first, second;
};

static void *member_run(void *argument) {
    struct member *member = argument;
    sem_post(&arrived);
    sem_wait(&member->first);
    sem_post(&arrived);
    sem_wait(&member->second);
    return NULL;
}

static void arrivals_await(long count) {
    while (count-- > 0)
        sem_wait(&arrived);
}

static int crowd(long count) {
    struct member *members = calloc((size_t)count, sizeof(*members));
    if (!members)
        die("calloc");
    uint64_t begin = now_ns(), paused = 0;
    sem_init(&arrived, 0, 0);
    for (long i = 0; i < count; i++) {
        sem_init(&members[i].first, 0, 0);
        sem_init(&members[i].second, 0, 0);
        members[i].thread = thread_start(member_run, &members[i]);
    }
    arrivals_await(count);
    paused += pause_at("born");
    for (long i = 0; i < count; i++)
        sem_post(&members[i].first);
    arrivals_await(count);
    paused += pause_at("idle");
    for (long i = 0; i < count; i++)
        sem_post(&members[i].second);
    for (long i = 0; i < count; i++)
        pthread_join(members[i].thread, NULL);
    figures_print(now_ns() - begin - paused, cpu_ns());
    free(members);
    return 0;
}

/* --- churn ---------------------------------------------------------------------------------------- */

static pthread_mutex_t churn_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t churn_sum;

static void *drop_run(void *argument) {
    pthread_mutex_lock(&churn_lock);
    churn_sum++;
    pthread_mutex_unlock(&churn_lock);
    return argument;
}

static int churn(long count, long batch) {
    pthread_t threads[256];
    uint64_t paused = 0, begin = now_ns();
    if (batch < 1 || batch > 256)
        return 97;
    for (long started = 0; started < count;) {
        long n = count - started < batch ? count - started : batch;
        for (long i = 0; i < n; i++)
            threads[i] = thread_start(drop_run, NULL);
        for (long i = 0; i < n; i++)
            pthread_join(threads[i], NULL);
        /* One look after a tenth, one at the end. */
        if (started < count / 10 && started + n >= count / 10)
            paused += pause_at("early");
        started += n;
    }
    uint64_t wall = now_ns() - begin - paused;
    pause_at("late");
    figures_print(wall, cpu_ns());
    return churn_sum == (uint64_t)count ? 0 : 96;
}

/* --- locks ---------------------------------------------------------------------------------------- */

#define ARENA_LOCKS 1024

static sem_t end;

static void *idle_run(void *argument) {
    sem_wait(&end);
    return argument;
}

/* Lock number n lies at arena[n % ARENA_LOCKS] and is taken 1 + n % 3 times. */
static int locks(long count, long step) {
    static pthread_mutex_t arena[ARENA_LOCKS];
    uint64_t paused = 0, begin = now_ns();
    sem_init(&end, 0, 0);
    pthread_t idle = thread_start(idle_run, NULL); /* glibc has a shorter way while there is one thread */
    printf("arena %llx %zu\n", (unsigned long long)(uintptr_t)arena, sizeof(arena[0]));
    for (long n = 0; n < count; n += ARENA_LOCKS) {
        for (long i = 0; i < ARENA_LOCKS && n + i < count; i++)
            pthread_mutex_init(&arena[i], NULL);
        for (long i = 0; i < ARENA_LOCKS && n + i < count; i++) {
            for (long times = 1 + (n + i) % 3; times > 0; times--) {
                pthread_mutex_lock(&arena[i]);
                pthread_mutex_unlock(&arena[i]);
            }
        }
        for (long i = 0; i < ARENA_LOCKS && n + i < count; i++)
            pthread_mutex_destroy(&arena[i]);
        if (n / step != (n + ARENA_LOCKS) / step && n + ARENA_LOCKS < count)
            paused += pause_at("look");
    }
    uint64_t wall = now_ns() - begin - paused;
    pause_at("last");
    sem_post(&end);
    pthread_join(idle, NULL);
    figures_print(wall, cpu_ns());
    return 0;
}

/* --- forks ---------------------------------------------------------------------------------------- */

static pthread_mutex_t busy_lock = PTHREAD_MUTEX_INITIALIZER, child_lock = PTHREAD_MUTEX_INITIALIZER;
static volatile int over;

/* Holds its lock nearly always, and the allocator's often. */
static void *busy_run(void *argument) {
    uint64_t *taken = argument;
    while (!over) {
        pthread_mutex_lock(&busy_lock);
        void *memory = malloc(100 + *taken % 5000);
        for (volatile int i = 0; i < 200; i++)
            continue;
        free(memory);
        pthread_mutex_unlock(&busy_lock);
        if (++*taken % 16 == 0)
            usleep(20);
    }
    return NULL;
}

static int forks(long count) {
    uint64_t taken[2] = {0, 0}, begin = now_ns();
    pthread_t busy[2] = {thread_start(busy_run, &taken[0]), thread_start(busy_run, &taken[1])};
    for (long i = 0; i < count; i++) {
        int status = 0;
        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid == 0) {
            free(malloc(1000));
            for (int times = 0; times < 3; times++) {
                pthread_mutex_lock(&child_lock);
                pthread_mutex_unlock(&child_lock);
            }
            _exit(7);
        }
        alarm(60); /* a child that hangs is a deadlock: the signal's end is seen by the driver */
        if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 7)
            return 94;
        alarm(0);
    }
    over = 1;
    pthread_join(busy[0], NULL);
    pthread_join(busy[1], NULL);
    printf("taken %llu %llx %llx\n", (unsigned long long)(taken[0] + taken[1]),
           (unsigned long long)(uintptr_t)&busy_lock, (unsigned long long)(uintptr_t)&child_lock);
    figures_print(now_ns() - begin, cpu_ns());
    return 0;
}

/* --- events ---------------------------------------------------------------------------------------- */

/* One wait record, no more and no less: a timed wait for a mutex that another thread holds, given up. */
static void event_make(pthread_mutex_t *held) {
    static const struct timespec long_ago = {1, 0};
    if (pthread_mutex_timedlock(held, &long_ago) != ETIMEDOUT)
        abort();
}

static pthread_mutex_t held_lock = PTHREAD_MUTEX_INITIALIZER;

/* Not by libc's function: that would be an event as well. */
static void rest_us(long us) {
    struct timespec pause = {0, us * 1000};
    syscall(SYS_nanosleep, &pause, NULL);
}

static void *victim_run(void *argument) {
    struct victim_thread *own = argument;
    for (;;) {
        event_make(&held_lock);
        /* After the event: a kill in between makes the trace's count one higher. */
        __atomic_store_n(&own->events, own->events + 1, __ATOMIC_RELEASE);
        if (own->events % 64 == 0)
            rest_us(100);
    }
    return NULL;
}

static void victim(struct victim *own) {
    pthread_mutex_lock(&held_lock);
    for (int i = 0; i < VICTIM_THREADS; i++)
        thread_start(victim_run, &own->threads[i]);
    for (;;)
        pause();
}

static int victims(long count, const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    size_t bytes = (size_t)count * sizeof(struct victim);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0)
        die(path);
    struct victim *shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED)
        die("mmap");
    unsigned random = (unsigned)getpid();
    for (long i = 0; i < count; i++) {
        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid == 0)
            victim(&shared[i]);
        shared[i].pid = (uint32_t)pid;
        random = random * 1664525U + 1013904223U;
        rest_us(random >> 18); /* up to 16 ms: before its first event, or in the midst */
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    printf("done\n");
    return 0;
}

static long burst_events;

static void *burst_run(void *argument) {
    for (long i = 0; i < burst_events; i++)
        event_make(&held_lock);
    return argument;
}

static int burst(long threads, long events) {
    pthread_t all[64];
    if (threads > 64)
        return 93;
    burst_events = events;
    pthread_mutex_lock(&held_lock);
    pause_at("ready");
    for (long i = 0; i < threads; i++)
        all[i] = thread_start(burst_run, NULL);
    for (long i = 0; i < threads; i++)
        pthread_join(all[i], NULL);
    pause_at("done");
    return 0;
}

static void *steady_run(void *argument) {
    uint64_t *sum = argument;
    for (long i = 0; i < burst_events; i++) {
        event_make(&held_lock);
        *sum += (uint64_t)i;
        if (i % 64 == 0)
            usleep(500);
    }
    return NULL;
}

static int steady(long events) {
    uint64_t sum = 0;
    burst_events = events;
    pthread_mutex_lock(&held_lock);
    printf("pid %d\n", (int)getpid());
    fflush(stdout);
    pthread_join(thread_start(steady_run, &sum), NULL);
    /* A thread that begins when the collector is dead, and a child. */
    for (int i = 0; i < 200; i++)
        pthread_join(thread_start(drop_run, NULL), NULL);
    pid_t pid = fork();
    if (pid == 0) {
        drop_run(NULL);
        _exit(5);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    printf("sum %llu %d\n", (unsigned long long)sum, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    return 0;
}

/* --- limits ----------------------------------------------------------------------------------------- */

/* Room in a file for one slot: every further slab has just that. */
static int limited(long count, long bytes) {
    struct rlimit limit = {(rlim_t)bytes, (rlim_t)bytes};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        die("setrlimit");
    return crowd(count);
}

int main(int argc, char **argv) {
    long numbers[2] = {0, 0};
    for (int i = 2; i < argc && i < 4; i++)
        numbers[i - 2] = strtol(argv[i], NULL, 10);
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "crowd") == 0)
        return crowd(numbers[0]);
    if (strcmp(what, "churn") == 0)
        return churn(numbers[0], numbers[1]);
    if (strcmp(what, "locks") == 0)
        return locks(numbers[0], numbers[1]);
    if (strcmp(what, "forks") == 0)
        return forks(numbers[0]);
    if (strcmp(what, "victims") == 0 && argc > 3)
        return victims(numbers[0], argv[3]);
    if (strcmp(what, "burst") == 0)
        return burst(numbers[0], numbers[1]);
    if (strcmp(what, "steady") == 0)
        return steady(numbers[0]);
    if (strcmp(what, "limited") == 0)
        return limited(numbers[0], numbers[1]);
    fprintf(stderr, "target_load: what?\n");
    return 95;
}
