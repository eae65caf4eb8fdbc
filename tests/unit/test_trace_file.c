/* SPDX-License-Identifier: MIT */
/* Trace files read back: every kind, index, damage of every sort, growth, and what is no trace. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <zstd.h>

#include "check.h"
#include "format/crc32c.h"
#include "trace_rows.h"

#define BLOCKS_MAX 512U

/* What a reader said of a file. */
struct outcome {
    int error;
    uint32_t blocks;
    uint64_t offsets[BLOCKS_MAX];
    struct trace_reader_stats stats;
    struct trace_file_header header;
};

static struct outcome file_read(const char *path) {
    struct outcome outcome = {0};
    struct trace_reader *reader = NULL;
    struct trace_reader_block block;
    outcome.error = trace_reader_open(path, NULL, &reader);
    if (outcome.error < 0)
        return outcome;
    while ((outcome.error = trace_reader_next(reader, &block)) > 0 && outcome.blocks < BLOCKS_MAX)
        outcome.offsets[outcome.blocks++] = block.offset;
    outcome.stats = *trace_reader_stats(reader);
    outcome.header = *trace_reader_header(reader);
    trace_reader_free(reader);
    return outcome;
}

/* A complete file of a few kilobytes with small blocks of every kind. */
static void file_write(const char *path, uint32_t rows, uint32_t block_rows) {
    struct trace_writer_options options = {.overwrite = true, .block_rows = block_rows};
    struct trace_writer *writer = NULL;
    char row[TRACE_ROW_BYTES_MAX];
    CHECK_EQ_INT(trace_writer_open(path, &options, &writer), 0);
    for (uint32_t i = 0; i < rows; i++) {
        TRACE_EACH_KIND(kind) {
            trace_random_row((enum trace_kind_id)kind, row);
            CHECK_EQ_INT(trace_writer_row(writer, (enum trace_kind_id)kind, 0, row), 0);
        }
    }
    CHECK_EQ_INT(trace_writer_finish(writer), 0);
    trace_writer_free(writer);
}

/* Every kind, several threads, extreme values; rows of one kind and thread keep their order. */
static void test_round_trip(uint32_t rows, uint32_t block_rows) {
    enum { THREADS = 3 };
    const char *path = trace_path("round-trip");
    static char *expected[TRACE_KIND_LIMIT][THREADS];
    uint32_t seen[TRACE_KIND_LIMIT][THREADS] = {0};
    struct trace_writer_options options = {
        .overwrite = true, .block_rows = block_rows, .monotonic_ns = 5, .wall_ns = 6};
    struct trace_writer *writer = NULL;
    if (!CHECK_EQ_INT(trace_writer_open(path, &options, &writer), 0))
        return;
    TRACE_EACH_KIND(kind) {
        for (int thread = 0; thread < THREADS; thread++)
            expected[kind][thread] = malloc((size_t)rows * TRACE_KINDS[kind].row_bytes);
    }
    for (uint32_t i = 0; i < rows; i++) {
        TRACE_EACH_KIND(kind) {
            for (int thread = 0; thread < THREADS; thread++) {
                char *row = expected[kind][thread] + (size_t)i * TRACE_KINDS[kind].row_bytes;
                trace_random_row((enum trace_kind_id)kind, row);
                CHECK_EQ_INT(trace_writer_row(writer, (enum trace_kind_id)kind, (uint32_t)thread, row), 0);
            }
        }
    }
    CHECK_EQ_INT(trace_writer_finish(writer), 0);
    CHECK_EQ_U64(trace_writer_stats(writer)->rows_stored[TRACE_WAIT], (uint64_t)rows * THREADS);
    CHECK_EQ_U64(trace_writer_stats(writer)->rows_lost[TRACE_WAIT], 0);
    CHECK_EQ_U64(trace_writer_stats(writer)->buffered_bytes, 0);
    trace_writer_free(writer);

    struct trace_reader *reader = NULL;
    struct trace_reader_block block;
    CHECK_EQ_INT(trace_reader_open(path, NULL, &reader), 0);
    CHECK_EQ_U64(trace_reader_header(reader)->monotonic_ns, 5);
    CHECK_EQ_U64(trace_reader_header(reader)->wall_ns, 6);
    CHECK_EQ_U64(trace_reader_header(reader)->state, TRACE_COMPLETE);
    while (trace_reader_next(reader, &block) > 0) {
        if (block.kind == TRACE_INDEX)
            continue;
        bool equal = block.thread < THREADS && seen[block.kind][block.thread] + block.row_count <= rows;
        for (uint32_t i = 0; equal && i < block.row_count; i++) {
            size_t row_bytes = TRACE_KINDS[block.kind].row_bytes;
            equal = trace_rows_equal(block.kind, (const char *)block.rows + i * row_bytes,
                                     expected[block.kind][block.thread] +
                                         row_bytes * (seen[block.kind][block.thread] + i));
        }
        if (!CHECK(equal))
            break;
        seen[block.kind][block.thread] += block.row_count;
    }
    CHECK_EQ_U64(trace_reader_stats(reader)->torn_bytes, 0);
    CHECK_EQ_U64(trace_reader_stats(reader)->damaged_blocks, 0);
    trace_reader_free(reader);
    TRACE_EACH_KIND(kind) {
        for (int thread = 0; thread < THREADS; thread++) {
            CHECK_EQ_U64(seen[kind][thread], rows);
            free(expected[kind][thread]);
        }
    }
}

