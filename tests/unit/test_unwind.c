/* SPDX-License-Identifier: MIT */
/*
 * The agent's unwinder against libunwind, frame by frame, on random stacks, and its memo against its plain
 * walk on each of them: frames of many shapes without frame pointers, dynamic and realigned frames, libc in
 * the middle, a signal handler on top, an alternate stack; stacks that share their root, that longjmp and
 * exceptions cut short, that libraries come and go on. Built with -fomit-frame-pointer and -fexceptions.
 */
#define UNW_LOCAL_ONLY
#include <alloca.h>
#include <dlfcn.h>
#include <libunwind.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include "agent/unwind.h"
#include "agent/unwind_step.h"
#include "check.h"

#define DEPTH_MAX 40
#define FRAMES_MAX 512

static uint8_t path[DEPTH_MAX + 1];
static unsigned look_at = UINT32_MAX; /* compare on the way down at this depth as well */
static unsigned depth;
static volatile uint64_t sink;
static struct unwind_stack stack_bounds;

static unsigned stacks_compared, stacks_different, stacks_incomplete, frames_compared;
static unsigned memos_taken, memos_different;
static void (*leave)(int); /* instead of returning from the leaf */
static char *exception_floor;
static __thread struct unwind_memo memo;

/* What libunwind sees from here, its caller's frame first. */
static __attribute__((noinline)) size_t frames_of_libunwind(uint64_t *ret_frames) {
    unw_context_t context;
    unw_cursor_t cursor;
    size_t count = 0;
    unw_getcontext(&context);
    unw_init_local(&cursor, &context);
    while (count < FRAMES_MAX && unw_step(&cursor) > 0) {
        unw_word_t pc;
        unw_get_reg(&cursor, UNW_REG_IP, &pc);
        ret_frames[count++] = pc;
    }
    /* libunwind reports the null return address of some outermost frames as a frame of its own. */
    while (count && ret_frames[count - 1] == 0)
        count--;
    return count;
}

/* The memo may decline, but what it says is what the plain walk says. */
static void memo_compare(const struct unwind_registers *registers, const struct unwind_stack *stack,
                         const uint64_t *frames, size_t count, bool complete) {
    uint64_t remembered[UNWIND_MEMO_FRAMES];
    bool remembered_complete;
    memo.pause = 0;
    uint64_t hash = unwind_memo_take(&memo, registers, stack);
    if (!hash)
        return;
    memos_taken++;
    size_t remembered_count = unwind_memo_frames(&memo, remembered, &remembered_complete);
    if (hash == unwind_frames_hash(frames, count) && remembered_count == count &&
        remembered_complete == complete && memcmp(remembered, frames, count * 8) == 0)
        return;
    if (memos_different++ < 3) {
        fprintf(stderr, "memo %zu frames, plain %zu:\n", remembered_count, count);
        for (size_t i = 0; i < count || i < remembered_count; i++)
            fprintf(stderr, "  %#18llx %#18llx\n",
                    i < remembered_count ? (unsigned long long)remembered[i] : 0ULL,
                    i < count ? (unsigned long long)frames[i] : 0ULL);
    }
}

/* What each unwinder saw, the frames of this function left out. */
static __attribute__((noinline)) void compare_here(void) {
    uint64_t ours[FRAMES_MAX], theirs[FRAMES_MAX];
    struct unwind_registers registers;
    bool complete;

    UNWIND_REGISTERS_HERE(&registers);
    size_t our_count = unwind_walk(&registers, &stack_bounds, ours, FRAMES_MAX, &complete);
    size_t their_count = frames_of_libunwind(theirs);
    memo_compare(&registers, &stack_bounds, ours, our_count, complete);
    memo_compare(&registers, &stack_bounds, ours, our_count, complete);

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
        if (leave)
            leave(0);
        compare_here();
        return;
    }
    if (depth == look_at)
        compare_here();
    depth--;
    shapes[path[depth] % SHAPES]();
    if (depth == look_at)
        compare_here();
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
    stack_bounds =
        (struct unwind_stack){.low = (uint64_t)(uintptr_t)low, .high = (uint64_t)(uintptr_t)low + bytes};
}

