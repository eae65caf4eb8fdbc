/* SPDX-License-Identifier: MIT */
/*
 * What a unit test needs: checks that print both values where they fail and go on, and a summary.
 * Each check is an expression that is true where it held, so a test can stop where it must:
 *
 *     if (!CHECK_EQ_INT(model_open(path, &model, NULL, 0), 0))
 *         return check_summary();
 *
 * A test's main ends with `return check_summary();`, which is nonzero where a check failed or where
 * none was made. Checks may be made from several threads. Arguments are evaluated once.
 */
#ifndef WAITSCOPE_TESTS_UNIT_CHECK_H
#define WAITSCOPE_TESTS_UNIT_CHECK_H

#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define CHECK(condition) check_true((condition) ? true : false, #condition, __FILE__, __LINE__)
#define CHECK_EQ_INT(actual, expected) check_int((actual), (expected), #actual, __FILE__, __LINE__)
#define CHECK_EQ_U64(actual, expected) check_u64((actual), (expected), #actual, __FILE__, __LINE__)
/* Either may be NULL; NULL equals only NULL. */
#define CHECK_STR(actual, expected) check_str((actual), (expected), #actual, __FILE__, __LINE__)
#define CHECK_MEM(actual, expected, bytes)                                                                   \
    check_true(memcmp((actual), (expected), (bytes)) == 0, #actual " == " #expected, __FILE__, __LINE__)

static atomic_ulong check_made, check_failed;

static inline bool check_count(bool held) {
    atomic_fetch_add(&check_made, 1);
    if (!held)
        atomic_fetch_add(&check_failed, 1);
    return held;
}

static inline bool check_true(bool held, const char *what, const char *file, int line) {
    if (!held)
        fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
    return check_count(held);
}

static inline bool check_int(long long actual, long long expected, const char *what, const char *file,
                             int line) {
    if (actual != expected)
        fprintf(stderr, "%s:%d: %s is %lld, expected %lld\n", file, line, what, actual, expected);
    return check_count(actual == expected);
}

static inline bool check_u64(uint64_t actual, uint64_t expected, const char *what, const char *file,
                             int line) {
    if (actual != expected)
        fprintf(stderr, "%s:%d: %s is %" PRIu64 " (0x%" PRIx64 "), expected %" PRIu64 " (0x%" PRIx64 ")\n",
                file, line, what, actual, actual, expected, expected);
    return check_count(actual == expected);
}

static inline bool check_str(const char *actual, const char *expected, const char *what, const char *file,
                             int line) {
    bool held = actual == expected || (actual && expected && strcmp(actual, expected) == 0);
    if (!held)
        fprintf(stderr, "%s:%d: %s is \"%s\", expected \"%s\"\n", file, line, what,
                actual ? actual : "(null)", expected ? expected : "(null)");
    return check_count(held);
}

static inline int check_summary(void) {
    unsigned long made = atomic_load(&check_made), failed = atomic_load(&check_failed);
    printf("%lu checks, %lu failed\n", made, failed);
    return made == 0 || failed > 0 ? 1 : 0;
}

#endif
