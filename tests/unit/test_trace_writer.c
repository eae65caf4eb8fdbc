/* SPDX-License-Identifier: MIT */
/* The writer: definitions before use, every write made to fail, live reading, strings, memory. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "check.h"
#include "trace_rows.h"

/* A disk that fails from the fail_at-th write on (1 is the first). */
struct disk {
    uint32_t writes, fail_at;
    bool once;         /* only that write fails */
    bool partial;      /* the failing write first takes half of its bytes */
    bool header_fails; /* also the rewriting of the file header; else the disk is merely full */
    bool truncate_fails;
    int error;
    uint64_t clock, failed_at; /* the time told at the first failure */
};

static ssize_t disk_pwritev(void *context, int fd, const struct iovec *vectors, int count, off_t offset) {
    struct disk *disk = context;
    bool in_place = offset > 0 && offset < (off_t)sizeof(struct trace_file_header);
    disk->writes++;
    disk->clock += 1000;
    bool failing =
        disk->fail_at > 0 && (disk->once ? disk->writes == disk->fail_at : disk->writes >= disk->fail_at);
    if (!failing || (in_place && !disk->header_fails))
        return pwritev(fd, vectors, count, offset);
    if (disk->failed_at == 0)
        disk->failed_at = disk->clock;
    if (disk->partial && disk->writes == disk->fail_at) {
        size_t half = vectors[0].iov_len / 2 + 1;
        return pwrite(fd, vectors[0].iov_base, half < vectors[0].iov_len ? half : vectors[0].iov_len, offset);
    }
    errno = disk->error;
    return -1;
}

static int disk_ftruncate(void *context, int fd, off_t bytes) {
    struct disk *disk = context;
    errno = EIO;
    return disk->truncate_fails ? -1 : ftruncate(fd, bytes);
}

static uint64_t disk_now(void *context) {
    return ((struct disk *)context)->clock;
}

static uint64_t sum_of(const uint64_t *numbers) {
    uint64_t sum = 0;
    for (int i = 0; i < TRACE_KIND_LIMIT; i++)
        sum += numbers[i];
    return sum;
}

/* The same rows each time it is called. Returns how many were handed in, the writer's own included. */
static uint64_t rows_write(struct trace_writer *writer) {
    char row[TRACE_ROW_BYTES_MAX];
    uint64_t rows = 0;
    trace_random_row(TRACE_STRING, row); /* makes the texts, the first time */
    trace_random_state = 42;
    for (uint32_t i = 0; i < 12; i++) {
        TRACE_EACH_KIND(kind) {
            rows++;
            trace_random_row((enum trace_kind_id)kind, row);
            (void)trace_writer_row(writer, (enum trace_kind_id)kind, i % 2, row);
        }
        if (i == 6)
            (void)trace_writer_flush(writer);
    }
    return rows;
}

struct failure_case {
    struct disk disk;
    const char *what;
};

