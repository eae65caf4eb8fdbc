/* SPDX-License-Identifier: MIT */
/* Spends its processor time in the kernel, by a system call that a function of a known name makes. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "truth.h"

#define CPU_NS 500000000ULL
#define CHUNK (4U << 20)

static uint64_t cpu_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000ULL + (uint64_t)time.tv_nsec;
}

TRUTH_FUNCTION static void read_zeros(int file, char *bytes) {
    TRUTH_OK(truth_errno(read(file, bytes, CHUNK) == (ssize_t)CHUNK ? 0 : -1));
    TRUTH_STAY();
}

int main(void) {
    char *bytes = malloc(CHUNK);
    int file = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    TRUTH_OK(truth_errno(bytes && file >= 0 ? 0 : -1));
    while (cpu_now() < CPU_NS)
        read_zeros(file, bytes);
    close(file);
    free(bytes);
    return 0;
}
