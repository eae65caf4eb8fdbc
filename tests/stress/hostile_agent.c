/* SPDX-License-Identifier: MIT */
/*
 * A hostile target beside an honest one, for some seconds: it floods rings with garbage and with
 * records that are nearly right, moves heads about, rewrites headers, states and counters after the
 * handshake, cuts holes into its slab, floods the socket, and names the honest image as its own. The
 * collector must survive, and the honest process' data must be exact.
 *
 *     hostile_agent [SECONDS]; five of them, five minutes with WAITSCOPE_STRESS=full
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "check.h"
#include "test_collector_fake.h"

#define HONEST_KEY lock_key_make(0x123450, 1, LOCK_CLASS_MUTEX)
#define RING 65536U
#define SLOTS 16U

static uint64_t random_state;

static uint64_t random_next(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Publishes a record of a right kind and a plausible size, full of nonsense. */
static void nonsense_write(const struct fake *fake, struct thread_slot *slot) {
    uint64_t words[RECORD_WORDS_MAX];
    size_t count = 1 + random_next() % 24;
    for (size_t i = 0; i < count; i++)
        words[i] = random_next() >> (random_next() % 64);
    if (random_next() % 2)
        words[1] = lock_key_make(random_next() % 4096, (uint32_t)random_next(), 1 + random_next() % 10);
    struct record_header *header = (struct record_header *)words;
    header->value = (uint32_t)(random_next() % 4 ? count - 2 : random_next());
    fake_record(fake, slot, words, (enum record_kind)(1 + random_next() % (RECORD_KIND_LIMIT - 1)),
                count * 8);
}

static void slot_spoil(const struct fake *fake, struct thread_slot *slot) {
    char *ring = slot_ring_bytes(slot);
    switch (random_next() % 10) {
    case 0:
        atomic_store(&slot->ring.head, random_next() >> (random_next() % 64));
        break;
    case 1:
        for (uint32_t i = 0; i < RING; i += 8)
            *(uint64_t *)(ring + i) = random_next();
        atomic_fetch_add(&slot->ring.head, random_next() % RING & ~7ULL);
        break;
    case 2:
        atomic_store(&slot->state, (uint32_t)(random_next() % 5));
        break;
    case 3:
        slot->tid = (uint32_t)random_next() % 100;
        slot->generation = (uint32_t)random_next();
        slot->start_ticks = random_next();
        slot->end_ticks = random_next();
        slot->creator_tid = (uint32_t)random_next() % 100;
        break;
    case 4:
        for (int i = 0; i < LOSS_REASON_COUNT; i++)
            atomic_store(&slot->lost[i], random_next());
        atomic_store(&slot->emitted, random_next());
        break;
    case 5:
        for (uint32_t i = 0; i < SLOT_COUNTS * sizeof(struct lock_count) / 8; i++)
            ((uint64_t *)slot_counts(slot))[i] = random_next();
        break;
    case 6:
        atomic_store(&slot->now_key, random_next());
        atomic_store(&slot->now_since, random_next());
        atomic_store(&slot->ring.tail, random_next());
        break;
    default:
        /* Mostly in order, so that the records behind the first check are reached too. */
        atomic_store(&slot->state, SLOT_LIVE);
        atomic_store(&slot->ring.head, atomic_load(&slot->ring.tail) & ~7ULL);
        for (int i = 0; i < 200; i++)
            nonsense_write(fake, slot);
    }
}

static int target_hostile(uint64_t seconds, uint64_t seed) {
    struct fake fake = fake_slab(SLOTS, RING, 0, NULL);
    struct slab_header first = *fake.header;
    uint64_t end = fake_now() + seconds * 1000000000ULL;
    random_state = seed * 0x9e3779b97f4a7c15ULL + 1;
    for (uint32_t i = 0; i < SLOTS; i++)
        fake_thread(&fake, i, i + 1);
    fake_announce(&fake);
    for (uint64_t n = 0; fake_now() < end; n++) {
        slot_spoil(&fake, fake_slot(&fake, (uint32_t)(random_next() % SLOTS)));
        if (n % 50 == 0) {
            for (size_t i = 0; i < sizeof(*fake.header) / 8; i += 1 + random_next() % 64)
                ((uint64_t *)fake.header)[i] = random_next();
        }
        if (n % 100 == 0)
            fallocate(fake.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                      (off_t)(random_next() % fake.bytes), (off_t)(random_next() % 100000));
        if (n % 200 == 0) {
            *fake.header = first;
            fake.header->slab_index = (uint32_t)random_next() % 8;
            fake_hello_send(&fake);
            struct fake another = fake_slab(1 + (uint32_t)random_next() % 4, RING_BYTES_MIN, 0, NULL);
            if (random_next() % 2)
                fake_announce(&another);
            else
                fake_hello_send(&another);
            munmap(another.header, another.bytes);
            close(another.fd);
        }
        if (n % 20 == 0)
            usleep(200);
    }
    return 0;
}