/* Fails the n-th write for each n, until n is past the last one. */
static void test_write_failures(const struct failure_case *failure) {
    char path[PATH_MAX];
    size_t whole_size;
    struct disk disk = {.clock = 1000000};
    const struct trace_writer_ops ops = {disk_pwritev, disk_ftruncate, disk_now, &disk};
    const struct trace_writer_options options = {
        .overwrite = true, .block_rows = 4, .ops = &ops, .monotonic_ns = 1, .wall_ns = 1};
    struct trace_writer *writer = NULL;
    snprintf(path, sizeof(path), "%s", trace_path("failures"));
    CHECK_EQ_INT(trace_writer_open(path, &options, &writer), 0);
    rows_write(writer);
    CHECK_EQ_INT(trace_writer_finish(writer), 0);
    trace_writer_free(writer);
    char *whole = trace_file_load(path, &whole_size);
    uint32_t writes = disk.writes;
    CHECK(writes > 50);

    for (uint32_t n = 1; n <= writes + 1; n++) {
        if (atomic_load(&check_failed) > 0) {
            fprintf(stderr, "failing where %s, before write %u\n", failure->what, n);
            break;
        }
        disk = failure->disk;
        disk.clock = 1000000;
        disk.fail_at = n;
        int error = trace_writer_open(path, &options, &writer);
        if (n == 1) {
            /* A half header cannot be told from none: the file is gone again. */
            CHECK_EQ_INT(error, disk.partial && disk.once ? 0 : -disk.error);
            CHECK_EQ_INT(access(path, F_OK) == 0, error == 0);
            if (error == 0)
                trace_writer_free(writer);
            continue;
        }
        if (!CHECK_EQ_INT(error, 0))
            continue;
        uint64_t rows = rows_write(writer);
        error = trace_writer_finish(writer);
        struct trace_writer_stats stats = *trace_writer_stats(writer);
        CHECK_EQ_U64(stats.buffered_bytes, 0);
        trace_writer_free(writer);

        /* A short write whose rest goes through is none; neither is a failing index. */
        bool index_only = n == writes - 1 && (!disk.header_fails || disk.once);
        bool stopped = n <= writes && !index_only && !(disk.partial && disk.once) &&
                       !(n == writes && !disk.header_fails);
        struct trace_reader *reader = NULL;
        struct trace_reader_block block;
        uint64_t read = 0, bytes = TRACE_FILE_HEADER_BYTES;
        size_t size;
        if (!CHECK_EQ_INT(trace_reader_open(path, NULL, &reader), 0))
            continue;
        while (trace_reader_next(reader, &block) > 0)
            read += block.kind == TRACE_INDEX ? 0 : block.row_count;
        const struct trace_file_header *header = trace_reader_header(reader);
        const struct trace_reader_stats *reading = trace_reader_stats(reader);

        CHECK_EQ_U64(stats.state, stopped ? TRACE_STOPPED : TRACE_COMPLETE);
        CHECK_EQ_INT(error, stopped ? -disk.error : 0);
        CHECK_EQ_U64(sum_of(stats.rows_stored) + sum_of(stats.rows_lost), rows);
        CHECK_EQ_U64(sum_of(stats.rows_stored), read);
        CHECK_EQ_U64(reading->damaged_blocks, 0);
        if (stopped) {
            CHECK_EQ_INT(stats.stop_errno, disk.error);
            /* Of the failing call itself: the rest of a short write, or the header after the index. */
            uint64_t later = (disk.partial ? 1000 : 0) + (n == writes - 1 ? 1000 : 0);
            CHECK_EQ_U64(stats.stop_ns, disk.failed_at + later);
        }
        bool header_written = !(stopped && disk.header_fails && !disk.once);
        if (header_written && stopped) {
            CHECK_EQ_U64(header->state, TRACE_STOPPED);
            CHECK_EQ_INT(header->stop_errno, disk.error);
            CHECK_EQ_U64(header->stop_ns, stats.stop_ns);
            CHECK_EQ_U64(header->index_offset, 0);
            CHECK_EQ_U64(header->end_offset, stats.file_bytes);
        } else if (header_written) {
            CHECK_EQ_U64(header->state, TRACE_COMPLETE);
            CHECK_EQ_INT(header->index_offset == 0, index_only && !(disk.partial && disk.once));
        } else if (!(disk.partial && n == writes)) {
            /* Half of the last header says complete, and the blocks are. */
            CHECK_EQ_U64(header->state, TRACE_RECORDING);
        }
        if (!disk.truncate_fails) {
            CHECK_EQ_U64(reading->torn_bytes, 0);
            CHECK_EQ_U64(reading->file_bytes, stats.file_bytes);
        }
        trace_reader_free(reader);

        /* What was written before is byte for byte what it is without a failure. */
        char *kept = trace_file_load(path, &size);
        CHECK(stats.file_bytes <= size && stats.file_bytes <= whole_size);
        if (stats.file_bytes <= size && stats.file_bytes <= whole_size)
            CHECK_MEM(kept + bytes, whole + bytes, stats.file_bytes - bytes);
        free(kept);
    }
    free(whole);
}

