/* SPDX-License-Identifier: MIT */
/*
 * What taking a stack costs, ours beside libunwind's and glibc's ways, in turn in one process, for code
 * without frame pointers. Prints nanoseconds a stack, medians.
 *
 *     bench_stacks [ROUNDS]
 *
 *   memo   what the agent does for each wait: a hash for a name by unwind_memo_take(), looked up among those
 *          the thread has defined; the plain walk where the memo declines
 *   plain  unwind_walk() and the hash of what it gives
 *   The others give frames and no name.
 *
 * "again" takes one stack over and over; "leaf" has a new random choice of functions in its last four frames
 * each time, "other" in all of them.
 */
#define UNW_LOCAL_ONLY
#include <dlfcn.h>
#include <libunwind.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <x86intrin.h>

#include "agent/unwind.h"

#define FRAMES_MAX 128
#define DEPTH_MAX 64
#define AGAIN 200 /* stacks between two looks at the clock */
#define SAMPLES 4000
#define BATCH 200

static struct unwind_stack bounds;
static struct unwind_memo memo;
static uint64_t seen[128];
static void *frames[FRAMES_MAX];
static int (*glibc_backtrace)(void **, int);
static volatile uint64_t sink;
static int frames_taken;

/* --- the ways ------------------------------------------------------------------------------------------ */

static __attribute__((noinline)) int take_plain(const struct unwind_registers *registers,
                                                uint64_t *ret_hash) {
    bool complete;
    size_t count = unwind_walk(registers, &bounds, (uint64_t *)frames, FRAMES_MAX, &complete);
    *ret_hash = unwind_frames_hash((const uint64_t *)frames, count);
    return (int)count;
}

static __attribute__((noinline)) int way_plain(void) {
    struct unwind_registers registers;
    uint64_t hash;
    UNWIND_REGISTERS_HERE(&registers);
    int count = take_plain(&registers, &hash);
    sink += hash;
    return count;
}

static __attribute__((noinline)) int way_memo(void) {
    struct unwind_registers registers;
    UNWIND_REGISTERS_HERE(&registers);
    uint64_t hash = unwind_memo_take(&memo, &registers, &bounds);
    if (hash == 0)
        take_plain(&registers, &hash);
    if (seen[hash >> 57] != hash)
        seen[hash >> 57] = hash;
    sink += hash;
    return 0;
}

static __attribute__((noinline)) int way_unw_backtrace(void) {
    int count = unw_backtrace(frames, FRAMES_MAX);
    sink += (uint64_t)count;
    return count;
}

static __attribute__((noinline)) int way_unw_step(void) {
    unw_context_t context;
    unw_cursor_t cursor;
    int count = 0;
    unw_getcontext(&context);
    unw_init_local(&cursor, &context);
    do {
        unw_word_t pc;
        unw_get_reg(&cursor, UNW_REG_IP, &pc);
        frames[count++] = (void *)(uintptr_t)pc;
    } while (count < FRAMES_MAX && unw_step(&cursor) > 0);
    sink += (uint64_t)count;
    return count;
}

static __attribute__((noinline)) int way_glibc(void) {
    int count = glibc_backtrace(frames, FRAMES_MAX);
    sink += (uint64_t)count;
    return count;
}

static __attribute__((noinline)) int way_none(void) {
    return 0;
}

enum { WAY_NONE, WAY_MEMO, WAY_PLAIN, WAY_UNW_BACKTRACE, WAY_UNW_STEP, WAY_GLIBC, WAYS };
static const struct {
    const char *name;
    int (*take)(void);
    int every; /* slow ones take part in one batch of so many */
} ways[WAYS] = {
    {"", way_none, 1},
    {"memo", way_memo, 1},
    {"plain", way_plain, 1},
    {"unw_backtrace", way_unw_backtrace, 1},
    {"unw_step", way_unw_step, 20},
    {"glibc backtrace", way_glibc, 10},
};

/* --- stacks -------------------------------------------------------------------------------------------- */

static uint8_t path[DEPTH_MAX];
static int depth, way, repeats;
static double taken_ticks;

static __attribute__((noinline)) void leaf(void) {
    int (*take)(void) = ways[way].take;
    unsigned unused;
    _mm_lfence();
    uint64_t begin = __rdtsc();
    for (int i = 0; i < repeats; i++)
        frames_taken = take();
    uint64_t end = __rdtscp(&unused);
    _mm_lfence();
    taken_ticks = (double)(end - begin) / repeats;
}

static void descend(void);

#define FRAME(number)                                                                                        \
    static __attribute__((noinline)) void frame_##number(void) {                                             \
        volatile char local[8 + (number)*24];                                                                \
        local[0] = (char)number;                                                                             \
        descend();                                                                                           \
        sink += (uint64_t)local[0];                                                                          \
    }
#define FRAME_REGISTERS(number)                                                                              \
    static __attribute__((noinline)) void frame_##number(void) {                                             \
        uint64_t a = sink, b = a * (number), c = b ^ 5, d = c + a, e = d * b, f = e ^ c;                     \
        descend();                                                                                           \
        sink += a + b + c + d + e + f;                                                                       \
    }
