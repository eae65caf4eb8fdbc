/* SPDX-License-Identifier: MIT */
/*
 * Knows where its own code and data are, and says so, for tests/unit/test_symbol.c: lines of
 *   frames <file address> <name>:<line> …   innermost first, one physical frame
 *   data <file address> <line of the declaration> <name>
 * with tabs between; every address is what it is in the file, in hexadecimal.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* dl_iterate_phdr */
#endif
#include <link.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <threads.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define NOTE(line)                                                                                           \
    do {                                                                                                     \
        (line) = __LINE__;                                                                                   \
        note_site();                                                                                         \
        __asm__ volatile("" ::: "memory");                                                                   \
    } while (0)

struct pool {
    int id;
    pthread_mutex_t lock;
};

struct stats {
    long total;
    struct shard {
        long count;
        pthread_mutex_t mu;
    } shards[6];
};

typedef pthread_spinlock_t guard_t;

enum { LINES_FROM = __LINE__ + 1 };
pthread_mutex_t ledger_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t M[4];
static struct pool pools[3];
static pthread_mutex_t grid[3][5];
struct stats stats;
static struct {
    char first;
    union {
        long words[9];
        pthread_rwlock_t rw;
    };
    sem_t sem;
} boxed;
static volatile guard_t spin;
static struct { pthread_cond_t cells[2][2]; } boards[2];
static mtx_t plain;
static int *const volatile pointer;
static long numbers[7];

static uintptr_t site, bias;
static int leaf_line, middle_line, outer_line;

static NOINLINE void note_site(void) {
    site = (uintptr_t)__builtin_return_address(0) - 1;
}

ALWAYS_INLINE void leaf(void) {
    NOTE(leaf_line);
}

ALWAYS_INLINE void middle(int deep) {
    if (deep) {
        middle_line = __LINE__ + 1;
        leaf();
    } else {
        NOTE(middle_line);
    }
}

NOINLINE void outer(int deep) {
    outer_line = __LINE__ + 1;
    middle(deep);
    __asm__ volatile("" ::: "memory");
}

static void say_data(int line, const char *name, const volatile void *address) {
    printf("data\t%lx\t%d\t%s\n", (unsigned long)((uintptr_t)address - bias), line, name);
}

static NOINLINE void worker(void) {
    static pthread_mutex_t own;
    {
        static struct pool inner[2];
        say_data(__LINE__ - 1, "worker()::inner[1].lock", &inner[1].lock);
    }
    say_data(__LINE__ - 5, "worker()::own", &own);
}

static int first_object(struct dl_phdr_info *info, size_t size, void *argument) {
    (void)size;
    (void)argument;
    bias = info->dlpi_addr;
    return 1;
}

int main(void) {
    dl_iterate_phdr(first_object, NULL);
    outer(1);
    printf("frames\t%lx\tleaf:%d\tmiddle:%d\touter:%d\n", (unsigned long)(site - bias), leaf_line,
           middle_line, outer_line);
    outer(0);
    printf("frames\t%lx\tmiddle:%d\touter:%d\n", (unsigned long)(site - bias), middle_line, outer_line);
    int main_line;
    NOTE(main_line);
    printf("frames\t%lx\tmain:%d\n", (unsigned long)(site - bias), main_line);

    say_data(LINES_FROM, "ledger_lock", &ledger_lock);
    say_data(LINES_FROM, "ledger_lock", (char *)&ledger_lock + 8);
    say_data(LINES_FROM + 1, "M[3]", &M[3]);
    say_data(LINES_FROM + 1, "M[0]", &M[0]);
    say_data(LINES_FROM + 2, "pools[2].lock", &pools[2].lock);
    say_data(LINES_FROM + 2, "pools[1].id", &pools[1].id);
    say_data(LINES_FROM + 3, "grid[2][4]", &grid[2][4]);
    say_data(LINES_FROM + 3, "grid[1][0]", &grid[1][0]);
    say_data(LINES_FROM + 4, "stats.shards[4].mu", &stats.shards[4].mu);
    say_data(LINES_FROM + 4, "stats.total", &stats.total);
    say_data(LINES_FROM + 12, "boxed.rw", &boxed.rw);
    say_data(LINES_FROM + 12, "boxed.words[8]", &boxed.words[8]);
    say_data(LINES_FROM + 12, "boxed.sem", &boxed.sem);
    say_data(LINES_FROM + 13, "spin", &spin);
    say_data(LINES_FROM + 14, "boards[1].cells[1][0]", &boards[1].cells[1][0]);
    say_data(LINES_FROM + 15, "plain", &plain);
    say_data(LINES_FROM + 16, "pointer", &pointer);
    say_data(LINES_FROM + 17, "numbers[6]", &numbers[6]);
    worker();
    return 0;
}