/* Every id that a row uses has been defined in an earlier block or row. */
static void test_definitions_first(void) {
    enum { COUNT = 3000 };
    char path[PATH_MAX];
    struct trace_writer_options options = {.overwrite = true, .block_rows = 64};
    struct trace_writer *writer = NULL;
    snprintf(path, sizeof(path), "%s", trace_path("order"));
    CHECK_EQ_INT(trace_writer_open(path, &options, &writer), 0);
    for (uint64_t i = 1; i <= COUNT; i++) {
        char text[32];
        int size = snprintf(text, sizeof(text), "string %d", (int)i);
        uint64_t string = trace_writer_string(writer, text, (size_t)size);
        CHECK_EQ_U64(string, i);
        struct trace_module module = {.id = i, .process = 1, .path = string};
        struct trace_location location = {.id = i, .process = 1, .pc = i * 7, .module = i};
        uint64_t items[2] = {i, (i + 1) / 2};
        struct trace_stack stack = {.id = i, .locations = {items, 2}};
        struct trace_lock lock = {.id = i, .process = 1, .init_stack = i, .first_site = i};
        struct trace_wait wait = {.begin = i, .lock = i, .stack = i, .owner_site = i};
        /* Few modules, locations and stacks but many waits, and the other way around. */
        CHECK_EQ_INT(trace_writer_row(writer, TRACE_MODULE, 0, &module), 0);
        CHECK_EQ_INT(trace_writer_row(writer, TRACE_LOCATION, 0, &location), 0);
        CHECK_EQ_INT(trace_writer_row(writer, TRACE_STACK, 0, &stack), 0);
        CHECK_EQ_INT(trace_writer_row(writer, TRACE_LOCK, 0, &lock), 0);
        for (uint64_t repeat = 0; repeat < (i < COUNT / 2 ? 5 : i % 3 == 0); repeat++)
            CHECK_EQ_INT(trace_writer_row(writer, TRACE_WAIT, (uint32_t)(i % 3), &wait), 0);
    }
    CHECK_EQ_INT(trace_writer_finish(writer), 0);
    trace_writer_free(writer);

    struct trace_reader *reader = NULL;
    struct trace_reader_block block;
    uint64_t strings = 0, modules = 0, locations = 0, stacks = 0, locks = 0, waits = 0;
    bool ordered = true;
    CHECK_EQ_INT(trace_reader_open(path, NULL, &reader), 0);
    while (trace_reader_next(reader, &block) > 0) {
        for (uint32_t i = 0; i < block.row_count; i++) {
            if (block.kind == TRACE_STRING) {
                ordered = ordered && ((const struct trace_string *)block.rows)[i].id == ++strings;
            } else if (block.kind == TRACE_MODULE) {
                modules++;
                ordered = ordered && ((const struct trace_module *)block.rows)[i].path <= strings;
            } else if (block.kind == TRACE_LOCATION) {
                locations++;
                ordered = ordered && ((const struct trace_location *)block.rows)[i].module <= modules;
            } else if (block.kind == TRACE_STACK) {
                stacks++;
                ordered =
                    ordered && ((const struct trace_stack *)block.rows)[i].locations.items[0] <= locations;
            } else if (block.kind == TRACE_LOCK) {
                locks++;
                ordered = ordered && ((const struct trace_lock *)block.rows)[i].init_stack <= stacks;
            } else if (block.kind == TRACE_WAIT) {
                const struct trace_wait *wait = (const struct trace_wait *)block.rows + i;
                waits++;
                ordered =
                    ordered && wait->lock <= locks && wait->stack <= stacks && wait->owner_site <= locations;
            }
        }
    }
    CHECK(ordered);
    CHECK_EQ_U64(strings, COUNT);
    CHECK_EQ_U64(locks, COUNT);
    CHECK(waits > COUNT * 2);
    trace_reader_free(reader);
}

/* A reader that follows a file while it is written sees what was flushed, each row once. */
static void test_live(void) {
    char path[PATH_MAX];
    struct trace_writer_options options = {.overwrite = true};
    struct trace_writer *writer = NULL;
    struct trace_reader *reader = NULL;
    struct trace_reader_block block;
    uint64_t written = 0, read = 0;
    snprintf(path, sizeof(path), "%s", trace_path("live"));
    CHECK_EQ_INT(trace_writer_open(path, &options, &writer), 0);
    CHECK_EQ_INT(trace_reader_open(path, NULL, &reader), 0);
    CHECK_EQ_INT(trace_reader_next(reader, &block), 0);
    for (int tick = 0; tick < 50; tick++) {
        for (int i = 0; i < tick; i++) {
            struct trace_wait wait = {.begin = ++written, .duration = 5, .lock = 1};
            CHECK_EQ_INT(trace_writer_row(writer, TRACE_WAIT, 1, &wait), 0);
        }
        CHECK_EQ_INT(trace_writer_flush(writer), 0);
        while (trace_reader_next(reader, &block) > 0) {
            const struct trace_wait *rows = block.rows;
            for (uint32_t i = 0; i < block.row_count; i++)
                CHECK_EQ_U64(rows[i].begin, ++read);
            CHECK_EQ_U64(block.time_begin, rows[0].begin);
            CHECK_EQ_U64(block.time_end, rows[block.row_count - 1].begin + 5);
        }
        CHECK_EQ_U64(read, written);
        CHECK_EQ_U64(trace_reader_header(reader)->state, TRACE_RECORDING);
    }
    CHECK_EQ_INT(trace_writer_finish(writer), 0);
    CHECK_EQ_INT(trace_writer_finish(writer), 0);
    struct trace_wait late = {.begin = 1};
    CHECK_EQ_INT(trace_writer_row(writer, TRACE_WAIT, 1, &late), -EINVAL);
    CHECK_EQ_U64(trace_writer_stats(writer)->rows_lost[TRACE_WAIT], 1);
    CHECK_EQ_INT(trace_reader_next(reader, &block), 1);
    CHECK_EQ_INT((int)block.kind, TRACE_INDEX);
    CHECK_EQ_INT(trace_reader_next(reader, &block), 0);
    CHECK_EQ_U64(trace_reader_header(reader)->state, TRACE_COMPLETE);
    trace_reader_free(reader);
    trace_writer_free(writer);
}

