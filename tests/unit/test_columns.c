/* SPDX-License-Identifier: MIT */
/* The column codec alone: round trips, payloads made by hand, growth, and lies. */
#include <errno.h>
#include <stdlib.h>

#include "check.h"
#include "format/columns.h"

#define ROWS_MAX 300U

static uint64_t random_state = 0x1234567;

static uint64_t random_next(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Of any magnitude, the limits among them. */
static uint64_t random_value(void) {
    uint64_t bits = random_next() % 66;
    return bits == 65   ? UINT64_MAX
           : bits == 0  ? 0
           : bits == 64 ? random_next()
                        : random_next() >> (64 - bits);
}

struct test_row {
    uint64_t first, plain, delta;
    struct trace_bytes bytes;
    struct trace_list list;
};

static const struct trace_column TEST_COLUMNS[] = {
    {"first", offsetof(struct test_row, first), TRACE_DELTA},
    {"plain", offsetof(struct test_row, plain), TRACE_PLAIN},
    {"delta", offsetof(struct test_row, delta), TRACE_DELTA},
    {"bytes", offsetof(struct test_row, bytes), TRACE_BYTES},
    {"list", offsetof(struct test_row, list), TRACE_LIST},
};
static const struct trace_kind TEST_KIND = {"test", sizeof(struct test_row), 5, TEST_COLUMNS};

static char random_text[4096];
static uint64_t random_items[4096];

static void random_row(struct test_row *row) {
    uint64_t size = random_next() % 4 ? random_next() % 20 : 0,
             count = random_next() % 4 ? random_next() % 12 : 0;
    *row = (struct test_row){random_value(),
                             random_value(),
                             random_value(),
                             {size ? random_text + random_next() % 4000 : NULL, size},
                             {count ? random_items + random_next() % 4000 : NULL, count}};
}

static bool rows_equal(const struct test_row *a, const struct test_row *b, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (a[i].first != b[i].first || a[i].plain != b[i].plain || a[i].delta != b[i].delta ||
            a[i].bytes.size != b[i].bytes.size || a[i].list.count != b[i].list.count)
            return false;
        if (a[i].bytes.size > 0 && memcmp(a[i].bytes.data, b[i].bytes.data, a[i].bytes.size) != 0)
            return false;
        if (a[i].list.count > 0 && memcmp(a[i].list.items, b[i].list.items, a[i].list.count * 8) != 0)
            return false;
    }
    return true;
}

/* Measures and decodes as a reader would, into memory of exactly the size needed (for ASan). */
static int decode(const struct trace_kind *kind, const void *payload, size_t size, uint32_t rows,
                  void **ret_rows, uint64_t **ret_items) {
    size_t items = 0;
    int error = columns_measure(kind, payload, size, rows, &items);
    if (error < 0)
        return error;
    CHECK(items <= size);
    *ret_rows = malloc((size_t)kind->row_bytes * rows);
    *ret_items = malloc(items * sizeof(uint64_t) + 1);
    memset(*ret_rows, 0xa5, (size_t)kind->row_bytes * rows);
    error = columns_decode(kind, payload, size, rows, *ret_rows, *ret_items, items);
    if (error < 0) {
        free(*ret_rows);
        free(*ret_items);
    }
    return error;
}

static void check_round_trip(const struct test_row *rows, uint32_t count) {
    size_t bound = columns_bound(&TEST_KIND, rows, count), size = 0;
    char *payload = malloc(bound);
    CHECK_EQ_INT(columns_encode(&TEST_KIND, rows, count, payload, bound, &size, NULL), 0);
    CHECK(size >= count && size <= bound);
    char *exact = malloc(size);
    memcpy(exact, payload, size);
    void *back;
    uint64_t *items;
    if (CHECK_EQ_INT(decode(&TEST_KIND, exact, size, count, &back, &items), 0)) {
        CHECK(rows_equal(rows, back, count));
        free(back);
        free(items);
    }
    free(exact);
    free(payload);
}

