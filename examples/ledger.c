/* SPDX-License-Identifier: MIT */
/*
 * A little bank with a problem: `make demo` records it, and the report says what the problem is.
 *
 * Four tellers move money between accounts. Accounts live in pools, each with a lock of its own, so
 * that tellers seldom meet there; except at pools[2], where the bank's own fee account lies. Every
 * transfer ends up in one ledger under ledger_lock, for a moment only. But the auditor, who writes
 * the ledger to disk now and then, keeps ledger_lock while the disk works.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TELLERS 4
#define POOLS 4
#define POOL_ACCOUNTS 1024
#define TRANSFERS 15000 /* each teller's */
#define FEE_POOL 2
#define AUDIT_EVERY_MS 25
#define AUDIT_WRITES 4

struct pool {
    pthread_mutex_t lock;
    int64_t balance[POOL_ACCOUNTS];
    uint64_t digest; /* of the balances, for the auditor */
};

struct entry {
    uint32_t from, to;
    int64_t amount, fee;
};

static struct pool pools[POOLS];

static pthread_mutex_t ledger_lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry ledger[TELLERS * TRANSFERS];
static size_t ledger_length;
static uint64_t ledger_checksum;

static pthread_mutex_t closing_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t closing = PTHREAD_COND_INITIALIZER;
static int closed;

static uint64_t mix(uint64_t value) {
    value ^= value >> 31;
    value *= 0x9e3779b97f4a7c15ULL;
    return value ^ value >> 29;
}

/* Proves that the customer is who they say: honest work, outside every lock. */
static uint64_t signature_verify(uint64_t seed) {
    for (int round = 0; round < 12000; round++)
        seed = mix(seed + (uint64_t)round);
    return seed;
}

static void pools_lock(unsigned first, unsigned second) {
    unsigned low = first < second ? first : second, high = first < second ? second : first;
    pthread_mutex_lock(&pools[low].lock);
    if (low != high)
        pthread_mutex_lock(&pools[high].lock);
}

static void pools_unlock(unsigned first, unsigned second) {
    pthread_mutex_unlock(&pools[first].lock);
    if (first != second)
        pthread_mutex_unlock(&pools[second].lock);
}

static void money_move(const struct entry *entry) {
    unsigned from = entry->from / POOL_ACCOUNTS, to = entry->to / POOL_ACCOUNTS;
    pools_lock(from, to);
    pools[from].balance[entry->from % POOL_ACCOUNTS] -= entry->amount + entry->fee;
    pools[to].balance[entry->to % POOL_ACCOUNTS] += entry->amount;
    pools_unlock(from, to);
}

/* Every fee goes to the bank's own account, and its pool's digest is made anew under the lock. */
static void fee_collect(int64_t fee) {
    struct pool *pool = &pools[FEE_POOL];
    pthread_mutex_lock(&pool->lock);
    pool->balance[0] += fee;
    pool->digest = 0;
    for (int account = 0; account < POOL_ACCOUNTS; account++)
        pool->digest = mix(pool->digest + (uint64_t)pool->balance[account]);
    pthread_mutex_unlock(&pool->lock);
}

static void ledger_append(const struct entry *entry) {
    pthread_mutex_lock(&ledger_lock);
    ledger[ledger_length++] = *entry;
    pthread_mutex_unlock(&ledger_lock);
}

static void transfer_post(uint64_t order) {
    struct entry entry = {
        .from = (uint32_t)(order % (POOLS * POOL_ACCOUNTS)),
        .to = (uint32_t)((order >> 20) % (POOLS * POOL_ACCOUNTS)),
        .amount = (int64_t)(order >> 40) % 500,
        .fee = 1,
    };
    money_move(&entry);
    fee_collect(entry.fee);
    ledger_append(&entry);
}

static void *teller_main(void *argument) {
    uint64_t order = (uintptr_t)argument + 1;
    for (int i = 0; i < TRANSFERS; i++) {
        order = signature_verify(order);
        transfer_post(order);
    }
    return NULL;
}

static void ledger_flush(FILE *file) {
    fseek(file, 0, SEEK_SET);
    for (int part = 0; part < AUDIT_WRITES; part++) {
        fwrite(ledger, sizeof ledger[0], ledger_length, file);
        fflush(file);
        fsync(fileno(file));
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); /* a disk that takes its time */
    }
}

/* The mistake: a copy of the ledger would do, and the lock could be let go before the disk. */
static void audit_write(FILE *file) {
    pthread_mutex_lock(&ledger_lock);
    for (size_t i = 0; i < ledger_length; i++)
        ledger_checksum = mix(ledger_checksum ^ (uint64_t)ledger[i].amount);
    ledger_flush(file);
    pthread_mutex_unlock(&ledger_lock);
}

static void *auditor_main(void *argument) {
    FILE *file = argument;
    struct timespec next;
    clock_gettime(CLOCK_REALTIME, &next);
    pthread_mutex_lock(&closing_lock);
    while (!closed) {
        next.tv_nsec += AUDIT_EVERY_MS * 1000000L;
        next.tv_sec += next.tv_nsec / 1000000000L;
        next.tv_nsec %= 1000000000L;
        if (pthread_cond_timedwait(&closing, &closing_lock, &next) == ETIMEDOUT) {
            pthread_mutex_unlock(&closing_lock);
            audit_write(file);
            clock_gettime(CLOCK_REALTIME, &next);
            pthread_mutex_lock(&closing_lock);
        }
    }
    pthread_mutex_unlock(&closing_lock);
    return NULL;
}

static void thread_start(pthread_t *ret_thread, void *(*routine)(void *), void *argument, const char *name) {
    int status = pthread_create(ret_thread, NULL, routine, argument);
    if (status != 0) {
        fprintf(stderr, "ledger: %s: %s\n", name, strerror(status));
        exit(1);
    }
    pthread_setname_np(*ret_thread, name);
}

int main(void) {
    pthread_t tellers[TELLERS], auditor;
    FILE *file = tmpfile();
    if (!file) {
        perror("ledger");
        return 1;
    }
    for (int i = 0; i < POOLS; i++)
        pthread_mutex_init(&pools[i].lock, NULL);

    thread_start(&auditor, auditor_main, file, "auditor");
    for (int i = 0; i < TELLERS; i++) {
        char name[16];
        snprintf(name, sizeof name, "teller-%d", i);
        thread_start(&tellers[i], teller_main, (void *)(uintptr_t)i, name);
    }
    for (int i = 0; i < TELLERS; i++)
        pthread_join(tellers[i], NULL);

    pthread_mutex_lock(&closing_lock);
    closed = 1;
    pthread_cond_signal(&closing);
    pthread_mutex_unlock(&closing_lock);
    pthread_join(auditor, NULL);
    fclose(file);

    int64_t sum = 0;
    for (int i = 0; i < POOLS; i++)
        for (int account = 0; account < POOL_ACCOUNTS; account++)
            sum += pools[i].balance[account];
    printf("%zu transfers posted, the books are off by %lld\n", ledger_length, (long long)sum);
    return sum == 0 && ledger_length == TELLERS * TRANSFERS ? 0 : 1;
}