static void test_strings_and_limits(void) {
    char path[PATH_MAX], *large = malloc(3 << 20);
    struct trace_writer_options options = {.overwrite = true};
    struct trace_writer *writer = NULL;
    snprintf(path, sizeof(path), "%s", trace_path("strings"));
    memset(large, 'x', 3 << 20);
    CHECK_EQ_INT(trace_writer_open(path, &options, &writer), 0);
    CHECK_EQ_U64(trace_writer_string(writer, NULL, 0), 0);
    CHECK_EQ_U64(trace_writer_string(writer, "one", 3), 1);
    CHECK_EQ_U64(trace_writer_string(writer, "two", 3), 2);
    CHECK_EQ_U64(trace_writer_string(writer, "on", 2), 3);
    CHECK_EQ_U64(trace_writer_string(writer, "one\0two", 7), 4);
    CHECK_EQ_U64(trace_writer_string(writer, "one", 3), 1);
    CHECK_EQ_U64(trace_writer_string(writer, large, 3 << 20), 5);
    CHECK_EQ_U64(trace_writer_string(writer, large, 65536), 5);
    for (int round = 0; round < 2; round++) {
        bool right = true;
        for (int i = 0; i < 20000; i++) {
            char text[16];
            int size = snprintf(text, sizeof(text), "s%d", i);
            right = right && trace_writer_string(writer, text, (size_t)size) == (uint64_t)i + 6;
        }
        CHECK(right);
    }
    struct trace_string text = {.id = 1, .text = {large, 3 << 20}};
    CHECK_EQ_INT(trace_writer_row(writer, TRACE_STRING, 0, &text), -E2BIG);
    struct trace_stack stack = {.id = 1, .locations = {(const uint64_t *)(void *)large, UINT64_MAX / 4}};
    CHECK_EQ_INT(trace_writer_row(writer, TRACE_STACK, 0, &stack), -E2BIG);
    CHECK_EQ_INT(trace_writer_row(writer, (enum trace_kind_id)0, 0, &text), -EINVAL);
    CHECK_EQ_INT(trace_writer_row(writer, TRACE_INDEX, 0, &text), -EINVAL);
    CHECK_EQ_INT(trace_writer_row(writer, TRACE_KIND_LIMIT, 0, &text), -EINVAL);
    CHECK_EQ_INT(trace_writer_lost(writer, TRACE_WAIT, 7, 12), 0);
    CHECK_EQ_INT(trace_writer_finish(writer), 0);
    CHECK_EQ_U64(trace_writer_stats(writer)->rows_stored[TRACE_STRING], 20005);
    CHECK_EQ_U64(trace_writer_stats(writer)->rows_lost[TRACE_STRING], 1);
    CHECK_EQ_U64(trace_writer_string(writer, "late", 4), 0);
    trace_writer_free(writer);
    trace_writer_free(NULL);
    free(large);

    struct trace_reader *reader = NULL;
    struct trace_reader_block block;
    uint64_t wait_lost = 0, stack_lost = 0;
    CHECK_EQ_INT(trace_reader_open(path, NULL, &reader), 0);
    while (trace_reader_next(reader, &block) > 0) {
        wait_lost += block.kind == TRACE_WAIT && block.thread == 7 ? block.lost : 0;
        stack_lost += block.kind == TRACE_STACK ? block.lost : 0;
    }
    CHECK_EQ_U64(wait_lost, 12);
    CHECK_EQ_U64(stack_lost, 1);
    trace_reader_free(reader);
}