static void test_round_trip(void) {
    struct test_row rows[ROWS_MAX];
    for (int turn = 0; turn < 400; turn++) {
        uint32_t count = (uint32_t)(random_next() % ROWS_MAX) + 1;
        for (uint32_t i = 0; i < count; i++) {
            random_row(&rows[i]);
            /* Columns that are all zero or all the same take other ways. */
            if (turn % 3 == 1)
                rows[i].plain = 0, rows[i].delta = 77, rows[i].list = (struct trace_list){0};
            if (turn % 3 == 2)
                rows[i].plain = UINT64_MAX, rows[i].delta = 0, rows[i].bytes = (struct trace_bytes){0};
            if (turn % 7 == 0)
                rows[i].first = 0;
        }
        check_round_trip(rows, count);
    }
    memset(rows, 0, sizeof(rows));
    check_round_trip(rows, ROWS_MAX);
    check_round_trip(rows, 1);
}

static void test_encode_limits(void) {
    struct test_row row;
    size_t size = 99;
    char buffer[256];
    random_row(&row);
    CHECK_EQ_INT(columns_encode(&TEST_KIND, &row, 0, buffer, sizeof(buffer), &size, NULL), -EINVAL);
    CHECK_EQ_INT(columns_encode(&TEST_KIND, &row, 1, buffer, 3, &size, NULL), -ENOSPC);
    CHECK_EQ_U64(size, 99);
}

#define PAYLOAD(...) ((const unsigned char[]){__VA_ARGS__}), sizeof((const unsigned char[]){__VA_ARGS__})

/* Returns what decoding says; on success the rows are in *ret. */
static int decode_hand(const unsigned char *bytes, size_t size, uint32_t rows, struct test_row *ret) {
    unsigned char *exact = malloc(size + 1);
    memcpy(exact, bytes, size);
    void *back;
    uint64_t *items;
    int error = decode(&TEST_KIND, exact, size, rows, &back, &items);
    if (error == 0) {
        if (ret)
            memcpy(ret, back, sizeof(*ret) * rows);
        free(back);
        free(items);
    }
    free(exact);
    return error;
}

static void test_by_hand(void) {
    struct test_row rows[2];
    /* first: +5, -1; plain: 300, 1; bytes and list missing */
    CHECK_EQ_INT(decode_hand(PAYLOAD(0, TRACE_DELTA, 2, 10, 1, 1, TRACE_PLAIN, 3, 0xac, 2, 1), 2, rows), 0);
    CHECK_EQ_U64(rows[0].first, 5);
    CHECK_EQ_U64(rows[1].first, 4);
    CHECK_EQ_U64(rows[0].plain, 300);
    CHECK_EQ_U64(rows[1].plain, 1);
    CHECK_EQ_U64(rows[1].delta, 0);
    CHECK_EQ_U64(rows[1].bytes.size, 0);
    CHECK_EQ_U64(rows[1].list.count, 0);
    /* The coding stored counts, not the table's; the same value in all rows. */
    CHECK_EQ_INT(decode_hand(PAYLOAD(0, TRACE_PLAIN, 2, 10, 1, 2, COLUMNS_SAME, 1, 9), 2, rows), 0);
    CHECK_EQ_U64(rows[0].first, 10);
    CHECK_EQ_U64(rows[1].first, 1);
    CHECK_EQ_U64(rows[0].delta, 9);
    CHECK_EQ_U64(rows[1].delta, 9);
    /* A column 9 and a coding 200 of a later version are passed over. */
    CHECK_EQ_INT(
        decode_hand(PAYLOAD(0, TRACE_PLAIN, 2, 3, 4, 1, 200, 3, 1, 2, 3, 9, TRACE_PLAIN, 2, 1, 1), 2, rows),
        0);
    CHECK_EQ_U64(rows[1].first, 4);
    CHECK_EQ_U64(rows[1].plain, 0);
    /* Largest varint. */
    CHECK_EQ_INT(
        decode_hand(PAYLOAD(0, TRACE_PLAIN, 10, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1), 1, rows), 0);
    CHECK_EQ_U64(rows[0].first, UINT64_MAX);
}