static void test_index(void) {
    const char *path = trace_path("index");
    file_write(path, 40, 8);
    struct outcome outcome = file_read(path);
    struct trace_reader *reader = NULL;
    struct trace_reader_options options = {.kinds = 1ULL << TRACE_INDEX};
    struct trace_reader_block block, other;
    CHECK_EQ_INT(trace_reader_open(path, &options, &reader), 0);
    CHECK_EQ_INT(trace_reader_next(reader, &block), 1);
    CHECK_EQ_INT((int)block.kind, TRACE_INDEX);
    CHECK_EQ_U64(block.offset, outcome.header.index_offset);
    CHECK_EQ_U64(block.row_count, outcome.blocks - 1);
    struct trace_index *rows = malloc(sizeof(*rows) * block.row_count);
    uint32_t count = block.row_count;
    memcpy(rows, block.rows, sizeof(*rows) * count);
    CHECK_EQ_INT(trace_reader_next(reader, &block), 0);
    CHECK_EQ_U64(trace_reader_stats(reader)->blocks, count + 1);

    trace_reader_rewind(reader, 0);
    for (uint32_t i = 0; i < count && trace_reader_next(reader, &other) > 0; i++) {
        CHECK_EQ_U64(rows[i].offset, other.offset);
        CHECK_EQ_U64(rows[i].kind, other.kind);
        CHECK_EQ_U64(rows[i].thread, other.thread);
        CHECK_EQ_U64(rows[i].rows, other.row_count);
        CHECK_EQ_U64(rows[i].time_begin, other.time_begin);
        CHECK_EQ_U64(rows[i].time_end, other.time_end);
    }
    free(rows);
    trace_reader_free(reader);
    CHECK_EQ_U64(outcome.header.end_offset, outcome.stats.file_bytes);
    CHECK(outcome.header.stop_ns >= outcome.header.monotonic_ns);
}

static uint64_t block_end(const struct outcome *whole, uint32_t block) {
    return block + 1 < whole->blocks ? whole->offsets[block + 1] : whole->stats.file_bytes;
}

