/* SPDX-License-Identifier: MIT */
/*
 * Threads that block or spin at the end of a chain of calls they know: each function writes down where it
 * will return to, root first, before it calls the next. Shared between a target and its test.
 */
#ifndef WAITSCOPE_TESTS_BPF_CHAIN_H
#define WAITSCOPE_TESTS_BPF_CHAIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define CHAIN_CALLS_MAX 100U
/* Started together in a process: some that block and some that spin; three times that is a world. */
#define CHAINS_BLOCKING 14U
#define CHAINS_SPINNING 2U
#define CHAINS_TOGETHER (CHAINS_BLOCKING + CHAINS_SPINNING)
#define CHAINS_MAX (3 * CHAINS_TOGETHER)

struct chain;
typedef void chain_function(struct chain *chain, unsigned level);

struct chain {
    /* What the test says. */
    unsigned length; /* of route, the last blocks or spins */
    uint8_t route[CHAIN_CALLS_MAX];
    int pipe[2]; /* a byte for each time it is to block anew; closed: end */
    /* What the target says. */
    chain_function *functions[CHAIN_CALLS_MAX];
    uint32_t pid, tid;
    unsigned count; /* of expected */
    uint64_t expected[4 * CHAIN_CALLS_MAX];
    uint64_t end_low, end_high; /* of the code it blocks or spins in */
    uint64_t blocked_pc;        /* behind the system call, 0: it spins */
    _Atomic uint64_t rounds;
    atomic_bool ready,
        stop; /* [CHAIN-READY] release by the target, acquire by the test: all above is there */
};

struct chain_world {
    unsigned count;
    atomic_uint finished;
    struct chain chains[CHAINS_MAX];
};

/* A library's functions to go through, and the two to end at. */
struct chain_library {
    unsigned count;
    chain_function *const *functions;
    chain_function *block, *spin;
    int *signal_number; /* to be set to one that no other library has */
};
/* dlsym's name of a struct chain_library. */
#define CHAIN_LIBRARY "chain_library"

#endif
