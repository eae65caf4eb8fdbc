/* SPDX-License-Identifier: MIT */
/*
 * The trace reader on hostile files. An input is read twice: without checksums, so that what lies
 * behind them is reached, and with them, as a user's file would be. What comes out is touched in
 * full, so that a pointer or a count that is wrong is found by ASan.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "model/trace_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink;

static uint64_t row_touch(const struct trace_kind *kind, const char *row) {
    uint64_t sum = 0;
    for (uint16_t c = 0; c < kind->column_count; c++) {
        const void *member = row + kind->columns[c].offset;
        if (kind->columns[c].coding == TRACE_BYTES) {
            const struct trace_bytes *bytes = member;
            for (uint64_t i = 0; i < bytes->size; i++)
                sum += (unsigned char)bytes->data[i];
        } else if (kind->columns[c].coding == TRACE_LIST) {
            const struct trace_list *list = member;
            for (uint64_t i = 0; i < list->count; i++)
                sum += list->items[i];
        } else {
            sum += *(const uint64_t *)member;
        }
    }
    return sum;
}

static void read_all(const char *path, bool ignore_checksum) {
    struct trace_reader_options options = {.ignore_checksum = ignore_checksum};
    struct trace_reader *reader = NULL;
    struct trace_reader_block block;
    if (trace_reader_open(path, &options, &reader) < 0)
        return;
    while (trace_reader_next(reader, &block) > 0) {
        const struct trace_kind *kind = &TRACE_KINDS[block.kind];
        for (uint32_t i = 0; i < block.row_count; i++)
            sink += row_touch(kind, (const char *)block.rows + (size_t)i * kind->row_bytes);
    }
    const struct trace_reader_stats *stats = trace_reader_stats(reader);
    const struct trace_file_header *header = trace_reader_header(reader);
    /* Every byte of the file is either read, damaged or torn, once. */
    if (stats->damaged_bytes + stats->torn_bytes > stats->file_bytes || header->state < TRACE_RECORDING ||
        header->state > TRACE_STOPPED)
        abort();
    trace_reader_free(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int fd = -1;
    static char path[32];
    if (fd < 0) {
        fd = memfd_create("trace", MFD_CLOEXEC);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        abort();
    read_all(path, true);
    read_all(path, false);
    return 0;
}