static uint8_t path_step(unsigned *signals) {
    uint8_t step = (uint8_t)rand();
    return step % SHAPES == SHAPES - 1 && (*signals)++ > 0 ? 1 : step; /* one signal frame a stack */
}

static void run_random_stacks(unsigned count) {
    bounds_of_this_thread();
    for (unsigned i = 0; i < count; i++) {
        unsigned signals = 0;
        for (unsigned j = 0; j < DEPTH_MAX; j++)
            path[j] = path_step(&signals);
        depth = 1 + (unsigned)rand() % (DEPTH_MAX - 1);
        shapes[path[depth] % SHAPES]();
    }
}

/* The same root, and up to six other frames at the leaf; looked at from further up now and then. */
static void run_other_leaves(unsigned count) {
    unsigned taken = memos_taken, signals = 0;
    for (unsigned i = 0; i < count; i++) {
        if (i % 50 == 0) {
            signals = 0;
            for (unsigned j = 6; j < DEPTH_MAX; j++)
                path[j] = path_step(&signals);
        }
        unsigned leaf_signals = signals;
        for (unsigned j = 0; j < 1U + (unsigned)rand() % 6; j++)
            path[j] = path_step(&leaf_signals);
        for (unsigned j = 0; leaf_signals > 1 && j < 6; j++) /* one may have stayed from before */
            path[j] = path[j] % SHAPES == SHAPES - 1 ? 1 : path[j];
        look_at = i % 3 ? UINT32_MAX : (unsigned)rand() % DEPTH_MAX;
        depth = DEPTH_MAX - 1 - (i % 7 == 0);
        shapes[path[depth] % SHAPES]();
    }
    look_at = UINT32_MAX;
    CHECK(memos_taken - taken > count);
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
        struct unwind_stack stack = {.low = (uint64_t)(uintptr_t)memory,
                                     .high = (uint64_t)(uintptr_t)(memory + 512)};
        size_t count = unwind_walk(&registers, &stack, frames, FRAMES_MAX, &complete);
        if (count == 0 || count > FRAMES_MAX)
            CHECK(count > 0 && count <= FRAMES_MAX);
    }
}

/* --- what changes stacks behind the unwinder's back --------------------------------------------------- */

static jmp_buf jump;

static void jump_back(int number) {
    (void)number;
    compare_here();
    longjmp(jump, 1);
}

/* Frames are left without returning, and others take their place. */
static void run_jumps(unsigned count) {
    for (volatile unsigned i = 0; i < count; i++) {
        unsigned signals = 1;
        for (unsigned j = 0; j < DEPTH_MAX; j++)
            path[j] = path_step(&signals);
        if (setjmp(jump) == 0) {
            leave = i % 2 ? jump_back : NULL;
            depth = 1 + (unsigned)rand() % (DEPTH_MAX - 1);
            shapes[path[depth] % SHAPES]();
        }
        leave = NULL;
        compare_here();
    }
}

static void cleanup_look(volatile char (*unused)[16]) {
    (void)unused;
    compare_here();
}

static __attribute__((noinline)) void throwing(unsigned levels);

static _Unwind_Reason_Code forced_stop(int version, _Unwind_Action actions, _Unwind_Exception_Class type,
                                       struct _Unwind_Exception *exception, struct _Unwind_Context *context,
                                       void *argument) {
    (void)version, (void)type, (void)exception, (void)argument;
    if (_Unwind_GetCFA(context) > (uintptr_t)exception_floor || (actions & _UA_END_OF_STACK))
        longjmp(jump, 1);
    return _URC_NO_REASON;
}

