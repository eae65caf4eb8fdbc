/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "check.h"
#include "format/crc32c.h"

/* Bit by bit, straight from the definition. */
static uint32_t crc32c_slow(const unsigned char *data, size_t size) {
    uint32_t crc = ~0U;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78U : 0);
    }
    return ~crc;
}

/* RFC 3720, appendix B.4. */
static void test_published(uint32_t (*function)(uint32_t, const void *, size_t)) {
    unsigned char data[32];
    CHECK_EQ_U64(function(0, "123456789", 9), 0xe3069283U);
    memset(data, 0, sizeof(data));
    CHECK_EQ_U64(function(0, data, sizeof(data)), 0x8a9136aaU);
    memset(data, 0xff, sizeof(data));
    CHECK_EQ_U64(function(0, data, sizeof(data)), 0x62a8ab43U);
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)i;
    CHECK_EQ_U64(function(0, data, sizeof(data)), 0x46dd794eU);
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)(31 - i);
    CHECK_EQ_U64(function(0, data, sizeof(data)), 0x113fdb5cU);
    CHECK_EQ_U64(function(0, NULL, 0), 0);
}

/* Every length and start alignment, and cut in two at any place. */
static void test_lengths(uint32_t (*function)(uint32_t, const void *, size_t)) {
    unsigned char data[160];
    srandom(7);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)random();
    for (size_t from = 0; from < 9; from++) {
        for (size_t size = 0; size <= 100; size++) {
            uint32_t expected = crc32c_slow(data + from, size);
            bool right = function(0, data + from, size) == expected;
            for (size_t cut = 0; cut <= size; cut++)
                right = right &&
                        function(function(0, data + from, cut), data + from + cut, size - cut) == expected;
            CHECK(right);
        }
    }
}

int main(void) {
    test_published(crc32c);
    test_published(crc32c_portable);
    test_lengths(crc32c);
    test_lengths(crc32c_portable);
    return check_summary();
}