static void test_lies(void) {
    /* no rows, no column, column 0 missing, column 0 not row by row */
    CHECK_EQ_INT(decode_hand(PAYLOAD(0, TRACE_PLAIN, 1, 1), 0, NULL), -EBADMSG);
    CHECK_EQ_INT(decode_hand(PAYLOAD(0), 1, NULL), -EBADMSG);
    CHECK_EQ_INT(decode_hand(PAYLOAD(1, TRACE_PLAIN, 1, 1), 1, NULL), -EBADMSG);
    CHECK_EQ_INT(decode_hand(PAYLOAD(0, COLUMNS_SAME, 1, 1), 1, NULL), -EBADMSG);
    /* more rows than bytes: nothing may be allocated for them */
    CHECK_EQ_INT(decode_hand(PAYLOAD(0, TRACE_PLAIN, 1, 1), 1U << 20, NULL), -EBADMSG);
    CHECK_EQ_INT(decode_hand(PAYLOAD(0, TRACE_PLAIN, 1, 1), 4, NULL), -EBADMSG);
    /* column longer than the payload, columns out of order or twice, wrong type, data left over */
    CHECK_EQ_INT(decode_hand(PAYLOAD(0, TRACE_PLAIN, 2, 1), 1, NULL), -EBADMSG);
    CHECK_EQ_INT(
        decode_hand(PAYLOAD(0, TRACE_PLAIN, 1, 1, 2, TRACE_PLAIN, 1, 1, 1, TRACE_PLAIN, 1, 1), 1, NULL),
        -EBADMSG);
    CHECK_EQ_INT(
        decode_hand(PAYLOAD(0, TRACE_PLAIN, 1, 1, 1, TRACE_PLAIN, 1, 1, 1, TRACE_PLAIN, 1, 1), 1, NULL),
        -EBADMSG);
    CHECK_EQ_INT(decode_hand(PAYLOAD(0, TRACE_PLAIN, 1, 1, 3, TRACE_PLAIN, 1, 1), 1, NULL), -EBADMSG);
    CHECK_EQ_INT(decode_hand(PAYLOAD(0, TRACE_PLAIN, 1, 1, 1, TRACE_BYTES, 1, 0), 1, NULL), -EBADMSG);
    CHECK_EQ_INT(decode_hand(PAYLOAD(0, TRACE_PLAIN, 2, 1, 1), 1, NULL), -EBADMSG);
    CHECK_EQ_INT(decode_hand(PAYLOAD(0, TRACE_PLAIN, 1, 1, 1, COLUMNS_SAME, 0), 1, NULL), -EBADMSG);
    CHECK_EQ_INT(decode_hand(PAYLOAD(0, TRACE_PLAIN, 1, 1, 1, COLUMNS_SAME, 2, 1, 1), 1, NULL), -EBADMSG);
    /* varints cut short, and past 64 bits */
    CHECK_EQ_INT(decode_hand(PAYLOAD(0, TRACE_PLAIN, 1, 0x80), 1, NULL), -EBADMSG);
    CHECK_EQ_INT(
        decode_hand(PAYLOAD(0, TRACE_PLAIN, 10, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2), 1, NULL),
        -EBADMSG);
    CHECK_EQ_INT(decode_hand(PAYLOAD(0, TRACE_PLAIN, 11, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 0),
                             1, NULL),
                 -EBADMSG);
    /* bytes and lists that claim more than there is */
    CHECK_EQ_INT(decode_hand(PAYLOAD(0, TRACE_PLAIN, 1, 1, 3, TRACE_BYTES, 2, 2, 'a'), 1, NULL), -EBADMSG);
    CHECK_EQ_INT(
        decode_hand(PAYLOAD(0, TRACE_PLAIN, 1, 1, 4, TRACE_LIST, 6, 255, 255, 255, 255, 15, 0), 1, NULL),
        -EBADMSG);
    CHECK_EQ_INT(decode_hand(PAYLOAD(0, TRACE_PLAIN, 2, 1, 1, 4, TRACE_LIST, 3, 1, 1, 0), 2, NULL), -EBADMSG);
}