FRAME(0)
FRAME(1)
FRAME(2)
FRAME(3)
FRAME(4)
FRAME(5)
FRAME(6)
FRAME(7)
FRAME_REGISTERS(8)
FRAME_REGISTERS(9)
FRAME_REGISTERS(10)
FRAME_REGISTERS(11)
FRAME_REGISTERS(12)
FRAME_REGISTERS(13)
FRAME_REGISTERS(14)
FRAME_REGISTERS(15)

static void (*const functions[])(void) = {
    frame_0, frame_1, frame_2,  frame_3,  frame_4,  frame_5,  frame_6,  frame_7,
    frame_8, frame_9, frame_10, frame_11, frame_12, frame_13, frame_14, frame_15,
};

/* Inlined into each function, so that each has a return address of its own. */
static inline __attribute__((always_inline)) void descend(void) {
    if (depth == 0) {
        leaf();
        return;
    }
    functions[path[--depth] & 15]();
    depth++;
}

static double stack_take(int use, int levels, int times) {
    way = use;
    repeats = times;
    depth = levels;
    functions[path[levels] & 15]();
    return taken_ticks;
}

enum mix { MIX_AGAIN, MIX_LEAF, MIX_OTHER, MIXES };

static int compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Each way takes the same BATCH stacks before the next one does, as a thread would that only does this. */
static void measure(enum mix mix, int levels, double ret_ticks[WAYS]) {
    static double values[WAYS][SAMPLES];
    static uint8_t paths[BATCH][DEPTH_MAX];
    int counts[WAYS] = {0};
    for (int j = 0; j < DEPTH_MAX; j++)
        path[j] = (uint8_t)rand();
    for (int batch = 0; batch < SAMPLES / BATCH; batch++) {
        for (int i = 0; i < BATCH; i++) {
            for (int j = 0; j < (mix == MIX_AGAIN ? 0 : mix == MIX_LEAF ? 4 : DEPTH_MAX); j++)
                path[j] = (uint8_t)rand();
            memcpy(paths[i], path, sizeof path);
        }
        for (int use = 0; use < WAYS; use++) {
            int stacks = batch % ways[use].every ? 0 : mix == MIX_AGAIN ? BATCH / 20 : BATCH;
            for (int i = 0; i < stacks; i++) {
                memcpy(path, paths[i], sizeof path);
                values[use][counts[use]++] =
                    stack_take(use, levels, mix != MIX_AGAIN || ways[use].every > 1 ? 1 : AGAIN);
            }
        }
    }
    for (int use = 0; use < WAYS; use++) {
        qsort(values[use], (size_t)counts[use], sizeof values[use][0], compare);
        ret_ticks[use] = values[use][counts[use] / 2];
    }
}

static double ticks_per_ns(void) {
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    uint64_t from = __rdtsc();
    double elapsed;
    do {
        clock_gettime(CLOCK_MONOTONIC, &end);
        elapsed = (double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec);
    } while (elapsed < 5e7);
    return (double)(__rdtsc() - from) / elapsed;
}

int main(int argc, char **argv) {
    static const int levels[] = {9, 19, 33};
    static const char *const titles[] = {"again", "4 leaf frames other", "all other"};
    int rounds = argc > 1 ? atoi(argv[1]) : 4;
    pthread_attr_t attr;
    void *low;
    size_t bytes;
    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getstack(&attr, &low, &bytes);
    pthread_attr_destroy(&attr);
    bounds = (struct unwind_stack){.low = (uint64_t)(uintptr_t)low, .high = (uint64_t)(uintptr_t)low + bytes};
    void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
    void *symbol = libc ? dlsym(libc, "backtrace") : NULL;
    if (!symbol || !unwind_prepare())
        return 1;
    memcpy(&glibc_backtrace, &symbol, sizeof symbol);

    double scale = ticks_per_ns(), figures[WAYS][MIXES][3];
    int counts[3];
    if (rounds < 1)
        rounds = 1;
    for (int size = 0; size < 3; size++) {
        stack_take(WAY_PLAIN, levels[size], 1);
        counts[size] = frames_taken;
        for (int mix = 0; mix < MIXES; mix++)
            for (int round = 0; round < rounds; round++) {
                double ticks[WAYS];
                measure((enum mix)mix, levels[size], ticks);
                for (int use = 1; use < WAYS; use++) {
                    double ns = (ticks[use] - ticks[WAY_NONE]) / scale;
                    if (round == 0 || ns < figures[use][mix][size])
                        figures[use][mix][size] = ns;
                }
            }
    }
    printf("ns a stack of %d / %d / %d frames\n%-16s", counts[0], counts[1], counts[2], "");
    for (int mix = 0; mix < MIXES; mix++)
        printf("  %-24s", titles[mix]);
    printf("\n");
    for (int use = 1; use < WAYS; use++) {
        printf("%-16s", ways[use].name);
        for (int mix = 0; mix < MIXES; mix++) {
            char cell[64];
            snprintf(cell, sizeof cell, "%.0f / %.0f / %.0f", figures[use][mix][0], figures[use][mix][1],
                     figures[use][mix][2]);
            printf("  %-24s", cell);
        }
        printf("\n");
    }
    return 0;
}
