/* SPDX-License-Identifier: MIT */
/* Built several times, with different frames (CMakeLists.txt). */
#include "tests/bpf/chain.h"

#include <alloca.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

extern const struct chain_library chain_library;

static void expect(struct chain *chain, uint64_t pc) {
    chain->expected[chain->count++] = pc;
}
#define EXPECT_RETURN(chain) expect(chain, (uint64_t)(uintptr_t)__builtin_return_address(0))

static inline void next(struct chain *chain, unsigned level) {
    chain->functions[level + 1](chain, level + 1);
}

static volatile uint64_t sink;
static int signal_number;

#define SHAPE(name, bytes)                                                                                   \
    static __attribute__((noinline)) void name(struct chain *chain, unsigned level) {                        \
        volatile char local[bytes];                                                                          \
        EXPECT_RETURN(chain);                                                                                \
        local[0] = (char)level;                                                                              \
        next(chain, level);                                                                                  \
        sink += (uint64_t)local[0];                                                                          \
    }
SHAPE(shape_small, CHAIN_BYTES)
SHAPE(shape_medium, 200 + CHAIN_BYTES)
SHAPE(shape_large, 5000 + CHAIN_BYTES)

/* Callee-saved registers, rbp among them, live across the call. */
static __attribute__((noinline)) void shape_registers(struct chain *chain, unsigned level) {
    uint64_t a = sink, b = a * 3, c = b ^ 5, d = c + a, e = d * b, f = e ^ c;
    EXPECT_RETURN(chain);
    next(chain, level);
    sink += a + b + c + d + e + f;
}

static __attribute__((noinline)) void shape_dynamic(struct chain *chain, unsigned level) {
    volatile char *local = alloca(16 + (sink & 255));
    EXPECT_RETURN(chain);
    local[0] = 1;
    next(chain, level);
    sink += (uint64_t)local[0];
}

static __attribute__((noinline)) void shape_realigned(struct chain *chain, unsigned level) {
    _Alignas(64) volatile char local[64];
    volatile char *dynamic = alloca(16 + (sink & 63));
    EXPECT_RETURN(chain);
    local[0] = dynamic[0] = 1;
    next(chain, level);
    sink += (uint64_t)(local[0] + dynamic[0]);
}

static __thread struct chain *signalled;
static __thread unsigned signalled_level;

static void handler(int number) {
    (void)number;
    EXPECT_RETURN(signalled);
    next(signalled, signalled_level);
    sink++;
}

/* The handler goes on with the chain; what it interrupts is the instruction behind the system call. */
static __attribute__((noinline)) void shape_signal(struct chain *chain, unsigned level) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_NODEFER};
    long pid = getpid(), tid = syscall(SYS_gettid), result;
    uint64_t behind;
    EXPECT_RETURN(chain);
    sigaction(signal_number, &action, NULL);
    signalled = chain;
    signalled_level = level;
    __asm__ volatile("lea 1f(%%rip), %0" : "=r"(behind));
    expect(chain, behind);
    __asm__ volatile("syscall\n1:"
                     : "=a"(result)
                     : "0"((long)SYS_tgkill), "D"(pid), "S"(tid), "d"((long)signal_number)
                     : "rcx", "r11", "memory");
    sink += (uint64_t)result;
}

/* The call is the last there is of the function: behind it begins another, or nothing. */
static __thread jmp_buf left;

static __attribute__((noinline, noreturn)) void leave(struct chain *chain, unsigned level) {
    EXPECT_RETURN(chain);
    next(chain, level);
    sink++;
    longjmp(left, 1);
}

static __attribute__((noinline)) void last_call(struct chain *chain, unsigned level) {
    volatile char local[72];
    EXPECT_RETURN(chain);
    local[0] = (char)level;
    leave(chain, level);
}