/* The file cut at every byte from its last blocks on, and at its very start. */
static void test_torn_tail(void) {
    char path[PATH_MAX];
    size_t size;
    snprintf(path, sizeof(path), "%s", trace_path("torn"));
    file_write(path, 6, 3);
    char *bytes = trace_file_load(path, &size);
    struct outcome whole = file_read(path);
    CHECK(whole.blocks > 8);
    for (size_t cut = whole.offsets[whole.blocks - 6]; cut < size; cut++) {
        uint32_t kept = 0;
        while (kept < whole.blocks && block_end(&whole, kept) <= cut)
            kept++;
        if (truncate(path, (off_t)cut) != 0)
            abort();
        struct outcome torn = file_read(path);
        CHECK_EQ_INT(torn.error, 0);
        CHECK_EQ_U64(torn.blocks, kept);
        CHECK_EQ_U64(torn.stats.torn_bytes, cut - whole.offsets[kept]);
        CHECK_EQ_U64(torn.stats.missing_bytes, size - cut);
        CHECK_EQ_U64(torn.stats.damaged_blocks, 0);
        trace_file_save(path, bytes, size);
    }
    for (size_t cut = 0; cut < sizeof(struct trace_file_header); cut++) {
        trace_file_save(path, bytes, cut);
        CHECK_EQ_INT(file_read(path).error, cut < 8 ? -ENOEXEC : -EBADMSG);
    }
    free(bytes);
}

/* One bit changed at each byte in turn costs the block it is in, and no other. */
static void test_bit_flips(void) {
    char path[PATH_MAX];
    size_t size;
    snprintf(path, sizeof(path), "%s", trace_path("flips"));
    file_write(path, 4, 2);
    char *bytes = trace_file_load(path, &size);
    struct outcome whole = file_read(path);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    for (size_t at = whole.offsets[0]; at < size; at++) {
        char flipped = (char)(bytes[at] ^ (1 << trace_random() % 8));
        uint32_t victim = 0;
        while (block_end(&whole, victim) <= at)
            victim++;
        if (pwrite(fd, &flipped, 1, (off_t)at) != 1)
            abort();
        struct outcome damaged = file_read(path);
        bool last = victim == whole.blocks - 1;
        bool others = damaged.error == 0 && damaged.blocks == whole.blocks - 1;
        for (uint32_t i = 0; others && i < damaged.blocks; i++)
            others = damaged.offsets[i] == whole.offsets[i < victim ? i : i + 1];
        CHECK(others);
        CHECK_EQ_U64(damaged.stats.damaged_blocks, last ? 0 : 1);
        CHECK_EQ_U64(last ? damaged.stats.torn_bytes : damaged.stats.damaged_bytes,
                     block_end(&whole, victim) - whole.offsets[victim]);
        if (pwrite(fd, bytes + at, 1, (off_t)at) != 1)
            abort();
    }
    close(fd);
    free(bytes);
}

/* Appends a block made by hand to bytes, with a right checksum. Returns the new size. */
static size_t block_append(char *bytes, size_t size, struct trace_block_header header, const void *payload) {
    header.magic = TRACE_BLOCK_MAGIC;
    header.crc32c = 0;
    header.crc32c = crc32c(crc32c(0, &header, sizeof(header)), payload, header.stored_bytes);
    memcpy(bytes + size, &header, sizeof(header));
    memcpy(bytes + size + sizeof(header), payload, header.stored_bytes);
    return size + sizeof(header) + header.stored_bytes;
}