/* Each level has a landing pad, where the stack is looked at while the exception goes up. */
static __attribute__((noinline)) void throwing(unsigned levels) {
    __attribute__((cleanup(cleanup_look))) volatile char local[16] = {(char)levels};
    if (levels == 0) {
        static struct _Unwind_Exception exception;
        memset(&exception, 0, sizeof(exception));
        compare_here();
        _Unwind_ForcedUnwind(&exception, forced_stop, NULL);
    } else {
        throwing(levels - 1);
    }
    sink += (unsigned char)local[0];
}

static __attribute__((noinline)) void run_exceptions(unsigned count) {
    exception_floor = __builtin_frame_address(0);
    for (volatile unsigned i = 0; i < count; i++)
        if (setjmp(jump) == 0)
            throwing(1 + i % 9);
}

static __attribute__((noinline)) void recurse(unsigned levels) {
    if (levels == 0)
        compare_here();
    else
        recurse(levels - 1);
    if (levels % 61 == 60)
        compare_here();
    sink++;
}

/* Past what the memo holds, past what a record of a stack holds, and back. */
static void run_recursion(void) {
    static const unsigned levels[] = {10,  100, 115, 116, 117, 118, 119, 120,
                                      121, 122, 125, 130, 300, 118, 20};
    for (unsigned i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
        recurse(levels[i]);
}

/* Two libraries that take each other's place in memory: a frame of the second looks like one of the first. */
static void run_libraries(unsigned count) {
    uint64_t places[2] = {0, 0};
    unsigned same_place = 0;
    for (unsigned i = 0; i < count; i++) {
        void *library = dlopen(i % 2 ? UNWIND_LIBRARY_2 : UNWIND_LIBRARY_1, RTLD_NOW);
        if (!CHECK(library != NULL))
            return;
        void *symbol = dlsym(library, "library_call");
        void (*call)(void (*)(void));
        memcpy(&call, &symbol, sizeof(call));
        places[i % 2] = (uint64_t)(uintptr_t)symbol;
        same_place += i > 0 && places[0] == places[1];
        call(compare_here);
        dlclose(library);
        unwind_flush(); /* as the agent's hook does */
        unw_flush_cache(unw_local_addr_space, 0, 0);
    }
    CHECK(same_place > 0);
}

/* --- code that compilers do not write ----------------------------------------------------------------- */

/* The CFA by a callee-saved register, as in ld.so's lazy binding; by a saved rsp, and by r11 when a signal
 * comes, as in OpenSSL. */
void call_by_rbx(void (*function)(void));
void call_by_saved(void (*function)(void));
void trap_by_r11(void);
__asm__(".text\n"
        ".type call_by_rbx, @function\ncall_by_rbx:\n.cfi_startproc\n"
        "push %rbx\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %rbx, 0\n"
        "mov %rsp, %rbx\n.cfi_def_cfa_register %rbx\nsub $72, %rsp\nand $-64, %rsp\n"
        "call *%rdi\n"
        "mov %rbx, %rsp\n.cfi_def_cfa_register %rsp\npop %rbx\n.cfi_adjust_cfa_offset -8\n.cfi_restore %rbx\n"
        "ret\n.cfi_endproc\n.size call_by_rbx, .-call_by_rbx\n"
        ".type call_by_saved, @function\ncall_by_saved:\n.cfi_startproc\n"
        "mov %rsp, %rax\n.cfi_def_cfa_register %rax\nsub $88, %rsp\nand $-64, %rsp\nmov %rax, 16(%rsp)\n"
        ".cfi_escape 0x0f, 5, 0x77, 16, 0x06, 0x23, 8\n" /* breg7 16, deref, plus_uconst 8 */
        "call *%rdi\n"
        "mov 16(%rsp), %rsp\n.cfi_def_cfa %rsp, 8\nret\n.cfi_endproc\n.size call_by_saved, .-call_by_saved\n"
        ".type trap_by_r11, @function\ntrap_by_r11:\n.cfi_startproc\n"
        "mov %rsp, %r11\n.cfi_def_cfa_register %r11\nsub $200, %rsp\nand $-32, %rsp\n"
        "int3\nnop\n"
        "mov %r11, %rsp\n.cfi_def_cfa_register %rsp\nret\n.cfi_endproc\n.size trap_by_r11, .-trap_by_r11\n");

static __attribute__((noinline)) void through_rbx(void) {
    call_by_rbx(compare_here);
    sink++;
}

static void run_assembly(void) {
    struct sigaction action = {.sa_handler = handler_alternate};
    unsigned incomplete = stacks_incomplete;
    sigaction(SIGTRAP, &action, NULL);
    for (unsigned i = 0; i < 200; i++) {
        call_by_rbx(compare_here);
        call_by_saved(through_rbx);
        trap_by_r11();
    }
    CHECK_EQ_INT(stacks_incomplete, incomplete);
}

static unsigned jitted_seen, jitted_taken;
static uint64_t jitted_return;

static __attribute__((noinline)) void jitted_callback(void) {
    uint64_t frames[FRAMES_MAX];
    struct unwind_registers registers;
    bool complete;
    UNWIND_REGISTERS_HERE(&registers);
    size_t count = unwind_walk(&registers, &stack_bounds, frames, FRAMES_MAX, &complete);
    unsigned taken = memos_taken;
    for (unsigned i = 0; i < 3; i++)
        memo_compare(&registers, &stack_bounds, frames, count, complete);
    jitted_taken += memos_taken - taken;
    jitted_seen += complete && count > 3 && frames[1] == jitted_return;
}

/* Code that no object tells of, with a frame pointer, as V8 makes it. */
static void run_jitted(void) {
    static const uint8_t code[] = {0x55, 0x48, 0x89, 0xe5,
                                   0xff, 0xd7, 0x5d, 0xc3}; /* push, mov, call, pop, ret */
    uint8_t *memory =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!CHECK(memory != MAP_FAILED))
        return;
    for (unsigned i = 0; i < 100; i++) {
        uint8_t *place = memory + 16 * (i % 50);
        void (*function)(void (*)(void));
        memcpy(place, code, sizeof(code));
        memcpy(&function, &place, sizeof(function));
        jitted_return = (uint64_t)(uintptr_t)place + 6;
        function(jitted_callback);
    }
    munmap(memory, 4096);
    CHECK_EQ_INT(jitted_seen, 100);
    CHECK_EQ_INT(jitted_taken, 300);
}