/* A newer writer's columns are skipped by an older reader, an older writer's missing ones read 0. */
static void test_growth(void) {
    struct trace_kind old = TEST_KIND;
    old.column_count = 3;
    struct test_row rows[20];
    char payload[8192];
    size_t size;
    void *back;
    uint64_t *items;
    for (int i = 0; i < 20; i++)
        random_row(&rows[i]);
    CHECK_EQ_INT(columns_encode(&TEST_KIND, rows, 20, payload, sizeof(payload), &size, NULL), 0);
    if (CHECK_EQ_INT(decode(&old, payload, size, 20, &back, &items), 0)) {
        const struct test_row *row = back;
        CHECK_EQ_U64(row[19].delta, rows[19].delta);
        CHECK_EQ_U64(row[19].bytes.size, 0);
        free(back);
        free(items);
    }
    CHECK_EQ_INT(columns_encode(&old, rows, 20, payload, sizeof(payload), &size, NULL), 0);
    if (CHECK_EQ_INT(decode(&TEST_KIND, payload, size, 20, &back, &items), 0)) {
        const struct test_row *row = back;
        CHECK_EQ_U64(row[19].delta, rows[19].delta);
        CHECK_EQ_U64(row[19].list.count, 0);
        free(back);
        free(items);
    }
}

/* Payloads with bytes changed never do harm; ASan and UBSan watch. */
static void test_mutations(void) {
    struct test_row rows[40];
    char payload[16384];
    size_t size;
    unsigned long refused = 0, taken = 0;
    for (int turn = 0; turn < 20000; turn++) {
        uint32_t count = (uint32_t)(random_next() % 40) + 1;
        if (turn % 100 == 0) {
            for (int i = 0; i < 40; i++)
                random_row(&rows[i]);
        }
        columns_encode(&TEST_KIND, rows, count, payload, sizeof(payload), &size, NULL);
        for (uint64_t change = random_next() % 4; change > 0; change--)
            payload[random_next() % size] = (char)random_next();
        size -= random_next() % 8 ? 0 : random_next() % size;
        if (decode_hand((unsigned char *)payload, size, random_next() % 8 ? count : count + 1, NULL) == 0)
            taken++;
        else
            refused++;
    }
    CHECK(refused > 1000);
    CHECK(taken > 1000);
}

static void test_times(void) {
    uint64_t begin = 1, end = 2;
    struct trace_wait wait = {.begin = 100, .duration = 7};
    CHECK(columns_row_times(TRACE_WAIT, &wait, &begin, &end));
    CHECK_EQ_U64(begin, 100);
    CHECK_EQ_U64(end, 107);
    wait.duration = UINT64_MAX;
    CHECK(columns_row_times(TRACE_WAIT, &wait, &begin, &end));
    CHECK_EQ_U64(end, UINT64_MAX);
    struct trace_lock lock = {.id = 3};
    CHECK(!columns_row_times(TRACE_LOCK, &lock, &begin, &end));
    struct trace_string string = {.id = 3};
    CHECK(!columns_row_times(TRACE_STRING, &string, &begin, &end));
    CHECK(!columns_row_times((enum trace_kind_id)999, &string, &begin, &end));
}

/* Each kind's table: every member of its struct has a column, in order, with none twice. */
static void test_table(void) {
    CHECK_EQ_U64(TRACE_KINDS[0].row_bytes, 0);
    for (int id = 1; id < TRACE_KIND_LIMIT; id++) {
        const struct trace_kind *kind = &TRACE_KINDS[id];
        size_t offset = 0;
        CHECK(kind->name != NULL);
        for (uint16_t c = 0; c < kind->column_count; c++) {
            uint8_t coding = kind->columns[c].coding;
            CHECK_EQ_U64(kind->columns[c].offset, offset);
            CHECK(coding >= TRACE_PLAIN && coding <= TRACE_LIST);
            offset += coding == TRACE_BYTES || coding == TRACE_LIST ? 16 : 8;
        }
        CHECK_EQ_U64(offset, kind->row_bytes);
    }
}

int main(void) {
    for (size_t i = 0; i < sizeof(random_text); i++) {
        random_text[i] = (char)random_next();
        random_items[i] = random_value();
    }
    test_round_trip();
    test_encode_limits();
    test_by_hand();
    test_lies();
    test_growth();
    test_mutations();
    test_times();
    test_table();
    return check_summary();
}