static void test_unknown_and_hostile_blocks(void) {
    char path[PATH_MAX], *bytes = malloc(1 << 20), packed[4096];
    char *zeros = calloc(1, TRACE_BLOCK_RAW_MAX + 1);
    size_t size, whole_size;
    snprintf(path, sizeof(path), "%s", trace_path("unknown"));
    file_write(path, 4, 2);
    char *whole_bytes = trace_file_load(path, &whole_size);
    struct outcome whole = file_read(path);
    memcpy(bytes, whole_bytes, size = whole.header.header_bytes);

    /* a kind, a flag and columns of a later version: whole, so not damaged, but passed over */
    size = block_append(
        bytes, size, (struct trace_block_header){.kind = 999, .rows = 1, .raw_bytes = 3, .stored_bytes = 3},
        "abc");
    size = block_append(bytes, size,
                        (struct trace_block_header){
                            .kind = TRACE_WAIT, .flags = 0x10, .rows = 1, .raw_bytes = 9, .stored_bytes = 3},
                        "abc");
    size = block_append(
        bytes, size,
        (struct trace_block_header){.kind = TRACE_END, .rows = 1, .raw_bytes = 8, .stored_bytes = 8},
        "\0\1\1\x0a\x32\1\1\7");
    /* losses alone */
    size = block_append(bytes, size, (struct trace_block_header){.kind = TRACE_WAIT, .thread = 3, .lost = 42},
                        "");
    /* right checksums, wrong contents: garbage, no zstd, a bomb, a frame of another size than told */
    size = block_append(
        bytes, size,
        (struct trace_block_header){.kind = TRACE_WAIT, .rows = 1, .raw_bytes = 3, .stored_bytes = 3}, "abc");
    size = block_append(
        bytes, size,
        (struct trace_block_header){
            .kind = TRACE_WAIT, .flags = TRACE_BLOCK_ZSTD, .rows = 1, .raw_bytes = 4, .stored_bytes = 3},
        "abc");
    size_t bomb = ZSTD_compress(packed, sizeof(packed), zeros, TRACE_BLOCK_RAW_MAX + 1, 1);
    CHECK(!ZSTD_isError(bomb));
    size = block_append(bytes, size,
                        (struct trace_block_header){.kind = TRACE_WAIT,
                                                    .flags = TRACE_BLOCK_ZSTD,
                                                    .rows = 1,
                                                    .raw_bytes = TRACE_BLOCK_RAW_MAX,
                                                    .stored_bytes = (uint32_t)bomb},
                        packed);
    memcpy(bytes + size, whole_bytes + whole.header.header_bytes, whole_size - whole.header.header_bytes);
    trace_file_save(path, bytes, size + whole_size - whole.header.header_bytes);

    struct trace_reader *reader = NULL;
    struct trace_reader_block block;
    CHECK_EQ_INT(trace_reader_open(path, NULL, &reader), 0);
    if (CHECK_EQ_INT(trace_reader_next(reader, &block), 1)) {
        const struct trace_end *end = block.rows;
        CHECK_EQ_INT((int)block.kind, TRACE_END);
        CHECK_EQ_U64(end->time, 10);
        CHECK_EQ_U64(end->emitted, 0);
    }
    if (CHECK_EQ_INT(trace_reader_next(reader, &block), 1)) {
        CHECK_EQ_U64(block.row_count, 0);
        CHECK_EQ_U64(block.lost, 42);
        CHECK_EQ_U64(block.thread, 3);
    }
    uint32_t rest = 0;
    while (trace_reader_next(reader, &block) > 0)
        rest++;
    CHECK_EQ_U64(rest, whole.blocks);
    CHECK_EQ_U64(trace_reader_stats(reader)->unknown_blocks, 2);
    CHECK_EQ_U64(trace_reader_stats(reader)->damaged_blocks, 3);
    trace_reader_free(reader);

    /* sizes past the limits are no block at all, whatever the checksum says */
    memcpy(bytes, whole_bytes, size = whole.header.header_bytes);
    size =
        block_append(bytes, size,
                     (struct trace_block_header){
                         .kind = TRACE_END, .rows = TRACE_BLOCK_ROWS_MAX, .raw_bytes = 3, .stored_bytes = 3},
                     "abc");
    trace_file_save(path, bytes, size);
    struct outcome outcome = file_read(path);
    CHECK_EQ_INT(outcome.error, 0);
    CHECK_EQ_U64(outcome.blocks, 0);
    CHECK_EQ_U64(outcome.stats.torn_bytes, sizeof(struct trace_block_header) + 3);
    free(zeros);
    free(whole_bytes);
    free(bytes);
}