/* --- own code ----------------------------------------------------------------------------------------- */

#define OWN __attribute__((noinline, section("own_code")))
extern const char own_begin[] __asm__("__start_own_code"), own_end[] __asm__("__stop_own_code");

static OWN uint64_t own_take(void) {
    struct unwind_registers registers;
    struct unwind_stack stack = stack_bounds;
    stack.own_start = (uint64_t)(uintptr_t)own_begin;
    stack.own_bytes = (uint64_t)(own_end - own_begin);
    memo.pause = 0;
    UNWIND_REGISTERS_HERE(&registers);
    return unwind_memo_take(&memo, &registers, &stack);
}

static OWN uint64_t hook_short(void) {
    uint64_t hash = own_take();
    sink++;
    return hash;
}

static OWN uint64_t hook_long(void) {
    volatile char local[300];
    local[0] = 1;
    uint64_t hash = own_take();
    sink += (unsigned char)local[0];
    hash = hash == hook_short() ? hash : 0;
    sink++;
    return hash;
}

/* A stack has one name by whatever way the agent was entered, and none of the agent's frames. */
static void run_own(void) {
    static uint64_t (*const volatile hooks[])(void) = {hook_short, hook_long};
    uint64_t hashes[6], frames[UNWIND_MEMO_FRAMES];
    bool complete;
    static volatile unsigned rounds = 6; /* one place that calls, not six */
    for (unsigned i = 0; i < rounds; i++) {
        hashes[i] = hooks[i % 2]();
        CHECK(hashes[i] != 0 || i % 2);
    }
    size_t count = unwind_memo_frames(&memo, frames, &complete);
    CHECK(complete && count > 2);
    for (size_t i = 0; i < count; i++)
        CHECK(frames[i] < (uint64_t)(uintptr_t)own_begin || frames[i] >= (uint64_t)(uintptr_t)own_end);
    CHECK_EQ_U64(hashes[0], unwind_frames_hash(frames, count));
    CHECK_EQ_U64(hashes[2], hashes[0]);
    CHECK_EQ_U64(hashes[4], hashes[0]);
    CHECK_EQ_U64(hashes[3], hashes[1]);
}

