/* SPDX-License-Identifier: MIT */
/*
 * The ring by itself, one thread: order, wrap, refusal when full, distrust of either counter.
 */
#include "format/ring.h"

#include <stdlib.h>

#include "check.h"

#define RING_BYTES 4096U

struct fixture {
    struct ring_state ring;
    _Alignas(8) char memory[RING_BYTES];
};

static bool put(struct fixture *fixture, uint32_t words, uint64_t number) {
    uint64_t head;
    uint64_t *record = ring_reserve(&fixture->ring, fixture->memory, RING_BYTES, words * 8, &head);
    if (!record)
        return false;
    *(struct record_header *)record = (struct record_header){.kind = RECORD_WAIT, .words = (uint16_t)words};
    for (uint32_t i = 1; i < words; i++)
        record[i] = number;
    ring_commit(&fixture->ring, head);
    return true;
}

/* Reads all that is published; returns the number of records, checks that they count up from *next. */
static unsigned drain(struct fixture *fixture, uint64_t *tail, uint64_t *next) {
    uint64_t out[RING_BYTES / 8];
    bool corrupt;
    size_t bytes = ring_read(&fixture->ring, fixture->memory, RING_BYTES, *tail, out, sizeof(out), &corrupt);
    unsigned records = 0;
    CHECK(!corrupt);
    for (size_t at = 0; at < bytes / 8;) {
        const struct record_header *header = (const struct record_header *)&out[at];
        if (!CHECK(header->words > 0 && at + header->words <= bytes / 8))
            return records;
        if (header->kind != RECORD_PAD) {
            for (unsigned i = 1; i < header->words; i++)
                if (out[at + i] != *next)
                    CHECK_EQ_U64(out[at + i], *next);
            (*next)++;
            records++;
        }
        at += header->words;
    }
    *tail += bytes;
    ring_release(&fixture->ring, *tail);
    return records;
}

static void test_order_across_wraps(void) {
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    uint64_t tail = 0, next = 0, number = 0;
    srand(7);
    for (int round = 0; round < 20000; round++) {
        unsigned batch = (unsigned)rand() % 8, stored = 0;
        for (unsigned i = 0; i < batch; i++)
            if (put(fixture, 2 + (uint32_t)rand() % 60, number)) {
                number++;
                stored++;
            }
        if (rand() % 3 == 0)
            drain(fixture, &tail, &next);
        (void)stored;
    }
    drain(fixture, &tail, &next);
    CHECK_EQ_U64(next, number);
    CHECK(number > 20000);
    free(fixture);
}

static void test_full_refuses_and_recovers(void) {
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    uint64_t tail = 0, next = 0, number = 0;
    while (put(fixture, 8, number))
        number++;
    CHECK_EQ_U64(number, RING_BYTES / 64);
    CHECK(!put(fixture, 1, number));
    CHECK_EQ_INT(drain(fixture, &tail, &next), RING_BYTES / 64);
    CHECK(put(fixture, 8, number));
    free(fixture);
}

/* A pad of a single word, the smallest there is. */
static void test_one_word_pad(void) {
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    uint64_t tail = 0, next = 0;
    CHECK(put(fixture, 255, 0));
    CHECK(put(fixture, 256, 1)); /* one word is left before the end */
    CHECK_EQ_INT(drain(fixture, &tail, &next), 2);
    CHECK(put(fixture, 2, 2));
    CHECK_EQ_INT(drain(fixture, &tail, &next), 1);
    CHECK_EQ_U64(tail, RING_BYTES + 16);
    free(fixture);
}

static void test_reader_distrusts_head(void) {
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    uint64_t out[RING_BYTES / 8];
    const uint64_t heads[] = {RING_BYTES + 8, 4, UINT64_MAX, UINT64_MAX - 7, 1ULL << 63};
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        bool corrupt = false;
        atomic_store(&fixture->ring.head, heads[i]);
        CHECK_EQ_U64(ring_read(&fixture->ring, fixture->memory, RING_BYTES, 0, out, sizeof(out), &corrupt),
                     0);
        CHECK(corrupt);
        CHECK_EQ_U64(ring_skip(&fixture->ring) % 8, 0);
    }
    atomic_store(&fixture->ring.head, 64);
    bool corrupt = false; /* head behind the reader */
    CHECK_EQ_U64(ring_read(&fixture->ring, fixture->memory, RING_BYTES, 128, out, sizeof(out), &corrupt), 0);
    CHECK(corrupt);
    free(fixture);
}

static void test_writer_distrusts_tail(void) {
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    const uint64_t tails[] = {8, UINT64_MAX, 1ULL << 63};
    for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
        atomic_store(&fixture->ring.tail, tails[i]);
        /* A tail beyond head reads as a full ring; it never leads to a write out of bounds. */
        CHECK(!put(fixture, 8, 0) || tails[i] == UINT64_MAX);
    }
    free(fixture);
}

static uint16_t words_at(const uint64_t *word) {
    struct record_header header;
    memcpy(&header, word, sizeof(header));
    return header.words;
}

static void test_small_reads_keep_records_whole(void) {
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    for (uint64_t i = 0; i < 10; i++)
        put(fixture, 7, i);
    uint64_t out[16], tail = 0, next = 0;
    while (next < 10) {
        bool corrupt;
        size_t bytes =
                   ring_read(&fixture->ring, fixture->memory, RING_BYTES, tail, out, sizeof(out), &corrupt),
               at = 0;
        while (at + 1 <= bytes / 8 && at + words_at(&out[at]) <= bytes / 8) {
            CHECK_EQ_U64(out[at + 1], next);
            next++;
            at += words_at(&out[at]);
        }
        if (!CHECK(at > 0))
            break;
        tail += at * 8;
        ring_release(&fixture->ring, tail);
    }
    free(fixture);
}

int main(void) {
    test_order_across_wraps();
    test_full_refuses_and_recovers();
    test_one_word_pad();
    test_reader_distrusts_head();
    test_writer_distrusts_tail();
    test_small_reads_keep_records_whole();
    return check_summary();
}
