/* SPDX-License-Identifier: MIT */
/*
 * CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), as in iSCSI, RFC 3720 appendix B.4. Check
 * value: crc32c(0, "123456789", 9) == 0xe3069283.
 */
#ifndef WAITSCOPE_FORMAT_CRC32C_H
#define WAITSCOPE_FORMAT_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of what gave crc followed by size bytes at data; crc is 0 at the start. */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);

/* The same without the CPU's instruction: what crc32c() does where there is no SSE 4.2. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t size);

#endif