/* --- invented stacks ---------------------------------------------------------------------------------- */

#define INVENTED_WORDS 4096

/* Mostly of code that has a caller. */
static uint64_t invented_pc(void) {
    uint64_t pc, kind;
    do {
        pc = (uint64_t)(uintptr_t)shapes[(unsigned)rand() % SHAPES] + (unsigned)rand() % 64;
        kind = unwind_row_find(pc - 1) & 7;
    } while (kind > CFI_ROW_RBP && rand() % 50);
    return pc;
}

/* Lays out frames as the rows want them, from the leaf up; rbp gets values that point into the stack. */
static void invent(uint64_t *memory, struct unwind_registers *registers, unsigned frames) {
    uint64_t low = (uint64_t)(uintptr_t)memory;
    struct unwind_state state = {registers->pc, registers->sp, registers->bp, false};
    for (unsigned i = 0; i < frames; i++) {
        uint64_t row = unwind_state_row(&state);
        uint64_t base = (row & 7) == CFI_ROW_RSP ? state.sp : state.bp,
                 cfa = base + (uint64_t)unwind_row_cfa(row);
        if ((row & 7) > CFI_ROW_RBP || cfa <= state.sp || cfa > low + (INVENTED_WORDS - 64) * 8)
            return;
        state.pc = memory[(cfa - 8 - low) / 8] = invented_pc();
        if (unwind_row_bp(row))
            state.bp = memory[(cfa + (uint64_t)unwind_row_bp(row) - low) / 8] =
                cfa + (unsigned)rand() % 24 * 8;
        state.sp = cfa;
        state.is_return = true;
    }
}

/* Words of a stack change at random under the memo: it never says other than the plain walk. */
static void run_invented(unsigned count) {
    static uint64_t memory[INVENTED_WORDS];
    static struct unwind_memo fresh;
    struct unwind_stack stack = {.low = (uint64_t)(uintptr_t)memory,
                                 .high = (uint64_t)(uintptr_t)(memory + INVENTED_WORDS)};
    uint64_t frames[FRAMES_MAX];
    unsigned taken = memos_taken;
    size_t walked = 0;
    memo = fresh;
    for (unsigned i = 0; i < count; i++) {
        struct unwind_registers registers = {
            .pc = invented_pc(), .sp = stack.low + 8U * ((unsigned)rand() % 64), .bp = stack.low + 1024};
        memset(memory, 0, sizeof(memory));
        invent(memory, &registers, 40);
        for (unsigned j = 0; j < 12; j++) {
            bool complete;
            size_t found = unwind_walk(&registers, &stack, frames, FRAMES_MAX, &complete);
            walked += found;
            memo_compare(&registers, &stack, frames, found, complete);
            unsigned place = (unsigned)rand() % 512;
            if (j % 4 == 1)
                memory[place] += (unsigned)rand() % 3 * 8; /* another pc, another rbp */
            else if (j % 4 == 2)
                invent(memory, &registers, (unsigned)rand() % 8);
            else if (j % 4 == 3)
                registers.bp += 8;
            else if (j == 4 && memo.count > 2) /* a return address, but of code that was interrupted there */
                registers = (struct unwind_registers){.pc = memo.frames[memo.count - 2].pc,
                                                      .sp = memo.low + memo.frames[memo.count - 2].sp * 8ULL,
                                                      .bp = memo.frames[memo.count - 2].bp};
        }
    }
    printf("%u invented stacks by the memo, %.1f frames each\n", memos_taken - taken,
           (double)walked / (count * 12));
    CHECK(memos_taken - taken > count * 6);
    CHECK(walked > count * 12 * 3);
    memo = fresh;
}
static void row_invent(uint64_t pc, enum cfi_row_kind kind, unsigned cfa) {
    atomic_store(&unwind_row_cache[unwind_row_index(pc)],
                 (pc >> UNWIND_CACHE_BITS) << UNWIND_TAG_SHIFT | cfa << 3 | kind);
}

