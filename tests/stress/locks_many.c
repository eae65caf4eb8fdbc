/* SPDX-License-Identifier: MIT */
/*
 * A million locks made at the addresses of a thousand: each is a lock of its own in the trace, with its own
 * count, and none costs more than it should in agent and collector.
 */
#include "format/slab.h"
#include "load.h"

#define ARENA_LOCKS 1024U /* as in target_load */
#define STEP "65536"
#define BYTES_A_LOCK 64.0
#define AGENT_RING 16777216U /* room for the records of a STEP, and half as many more */
#define COLLECTOR_BUFFERS 25165824.0
#define LOCKS_MAX 1100000U

struct found {
    uint64_t arena, size;
    uint32_t lives[ARENA_LOCKS];
    uint32_t number_of_lock[LOCKS_MAX]; /* id -> number of the lock, counted from 1 */
    uint32_t counted[LOCKS_MAX];        /* by number */
    uint64_t locks;
};

static void found_block(void *context, const struct trace_reader_block *block) {
    struct found *found = context;
    for (uint32_t i = 0; i < block->row_count; i++) {
        if (block->kind == TRACE_LOCK) {
            const struct trace_lock *row = (const struct trace_lock *)block->rows + i;
            uint64_t place = (row->address - found->arena) / found->size;
            if (row->address < found->arena || place >= ARENA_LOCKS || row->id >= LOCKS_MAX)
                continue;
            uint64_t number = (uint64_t)found->lives[place]++ * ARENA_LOCKS + place;
            found->locks++;
            if (number + 1 < LOCKS_MAX)
                found->number_of_lock[row->id] = (uint32_t)number + 1;
        } else if (block->kind == TRACE_COUNT) {
            const struct trace_count *row = (const struct trace_count *)block->rows + i;
            if (row->lock < LOCKS_MAX && found->number_of_lock[row->lock])
                found->counted[found->number_of_lock[row->lock]] += (uint32_t)row->acquisitions;
        }
    }
}

/* Waits until the collector has taken out all that the target's threads have written. */
static void drained_await(pid_t collector) {
    char path[300], link[128];
    bool drained = false;
    for (int tries = 0; !drained && tries < LOAD_PATIENCE_S * 1000; tries++) {
        snprintf(path, sizeof(path), "/proc/%d/fd", (int)collector);
        DIR *folder = opendir(path);
        struct dirent *entry;
        drained = folder != NULL;
        while (folder && (entry = readdir(folder))) {
            struct slab_header header;
            struct thread_slot slot;
            ssize_t size = readlinkat(dirfd(folder), entry->d_name, link, sizeof(link) - 1);
            link[size > 0 ? size : 0] = '\0';
            if (strncmp(link, "/memfd:waitscope", 16) != 0)
                continue;
            int fd = openat(dirfd(folder), entry->d_name, O_RDONLY | O_CLOEXEC);
            if (pread(fd, &header, sizeof(header), 0) == (ssize_t)sizeof(header)) {
                for (uint32_t i = 0; i < header.slot_count; i++) {
                    off_t at = (off_t)SLAB_HEADER_BYTES + (off_t)i * header.slot_bytes;
                    if (pread(fd, &slot, sizeof(slot), at) == (ssize_t)sizeof(slot) &&
                        atomic_load(&slot.ring.head) != atomic_load(&slot.ring.tail))
                        drained = false;
                }
            }
            close(fd);
        }
        if (folder)
            closedir(folder);
        if (!drained)
            usleep(1000);
    }
    CHECK(drained);
}

static void locks_run(const char *trace, unsigned long count, struct load_best *best, struct found *found) {
    char locks[24], figures[128];
    struct load_run run;
    uint64_t slabs_first = 0, rss_first = 0, rss_most = 0;
    snprintf(locks, sizeof(locks), "%lu", count);
    if (!load_start(&run, trace, (const char *const[]){"WAITSCOPE_AGENT=ring=16777216", NULL},
                    (const char *const[]){"locks", locks, STEP, NULL}))
        return;
    if (load_hear(&run, "arena ", figures, sizeof(figures))) {
        unsigned long long arena = 0, size = 1;
        CHECK(sscanf(figures, "%llx %llu", &arena, &size) == 2);
        found->arena = arena;
        found->size = size;
    }
    unsigned long looks = (count - 1) / strtoul(STEP, NULL, 10);
    for (unsigned long i = 0; i <= looks; i++) {
        if (!load_hear(&run, i < looks ? "look" : "last", NULL, 0))
            break;
        if (trace) {
            drained_await(run.pid);
            uint64_t rss = load_status_kib(run.pid, "RssAnon");
            uint64_t slabs = load_descriptors(run.pid).slab_bytes;
            if (i == 0) {
                slabs_first = slabs;
                rss_first = rss;
            }
            rss_most = rss > rss_most ? rss : rss_most;
            if (i == looks && looks > 0) {
                double more = (double)count - strtod(STEP, NULL);
                double agent = ((double)slabs - (double)slabs_first) / more;
                double collector = (double)(rss_most - rss_first) * 1024 / more;
                printf("%lu locks: agent %.1f bytes a lock, collector %.1f\n", count, agent, collector);
                /* Rings are all that grows, up to their size. */
                CHECK(slabs <= AGENT_RING + (2U << 20));
                CHECK(count < 1000000 || agent <= BYTES_A_LOCK);
                /* Its buffers of rows and counts are bounded; what remains grows with locks. */
                CHECK((double)(rss_most - rss_first) * 1024 <= BYTES_A_LOCK * more + COLLECTOR_BUFFERS);
                CHECK(count < 1000000 || collector <= BYTES_A_LOCK);
            }
        }
        load_go(&run);
    }
    if (load_hear(&run, "done", figures, sizeof(figures)))
        load_best_take(best, figures);
    CHECK_EQ_INT(load_wait(&run), 0);
}

int main(void) {
    static struct found found;
    struct load_best bare = {0}, recorded = {0};
    struct load_trace trace;
    unsigned long count = load_size(200000, 1000000);
    if (!load_begin())
        return check_summary();
    locks_run(NULL, count, &bare, &found);
    locks_run(load_file("trace"), count, &recorded, &found);
    if (load_trace_read(load_file("trace"), &trace, found_block, &found)) {
        uint64_t wrong = 0;
        for (uint64_t n = 0; n < count; n++)
            wrong += found.counted[n + 1] != 1 + n % 3;
        CHECK(trace.state == TRACE_COMPLETE && !trace.damaged);
        load_trace_lossless(&trace);
        CHECK_EQ_U64(found.locks, count);
        CHECK_EQ_U64(wrong, 0);
    }
    printf("%lu locks: %.0f ms bare, %.0f ms recorded: %.2f x; processor time %.2f x\n", count,
           bare.wall / 1e6, recorded.wall / 1e6, recorded.wall / bare.wall, recorded.cpu / bare.cpu);
    return load_end();
}