static __attribute__((noinline)) void shape_last_call(struct chain *chain, unsigned level) {
    jmp_buf former;
    EXPECT_RETURN(chain);
    memcpy(former, left, sizeof(former));
    if (setjmp(left) == 0)
        last_call(chain, level);
    memcpy(left, former, sizeof(former));
    sink++;
}

/* Faults at its first instruction, and what is said of the one before does not hold for it. */
void chain_fault(struct chain *chain, unsigned level);
__asm__(".pushsection .text\n"
        ".type chain_before, @function\nchain_before:\n.cfi_startproc\n"
        "sub $88, %rsp\n.cfi_def_cfa_offset 96\nud2\n.cfi_endproc\n.size chain_before, .-chain_before\n"
        ".globl chain_fault\n.hidden chain_fault\n"
        ".type chain_fault, @function\nchain_fault:\n.cfi_startproc\n"
        "ud2\nret\n.cfi_endproc\n.size chain_fault, .-chain_fault\n"
        ".popsection");

/* Of whichever library: all that it needs is in the registers of the call. */
static void fault_handler(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    struct chain *chain = (struct chain *)registers[REG_RDI];
    (void)number;
    (void)info;
    expect(chain, *(uint64_t *)registers[REG_RSP]);
    expect(chain, (uint64_t)registers[REG_RIP]);
    EXPECT_RETURN(chain);
    next(chain, (unsigned)registers[REG_RSI]);
    registers[REG_RIP] += 2; /* behind the ud2 */
}

static __attribute__((noinline)) void shape_fault(struct chain *chain, unsigned level) {
    struct sigaction action = {.sa_sigaction = fault_handler, .sa_flags = SA_SIGINFO | SA_NODEFER};
    EXPECT_RETURN(chain);
    sigaction(SIGILL, &action, NULL);
    chain_fault(chain, level);
    sink++;
}

static __attribute__((noinline)) void end_block(struct chain *chain, unsigned level) {
    long result, fd = chain->pipe[0];
    char byte;
    (void)level;
    EXPECT_RETURN(chain);
    __asm__ volatile("lea 1f(%%rip), %0\n\tlea 2f(%%rip), %1\n\tlea 3f(%%rip), %2"
                     : "=&r"(chain->end_low), "=&r"(chain->blocked_pc), "=&r"(chain->end_high));
    atomic_store_explicit(&chain->ready, true, memory_order_release); /* [CHAIN-READY] */
    __asm__ volatile("1:\n\txor %%eax, %%eax\n\tsyscall\n2:\n\tlock incq %1\n\tcmp $1, %%rax\n\tje 1b\n3:"
                     : "=&a"(result), "+m"(chain->rounds)
                     : "D"(fd), "S"(&byte), "d"(1L)
                     : "rcx", "r11", "memory", "cc");
    atomic_store_explicit(&chain->ready, false, memory_order_release);
    sink += (uint64_t)result;
}

static __attribute__((noinline)) void end_spin(struct chain *chain, unsigned level) {
    (void)level;
    EXPECT_RETURN(chain);
    __asm__ volatile("lea 1f(%%rip), %0\n\tlea 2f(%%rip), %1"
                     : "=&r"(chain->end_low), "=&r"(chain->end_high));
    atomic_store_explicit(&chain->ready, true, memory_order_release); /* [CHAIN-READY] */
    __asm__ volatile("1:\n\tincq %0\n\tcmpb $0, %1\n\tje 1b\n2:"
                     : "+m"(chain->rounds)
                     : "m"(chain->stop)
                     : "memory", "cc");
    sink++;
}

static chain_function *const functions[] = {
    shape_small,  shape_medium,    shape_large, shape_registers, shape_dynamic, shape_realigned,
    shape_signal, shape_registers, shape_small, shape_last_call, shape_fault,
};

__attribute__((visibility("default"))) const struct chain_library chain_library = {
    .count = sizeof(functions) / sizeof(functions[0]),
    .functions = functions,
    .block = end_block,
    .spin = end_spin,
    .signal_number = &signal_number,
};