/* Not a word of the stack changes, but the code it is of: the memo must not believe it. */
static void run_flushed(void) {
    uint64_t memory[8] = {0, 0x10004001, 0, 0x10008001}, frames[FRAMES_MAX];
    struct unwind_registers registers = {.pc = 0x10000000, .sp = (uint64_t)(uintptr_t)memory};
    struct unwind_stack stack = {.low = registers.sp, .high = registers.sp + sizeof(memory)};
    unsigned taken = memos_taken;
    for (unsigned i = 0; i < 6; i++) {
        bool complete;
        row_invent(registers.pc, CFI_ROW_RSP, i % 2 ? 4 : 2);
        row_invent(0x10004000, CFI_ROW_END, 0);
        row_invent(0x10008000, CFI_ROW_END, 0);
        size_t count = unwind_walk(&registers, &stack, frames, FRAMES_MAX, &complete);
        CHECK(count == 2 && complete && frames[1] == memory[i % 2 ? 3 : 1]);
        memo_compare(&registers, &stack, frames, count, complete);
        unwind_flush();
    }
    CHECK_EQ_INT(memos_taken - taken, 6);
}

/* More pcs than the cache has places, over and over: whatever they do to each other, a pc gets its own row.
 */
static void run_cache(void) {
    enum { PCS = 12000 };
    static uint64_t pcs[PCS];
    struct unwind_object object;
    struct cfi_row row;
    unsigned wrong = 0;
    uint64_t inside = (uint64_t)(uintptr_t)dlsym(RTLD_DEFAULT, "qsort");
    if (!CHECK(unwind_object_find(inside, &object)))
        return;
    for (unsigned i = 0; i < PCS; i++) /* neighbours too */
        pcs[i] = i % 2 ? pcs[i - 1] ^ 1 : inside - 100000 + (unsigned)rand() % 400000;
    for (unsigned i = 0; i < 10 * PCS; i++) {
        uint64_t pc = pcs[(unsigned)rand() % PCS], packed = unwind_row_find(pc);
        unwind_row_compute(&object, pc, &row);
        wrong += (packed & 7) != row.kind || unwind_row_cfa(packed) != row.cfa * 8LL ||
                 unwind_row_bp(packed) != row.bp * 8LL;
    }
    CHECK_EQ_INT(wrong, 0);
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
    bounds_of_this_thread();
    run_other_leaves(count);
    run_jumps(1000);
    run_exceptions(500);
    run_recursion();
    run_libraries(40);
    CHECK_EQ_INT(stacks_incomplete, 0);
    CHECK(stacks_compared >= 3 * count);
    CHECK(memos_taken >= 2 * stacks_compared * 9 / 10);

    run_assembly();
    run_jitted();
    run_own();
    run_coroutine();
    run_alternate_stack();
    unwind_flush();
    run_random_stacks(100);
    run_garbage();
    run_cache();
    run_flushed();
    run_invented(20000);
    printf("%u stacks, %u frames: %u differ from libunwind's; %u taken by the memo: %u differ\n",
           stacks_compared, frames_compared, stacks_different, memos_taken, memos_different);
    CHECK_EQ_INT(stacks_different, 0);
    CHECK_EQ_INT(memos_different, 0);
    return check_summary();
}