/* A file of nothing but headers whose checksums fail must not take the square of its size. */
static void test_many_false_headers(void) {
    const size_t size = 4 << 20;
    char *bytes = malloc(size);
    struct trace_file_header file = {.magic = TRACE_MAGIC,
                                     .version = TRACE_VERSION,
                                     .header_bytes = TRACE_FILE_HEADER_BYTES,
                                     .state = TRACE_RECORDING};
    memcpy(bytes, &file, sizeof(file));
    for (size_t at = TRACE_FILE_HEADER_BYTES; at + sizeof(struct trace_block_header) <= size;
         at += sizeof(struct trace_block_header)) {
        uint32_t claimed = (uint32_t)(size - at - sizeof(struct trace_block_header));
        struct trace_block_header header = {.magic = TRACE_BLOCK_MAGIC,
                                            .kind = TRACE_WAIT,
                                            .rows = 1,
                                            .raw_bytes = claimed,
                                            .stored_bytes = claimed};
        memcpy(bytes + at, &header, sizeof(header));
    }
    const char *path = trace_path("false-headers");
    trace_file_save(path, bytes, size);
    struct timespec begin, end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    struct outcome outcome = file_read(path);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    CHECK_EQ_INT(outcome.error, 0);
    CHECK_EQ_U64(outcome.blocks, 0);
    CHECK(end.tv_sec - begin.tv_sec <= 10); /* all pairs would take minutes; sanitizers are slow */
    free(bytes);
}

static void test_refused_files(void) {
    char path[PATH_MAX];
    size_t size;
    snprintf(path, sizeof(path), "%s", trace_path("refused"));
    CHECK_EQ_INT(file_read(path).error, -ENOENT);
    CHECK_EQ_INT(file_read("/dev/zero").error, -ENOEXEC);
    CHECK_EQ_INT(file_read("/tmp").error, -ENOEXEC);
    CHECK_EQ_INT(mkfifo(path, 0600), 0);
    CHECK_EQ_INT(file_read(path).error, -ENOEXEC);
    unlink(path);
    trace_file_save(path, "", 0);
    CHECK_EQ_INT(file_read(path).error, -ENOEXEC);
    trace_file_save(path, "#!/bin/sh\nexit 0\n", 17);
    CHECK_EQ_INT(file_read(path).error, -ENOEXEC);

    file_write(path, 2, 2);
    char *bytes = trace_file_load(path, &size);
    struct trace_file_header good, header;
    memcpy(&good, bytes, sizeof(good));
    const struct {
        uint32_t version, header_bytes;
        int error;
    } cases[] = {{TRACE_VERSION + 1, TRACE_FILE_HEADER_BYTES, -EPROTO},
                 {UINT32_MAX, 1, -EPROTO},
                 {0, TRACE_FILE_HEADER_BYTES, -EBADMSG},
                 {TRACE_VERSION, 10, -EBADMSG},
                 {TRACE_VERSION, UINT32_MAX, -EBADMSG},
                 {TRACE_VERSION, TRACE_FILE_HEADER_BYTES, 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        header = good;
        header.version = cases[i].version;
        header.header_bytes = cases[i].header_bytes;
        header.state = 77;
        memcpy(bytes, &header, sizeof(header));
        trace_file_save(path, bytes, size);
        struct outcome outcome = file_read(path);
        CHECK_EQ_INT(outcome.error, cases[i].error);
        if (cases[i].error == 0)
            CHECK_EQ_U64(outcome.header.state, TRACE_RECORDING);
    }
    free(bytes);
    trace_reader_free(NULL);
}

int main(void) {
    test_round_trip(1, 0);
    test_round_trip(50, 7);
    test_round_trip(700, 0);
    test_index();
    test_torn_tail();
    test_bit_flips();
    test_unknown_and_hostile_blocks();
    test_many_false_headers();
    test_refused_files();
    trace_folder_remove();
    return check_summary();
}