/* Ten thousand threads with two rows each stay small; all the memory goes at a flush. */
static void test_many_threads(void) {
    char path[PATH_MAX];
    struct trace_writer_options options = {.overwrite = true};
    struct trace_writer *writer = NULL;
    snprintf(path, sizeof(path), "%s", trace_path("threads"));
    CHECK_EQ_INT(trace_writer_open(path, &options, &writer), 0);
    for (uint32_t i = 0; i < 20000; i++) {
        struct trace_wait wait = {.begin = i + 1, .lock = 1};
        CHECK_EQ_INT(trace_writer_row(writer, TRACE_WAIT, i % 10000, &wait), 0);
    }
    CHECK(trace_writer_stats(writer)->buffered_bytes <= 10000 * 512);
    CHECK_EQ_INT(trace_writer_flush(writer), 0);
    CHECK_EQ_U64(trace_writer_stats(writer)->buffered_bytes, 0);
    CHECK_EQ_U64(trace_writer_stats(writer)->rows_stored[TRACE_WAIT], 20000);
    uint64_t most = 0;
    for (uint32_t i = 0; i < 2000000; i++) {
        struct trace_wait wait = {.begin = i + 1, .lock = 1};
        (void)trace_writer_row(writer, TRACE_WAIT, i % 500, &wait);
        uint64_t now = trace_writer_stats(writer)->buffered_bytes;
        most = now > most ? now : most;
    }
    CHECK(most < 40 << 20);
    CHECK_EQ_INT(trace_writer_finish(writer), 0);
    CHECK_EQ_U64(trace_writer_stats(writer)->rows_stored[TRACE_WAIT], 2020000);
    trace_writer_free(writer);
}

static void test_creation(void) {
    char path[PATH_MAX], target[PATH_MAX];
    struct trace_writer_options options = {.overwrite = true};
    struct trace_writer *writer = NULL;
    struct stat info;
    snprintf(path, sizeof(path), "%s", trace_path("created"));
    snprintf(target, sizeof(target), "%s", trace_path("target"));
    mode_t mask = umask(0);
    CHECK_EQ_INT(trace_writer_open(path, NULL, &writer), 0);
    umask(mask);
    trace_writer_free(writer);
    CHECK_EQ_INT(stat(path, &info), 0);
    CHECK_EQ_U64(info.st_mode & 07777, 0600);
    CHECK_EQ_INT(trace_writer_open(path, NULL, &writer), -EEXIST);
    /* Overwriting leaves alone whoever has the old file. */
    CHECK_EQ_INT(link(path, target), 0);
    CHECK_EQ_INT(chmod(path, 0644), 0);
    CHECK_EQ_INT(trace_writer_open(path, &options, &writer), 0);
    trace_writer_free(writer);
    CHECK_EQ_INT(stat(path, &info), 0);
    CHECK_EQ_U64(info.st_mode & 07777, 0600);
    CHECK_EQ_U64(info.st_nlink, 1);
    unlink(target);
    unlink(path);
    CHECK_EQ_INT(symlink(target, path), 0);
    CHECK_EQ_INT(trace_writer_open(path, NULL, &writer), -EEXIST);
    CHECK_EQ_INT(trace_writer_open(path, &options, &writer), -EEXIST);
    CHECK_EQ_INT(access(target, F_OK), -1);
    unlink(path);
    CHECK_EQ_INT(trace_writer_open("/dev/null", &options, &writer), -EEXIST);
    CHECK_EQ_INT(trace_writer_open("/nonexistent/file", NULL, &writer), -ENOENT);
}

int main(void) {
    const struct failure_case failures[] = {
        {{.error = ENOSPC}, "the disk is full"},
        {{.error = EIO, .header_fails = true}, "nothing can be written"},
        {{.error = ENOSPC, .partial = true}, "short, then full"},
        {{.error = ENOSPC, .partial = true, .once = true}, "short, and the rest goes through"},
        {{.error = EIO, .header_fails = true, .once = true}, "one passing error"},
        {{.error = EIO, .partial = true, .header_fails = true, .truncate_fails = true}, "a torn tail stays"},
    };
    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++)
        test_write_failures(&failures[i]);
    test_definitions_first();
    test_live();
    test_strings_and_limits();
    test_many_threads();
    test_creation();
    trace_folder_remove();
    return check_summary();
}
