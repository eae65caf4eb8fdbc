/* SPDX-License-Identifier: MIT */
/*
 * The agent's unwinder against libunwind, frame by frame, on random stacks: frames of many shapes without
 * frame pointers, dynamic and realigned frames, libc in the middle, a signal handler on top, an alternate
 * stack. Built with -fomit-frame-pointer.
 */
#define UNW_LOCAL_ONLY
#include <alloca.h>
#include <libunwind.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <ucontext.h>
#include <unistd.h>

#include "agent/unwind.h"
#include "check.h"

#define DEPTH_MAX 40
#define FRAMES_MAX 128

static uint8_t path[DEPTH_MAX];
static unsigned depth;
static volatile uint64_t sink;
static struct unwind_stack stack_bounds;

static unsigned stacks_compared, stacks_different, stacks_incomplete, frames_compared;

/* What each unwinder saw, the frames of this function left out. */
static __attribute__((noinline)) void compare_here(void) {
    uint64_t ours[FRAMES_MAX], theirs[FRAMES_MAX];
    struct unwind_registers registers;
    bool complete;

    UNWIND_REGISTERS_HERE(&registers);
    size_t our_count = unwind_walk(&registers, &stack_bounds, ours, FRAMES_MAX, &complete);

    unw_context_t context;
    unw_cursor_t cursor;
    size_t their_count = 0;
    unw_getcontext(&context);
    unw_init_local(&cursor, &context);
    do {
        unw_word_t pc;
        unw_get_reg(&cursor, UNW_REG_IP, &pc);
        theirs[their_count++] = pc;
    } while (their_count < FRAMES_MAX && unw_step(&cursor) > 0);

    /* libunwind reports the null return address of some outermost frames as a frame of its own. */
    while (their_count && theirs[their_count - 1] == 0)
        their_count--;
    stacks_compared++;
    stacks_incomplete += !complete;
    bool same = our_count == their_count;
    for (size_t i = 1; same && i < our_count; i++)
        same = ours[i] == theirs[i];
    frames_compared += (unsigned)our_count;
    if (!same && stacks_different++ < 3) {
        fprintf(stderr, "ours %zu frames, libunwind %zu:\n", our_count, their_count);
        for (size_t i = 0; i < our_count || i < their_count; i++)
            fprintf(stderr, "  %#18llx %#18llx\n", i < our_count ? (unsigned long long)ours[i] : 0ULL,
                    i < their_count ? (unsigned long long)theirs[i] : 0ULL);
    }
}

static void descend(void);

#define SHAPE(name, bytes)                                                                                   \
    static __attribute__((noinline)) void name(void) {                                                       \
        volatile char local[bytes];                                                                          \
        local[0] = (char)sink;                                                                               \
        descend();                                                                                           \
        sink += (unsigned char)local[0];                                                                     \
    }
SHAPE(shape_8, 8)
SHAPE(shape_40, 40)
SHAPE(shape_200, 200)
SHAPE(shape_1000, 1000)

/* Callee-saved registers, rbp among them, live across the call. */
static __attribute__((noinline)) void shape_registers(void) {
    uint64_t a = sink, b = a * 3, c = b ^ 5, d = c + a, e = d * b, f = e ^ c;
    descend();
    sink += a + b + c + d + e + f;
}

static __attribute__((noinline)) void shape_dynamic(void) {
    size_t bytes = 16 + (sink & 255);
    volatile char *local = alloca(bytes);
    local[0] = 1;
    descend();
    sink += (unsigned char)local[0];
}

static __attribute__((noinline)) void shape_realigned(void) {
    _Alignas(64) volatile char local[64];
    size_t bytes = 16 + (sink & 63);
    volatile char *dynamic = alloca(bytes);
    local[0] = dynamic[0] = 1;
    descend();
    sink += (unsigned char)(local[0] + dynamic[0]);
}

static int sort_callback(const void *left, const void *right) {
    (void)left;
    (void)right;
    descend(); /* two elements are compared once */
    return 0;
}

static __attribute__((noinline)) void shape_libc(void) {
    int values[2] = {1, 2};
    qsort(values, 2, sizeof(values[0]), sort_callback);
    sink += (uint64_t)values[0];
}

static void handler(int number) {
    (void)number;
    descend();
}

static __attribute__((noinline)) void shape_signal(void) {
    raise(SIGUSR1);
    sink++;
}

