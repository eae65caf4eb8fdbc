/* SPDX-License-Identifier: MIT */
/*
 * Names its locks and threads and marks regions through include/waitscope.h, and knows what of that a
 * report must say.
 *
 *     annotated        everything that is kept
 *     annotated deep   regions nested deeper than is kept
 */
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <waitscope.h>

#include "annotated_library.h"
#include "truth.h"

#define ROUNDS 20U
#define DEEP 40
#define LONG_NAME "clerk whose name is longer than what the kernel keeps of it"

/* Static data has a symbol: the given name is better. */
static pthread_mutex_t ledger_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t late_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t tenant_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t table_lock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_spinlock_t spin_lock;
static sem_t tickets;

static struct truth_lock *ledger_truth;
static struct truth_turns ledger_turns;
static uint64_t transfer_ns, transfer_wait_ns;

static void use(pthread_mutex_t *lock, struct truth_lock *truth, int times) {
    for (int i = 0; i < times; i++) {
        TRUTH_OK(pthread_mutex_lock(lock));
        TRUTH_OK(pthread_mutex_unlock(lock));
    }
    truth_count(truth, (uint64_t)times);
}

static struct truth_lock *truth_untimed(const char *name, const char *kind) {
    return truth_lock_add(name, kind, TRUTH_NO_TIME);
}

TRUTH_FUNCTION static void ledger_keep(uint32_t turn) {
    TRUTH_TAKE(ledger_truth, pthread_mutex_lock(&ledger_lock));
    truth_turn_open(&ledger_turns, turn, 1);
    truth_sleep_us(3000);
    TRUTH_GIVE(ledger_truth, pthread_mutex_unlock(&ledger_lock));
    TRUTH_STAY();
}

static void *clerk_run(void *argument) {
    waitscope_name_thread(LONG_NAME);
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        truth_turn_come(&ledger_turns, turn, 0);
        uint64_t begin = truth_now();
        waitscope_region_begin("transfer");
        uint64_t wait_begin = truth_now();
        TRUTH_OK(TRUTH_WAIT(ledger_truth, pthread_mutex_lock(&ledger_lock)));
        transfer_wait_ns += truth_now() - wait_begin;
        TRUTH_OK(pthread_mutex_unlock(&ledger_lock));
        waitscope_region_begin("look-up");
        waitscope_region_end();
        waitscope_region_end();
        transfer_ns += truth_now() - begin;
        truth_turn_done(&ledger_turns);
    }
    waitscope_region_begin("left open");
    return argument;
}

/* Names before the first use, after it, after an initialisation, and two tenants of one address. */
static void locks_name(void) {
    ledger_truth = truth_lock_add("the ledger", "mutex", TRUTH_BY_HOLDER);
    waitscope_name_lock(&ledger_lock, "the ledger");

    struct truth_lock *late = truth_untimed("named late", "mutex");
    use(&late_lock, late, 100);
    waitscope_name_lock(&late_lock, "named late");
    use(&late_lock, late, 10);
    waitscope_name_lock(&late_lock, "named late");
    use(&late_lock, late, 1);

    waitscope_name_lock(&tenant_lock, "first tenant");
    use(&tenant_lock, truth_untimed("first tenant", "mutex"), 70);
    waitscope_name_lock(&tenant_lock, "second tenant");
    use(&tenant_lock, truth_untimed("second tenant", "mutex"), 30);

    pthread_mutex_t *heap = malloc(sizeof(*heap));
    if (!heap)
        truth_fail("no memory");
    TRUTH_OK(pthread_mutex_init(heap, NULL));
    waitscope_name_lock(heap, "on the heap");
    use(heap, truth_untimed("on the heap", "mutex"), 50);
    TRUTH_OK(pthread_mutex_destroy(heap));
    TRUTH_OK(pthread_mutex_init(heap, NULL));
    waitscope_name_lock(heap, "on the heap again");
    use(heap, truth_untimed("on the heap again", "mutex"), 40);
    TRUTH_OK(pthread_mutex_destroy(heap));
    free(heap);

    struct truth_lock *table = truth_untimed("a table", "rwlock");
    waitscope_name_lock(&table_lock, "a table");
    TRUTH_OK(pthread_rwlock_rdlock(&table_lock));
    TRUTH_OK(pthread_rwlock_unlock(&table_lock));
    TRUTH_OK(pthread_rwlock_wrlock(&table_lock));
    TRUTH_OK(pthread_rwlock_unlock(&table_lock));
    truth_count(table, 2);

    struct truth_lock *spin = truth_untimed("spinning", "spin"),
                      *ticket = truth_untimed("ticket", "semaphore");
    TRUTH_OK(pthread_spin_init(&spin_lock, PTHREAD_PROCESS_PRIVATE));
    waitscope_name_lock(&spin_lock, "spinning");
    TRUTH_OK(pthread_spin_lock(&spin_lock));
    TRUTH_OK(pthread_spin_unlock(&spin_lock));
    truth_count(spin, 1);
    TRUTH_OK(truth_errno(sem_init(&tickets, 0, 2)));
    waitscope_name_lock(&tickets, "ticket");
    TRUTH_OK(truth_errno(sem_wait(&tickets)));
    truth_count(ticket, 1);
}

static void regions_deep(void) {
    for (int i = 0; i < DEEP; i++)
        waitscope_region_begin("deep");
    for (int i = 0; i < DEEP; i++)
        waitscope_region_end();
    waitscope_region_end(); /* one too many: nothing */
    waitscope_region_begin("after");
    waitscope_region_end();
}

int main(int argc, char **argv) {
    char members[512];
    bool deep = argc > 1 && strcmp(argv[1], "deep") == 0;
    waitscope_name_thread("chief");
    if (deep) {
        regions_deep();
        truth_print();
        return 0;
    }
    waitscope_region_begin("whole run");
    locks_name();
    pthread_t clerk = truth_start(clerk_run, NULL);
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        ledger_keep(turn);
        truth_turn_close(&ledger_turns, turn, 1);
    }
    truth_join(clerk);
    annotated_library_work();
    waitscope_region_begin(NULL);
    waitscope_region_end();
    snprintf(members, sizeof(members),
             "\"transfers\":%u,\"transfer_ns\":%llu,\"transfer_wait_ns\":%llu,\"clerk\":\"%s\"", ROUNDS,
             (unsigned long long)transfer_ns, (unsigned long long)transfer_wait_ns, LONG_NAME);
    truth_extra(members);
    truth_print();
    return 0;
}