/* Writes at a rate and counts what it wrote; loss by a full ring is told, not hidden. */
static int target_honest(uint64_t seconds) {
    struct fake fake = fake_slab(2, 1U << 20, 0, NULL);
    struct thread_slot *slot = fake_thread(&fake, 0, (uint32_t)getpid());
    fake_announce(&fake);
    uint64_t end = fake_now() + seconds * 1000000000ULL;
    fake_stack(&fake, slot, 4711, 0x400000);
    for (int n = 0; fake_now() < end; n++) {
        fake_wait_sure(&fake, slot, HONEST_KEY, 4711, slot->tid);
        slot_counts(slot)[0].key = HONEST_KEY;
        slot_counts(slot)[0].uses++;
        if (n % 100 == 0)
            usleep(500);
    }
    /* The sum goes out by a channel of its own. */
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s.honest", getenv("HOSTILE_OUTPUT"));
    FILE *file = fopen(path, "w");
    if (!file)
        return 98;
    fprintf(file, "%llu\n", (unsigned long long)slot_counts(slot)[0].uses);
    fclose(file);
    return 0;
}

static int target(uint64_t seconds) {
    pid_t hostile[2];
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* without a collector it would wait for room for ever */
    for (uint64_t i = 0; i < 2; i++) {
        hostile[i] = fork();
        if (hostile[i] == 0)
            _exit(target_hostile(seconds, (uint64_t)getpid()));
    }
    int status = target_honest(seconds);
    for (size_t i = 0; i < 2; i++) {
        int ended;
        waitpid(hostile[i], &ended, 0);
        if (!WIFEXITED(ended) || WEXITSTATUS(ended) != 0)
            return 97;
    }
    return status;
}

/* What the honest process left in the trace. */
static void honest_check(const char *path, uint64_t expected) {
    struct trace_reader *reader;
    struct trace_reader_block block;
    uint64_t honest = 0, lock = 0, thread = 0, waits = 0, wrong = 0, acquisitions = 0;
    if (!CHECK_EQ_INT(trace_reader_open(path, NULL, &reader), 0))
        return;
    while (trace_reader_next(reader, &block) == 1) {
        for (uint32_t i = 0; i < block.row_count; i++) {
            if (block.kind == TRACE_PROCESS) {
                const struct trace_process *row = (const struct trace_process *)block.rows + i;
                if (row->how == 0)
                    honest = row->id;
            } else if (block.kind == TRACE_THREAD) {
                const struct trace_thread *row = (const struct trace_thread *)block.rows + i;
                if (row->process == honest)
                    thread = row->id;
            } else if (block.kind == TRACE_LOCK) {
                const struct trace_lock *row = (const struct trace_lock *)block.rows + i;
                if (row->process == honest && row->address == lock_key_address(HONEST_KEY))
                    lock = row->id;
            } else if (block.kind == TRACE_WAIT && block.thread == thread) {
                const struct trace_wait *row = (const struct trace_wait *)block.rows + i;
                waits++;
                wrong +=
                    row->lock != lock || row->owner != thread || row->stack == 0 || row->duration > 1000000;
            } else if (block.kind == TRACE_COUNT && block.thread == thread) {
                acquisitions += ((const struct trace_count *)block.rows + i)->acquisitions;
            }
        }
    }
    CHECK(honest && thread && lock);
    CHECK_EQ_U64(waits, expected);
    CHECK_EQ_U64(wrong, 0);
    CHECK_EQ_U64(acquisitions, expected);
    trace_reader_free(reader);
}

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "target") == 0)
        return target(strtoull(argv[2], NULL, 10));
    const char *size = getenv("WAITSCOPE_STRESS");
    bool full = size && strcmp(size, "full") == 0;
    const char *seconds = argc > 1 ? argv[1] : full ? "300" : "5";
    char directory[] = "/tmp/waitscope-hostile.XXXXXX", output[PATH_MAX], sum[PATH_MAX + 16];
    if (!CHECK(mkdtemp(directory) != NULL))
        return check_summary();
    snprintf(output, sizeof(output), "%s/trace", directory);
    snprintf(sum, sizeof(sum), "%s.honest", output);
    setenv("HOSTILE_OUTPUT", output, 1);

    struct collector_result result = {0};
    struct fake_trace trace;
    CHECK_EQ_INT(
        fake_record_self((const char *const[]){"target", seconds, NULL, NULL}, NULL, output, &result), 0);
    CHECK_EQ_INT(result.exit, COLLECTOR_EXIT_CODE);
    CHECK_EQ_INT(result.value, 0);
    CHECK_EQ_INT(result.trace_errno, 0);
    CHECK(fake_trace_read(output, &trace));
    CHECK(!trace.damaged);
    unsigned long long expected = 0;
    FILE *file = fopen(sum, "r");
    CHECK(file && fscanf(file, "%llu", &expected) == 1 && expected > 0);
    if (file)
        fclose(file);
    honest_check(output, expected);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("%u processes, %llu honest waits, %llu corrupt, peak %ld MiB\n", result.processes, expected,
           (unsigned long long)trace.losses[LOSS_CORRUPT], used.ru_maxrss / 1024);
    unlink(output);
    unlink(sum);
    CHECK_EQ_INT(rmdir(directory), 0);
    return check_summary();
}