static void (*const shapes[])(void) = {
    shape_8,         shape_40,   shape_200,       shape_1000,    shape_registers, shape_dynamic,
    shape_realigned, shape_libc, shape_registers, shape_dynamic, shape_40,        shape_signal,
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static __attribute__((noinline)) void descend(void) {
    if (depth == 0) {
        compare_here();
        return;
    }
    depth--;
    shapes[path[depth] % SHAPES]();
    sink++;
    depth++;
}

static void bounds_of_this_thread(void) {
    pthread_attr_t attr;
    void *low;
    size_t bytes;
    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getstack(&attr, &low, &bytes);
    pthread_attr_destroy(&attr);
    stack_bounds = (struct unwind_stack){(uint64_t)(uintptr_t)low, (uint64_t)(uintptr_t)low + bytes};
}

static void run_random_stacks(unsigned count) {
    bounds_of_this_thread();
    for (unsigned i = 0; i < count; i++) {
        unsigned signals = 0;
        for (unsigned j = 0; j < DEPTH_MAX; j++) {
            path[j] = (uint8_t)rand();
            if (path[j] % SHAPES == SHAPES - 1 && signals++ > 0)
                path[j] = 1; /* one signal frame a stack */
        }
        depth = 1 + (unsigned)rand() % (DEPTH_MAX - 1);
        shapes[path[depth] % SHAPES]();
    }
}

static void *thread_main(void *argument) {
    run_random_stacks(*(unsigned *)argument);
    return NULL;
}

static ucontext_t coroutine, back;

static void coroutine_main(void) {
    for (unsigned i = 0; i < 50; i++) {
        for (unsigned j = 0; j < DEPTH_MAX; j++)
            path[j] = (uint8_t)(rand() % 7);
        depth = 1 + (unsigned)rand() % 14; /* a walk through the kernel is short */
        shape_40();
    }
    swapcontext(&coroutine, &back);
}

/* A stack that the thread's bounds do not cover is read through the kernel: right, and never a crash. */
static void run_coroutine(void) {
    char *memory = malloc(256 << 10);
    getcontext(&coroutine);
    coroutine.uc_stack.ss_sp = memory;
    coroutine.uc_stack.ss_size = 256 << 10;
    coroutine.uc_link = &back;
    makecontext(&coroutine, coroutine_main, 0);
    swapcontext(&back, &coroutine);
    free(memory);
}

static void handler_alternate(int number) {
    (void)number;
    compare_here();
}

static void run_alternate_stack(void) {
    stack_t stack = {.ss_sp = malloc(128 << 10), .ss_size = 128 << 10};
    struct sigaction action = {.sa_handler = handler_alternate, .sa_flags = SA_ONSTACK};
    sigaltstack(&stack, NULL);
    sigaction(SIGUSR2, &action, NULL);
    for (unsigned i = 0; i < 20; i++)
        raise(SIGUSR2);
    void *memory = stack.ss_sp;
    stack = (stack_t){.ss_flags = SS_DISABLE};
    sigaltstack(&stack, NULL);
    free(memory);
}

/* Registers and memory that make no sense end a walk; they never fault. */
static void run_garbage(void) {
    uint64_t frames[FRAMES_MAX], memory[512];
    bool complete;
    for (unsigned i = 0; i < 20000; i++) {
        for (unsigned j = 0; j < 512; j++)
            memory[j] = rand() % 3
                            ? (uint64_t)(uintptr_t)&memory[rand() % 512]
                            : (uint64_t)(uintptr_t)shapes[(unsigned)rand() % SHAPES] + (unsigned)rand() % 64;
        struct unwind_registers registers = {
            .pc = (uint64_t)(uintptr_t)shapes[(unsigned)rand() % SHAPES] + (unsigned)rand() % 64,
            .sp = (uint64_t)(uintptr_t)&memory[rand() % 512] + (rand() % 4 ? 0 : 3),
            .bp = rand() % 2 ? (uint64_t)(uintptr_t)&memory[rand() % 512] : (uint64_t)rand(),
        };
        struct unwind_stack stack = {(uint64_t)(uintptr_t)memory, (uint64_t)(uintptr_t)(memory + 512)};
        size_t count = unwind_walk(&registers, &stack, frames, FRAMES_MAX, &complete);
        if (count == 0 || count > FRAMES_MAX)
            CHECK(count > 0 && count <= FRAMES_MAX);
    }
}

int main(void) {
    unsigned count = 10000;
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_NODEFER};
    sigaction(SIGUSR1, &action, NULL);
    if (!CHECK(unwind_prepare()))
        return check_summary();
    srand(1);
    run_random_stacks(count);
    pthread_t thread;
    pthread_create(&thread, NULL, thread_main, &count);
    pthread_join(thread, NULL);
    CHECK_EQ_INT(stacks_incomplete, 0);
    unsigned before = stacks_compared;
    printf("%u stacks, %u frames: %u differ from libunwind's, %u incomplete\n", stacks_compared,
           frames_compared, stacks_different, stacks_incomplete);
    CHECK(before >= 2 * count);

    bounds_of_this_thread();
    run_coroutine();
    run_alternate_stack();
    unwind_flush();
    run_random_stacks(100);
    CHECK_EQ_INT(stacks_different, 0);
    run_garbage();
    return check_summary();
}
