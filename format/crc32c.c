/* SPDX-License-Identifier: MIT */
/*
 * The portable way is slicing by eight: eight tables, one for each byte of a word. An entry of such
 * a table is the sum (xor) of the entries of its index's bits, so that a table is told by eight
 * numbers. SLICE's arguments are the entries 1, 2, 4 ... 128 of each table.
 */
#include "format/crc32c.h"

#include <stdbool.h>
#include <string.h>

#define BIT(i, bit, entry) (((i) >> (bit)) & 1 ? (entry) : 0U)
#define ENTRY(i, a, b, c, d, e, f, g, h)                                                                     \
    (BIT(i, 0, a) ^ BIT(i, 1, b) ^ BIT(i, 2, c) ^ BIT(i, 3, d) ^ BIT(i, 4, e) ^ BIT(i, 5, f) ^               \
     BIT(i, 6, g) ^ BIT(i, 7, h))
#define ENTRIES4(i, ...)                                                                                     \
    ENTRY(i, __VA_ARGS__), ENTRY((i) + 1, __VA_ARGS__), ENTRY((i) + 2, __VA_ARGS__),                         \
        ENTRY((i) + 3, __VA_ARGS__)
#define ENTRIES16(i, ...)                                                                                    \
    ENTRIES4(i, __VA_ARGS__), ENTRIES4((i) + 4, __VA_ARGS__), ENTRIES4((i) + 8, __VA_ARGS__),                \
        ENTRIES4((i) + 12, __VA_ARGS__)
#define ENTRIES64(i, ...)                                                                                    \
    ENTRIES16(i, __VA_ARGS__), ENTRIES16((i) + 16, __VA_ARGS__), ENTRIES16((i) + 32, __VA_ARGS__),           \
        ENTRIES16((i) + 48, __VA_ARGS__)
#define SLICE(...)                                                                                           \
    {                                                                                                        \
        ENTRIES64(0, __VA_ARGS__), ENTRIES64(64, __VA_ARGS__), ENTRIES64(128, __VA_ARGS__),                  \
            ENTRIES64(192, __VA_ARGS__)                                                                      \
    }

static const uint32_t SLICES[8][256] = {
    SLICE(0xf26b8303U, 0xe13b70f7U, 0xc79a971fU, 0x8ad958cfU, 0x105ec76fU, 0x20bd8edeU, 0x417b1dbcU,
          0x82f63b78U),
    SLICE(0x13a29877U, 0x274530eeU, 0x4e8a61dcU, 0x9d14c3b8U, 0x3fc5f181U, 0x7f8be302U, 0xff17c604U,
          0xfbc3faf9U),
    SLICE(0xa541927eU, 0x4f6f520dU, 0x9edea41aU, 0x38513ec5U, 0x70a27d8aU, 0xe144fb14U, 0xc76580d9U,
          0x8b277743U),
    SLICE(0xdd45aab8U, 0xbf672381U, 0x7b2231f3U, 0xf64463e6U, 0xe964b13dU, 0xd725148bU, 0xaba65fe7U,
          0x52a0c93fU),
    SLICE(0x38116facU, 0x7022df58U, 0xe045beb0U, 0xc5670b91U, 0x8f2261d3U, 0x1ba8b557U, 0x37516aaeU,
          0x6ea2d55cU),
    SLICE(0xef306b19U, 0xdb8ca0c3U, 0xb2f53777U, 0x6006181fU, 0xc00c303eU, 0x85f4168dU, 0x0e045bebU,
          0x1c08b7d6U),
    SLICE(0x68032cc8U, 0xd0065990U, 0xa5e0c5d1U, 0x4e2dfd53U, 0x9c5bfaa6U, 0x3d5b83bdU, 0x7ab7077aU,
          0xf56e0ef4U),
    SLICE(0x493c7d27U, 0x9278fa4eU, 0x211d826dU, 0x423b04daU, 0x847609b4U, 0x0d006599U, 0x1a00cb32U,
          0x34019664U),
};

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t size) {
    const uint8_t *from = data;
    crc = ~crc;
    for (; size >= 8; size -= 8, from += 8) {
        uint64_t word;
        memcpy(&word, from, 8);
        word ^= crc;
        crc = SLICES[7][word & 0xff] ^ SLICES[6][word >> 8 & 0xff] ^ SLICES[5][word >> 16 & 0xff] ^
              SLICES[4][word >> 24 & 0xff] ^ SLICES[3][word >> 32 & 0xff] ^ SLICES[2][word >> 40 & 0xff] ^
              SLICES[1][word >> 48 & 0xff] ^ SLICES[0][word >> 56];
    }
    for (; size > 0; size--)
        crc = SLICES[0][(crc ^ *from++) & 0xff] ^ crc >> 8;
    return ~crc;
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const void *data, size_t size) {
    const uint8_t *from = data;
    uint64_t state = ~crc;
    for (; size >= 8; size -= 8, from += 8) {
        uint64_t word;
        memcpy(&word, from, 8);
        state = __builtin_ia32_crc32di(state, word);
    }
    for (; size > 0; size--)
        state = __builtin_ia32_crc32qi((uint32_t)state, *from++);
    return ~(uint32_t)state;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t size) {
    return __builtin_cpu_supports("sse4.2") ? crc32c_sse42(crc, data, size)
                                            : crc32c_portable(crc, data, size);
}
