/* SPDX-License-Identifier: MIT */
/*
 * Where a block does not check, the reader looks for the next place that does. Every candidate
 * costs a checksum over as many bytes as it claims to have, so a file made of nothing but block
 * headers would cost the square of its size. Hence a budget: once checksums computed in vain exceed
 * a multiple of the file, only candidates whose end meets another block or the end of the file are
 * tried, and one that fails is passed over whole.
 */
#include "model/trace_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "format/columns.h"
#include "format/crc32c.h"

#define WINDOW_BYTES (1U << 20)
#define VAIN_BYTES_FREE (64ULL << 20)
#define VAIN_FILE_MULTIPLE 4U
#define HEADER_BYTES_MAX 65536U

struct trace_reader {
    int fd;
    bool ignore_checksum;
    uint64_t kinds;
    struct trace_file_header header;
    struct trace_reader_stats stats;
    uint64_t file_bytes;
    uint64_t offset;        /* of the next block */
    uint64_t scanned_bytes; /* file size for which no block was found from offset on; 0: not tried */
    uint64_t vain_bytes;

    /* What was read last: window_bytes bytes of the file at window_offset. */
    char *window;
    size_t window_capacity, window_bytes;
    uint64_t window_offset;

    ZSTD_DCtx *decompressor;
    char *raw, *rows, *items; /* of the block given last */
    size_t raw_capacity, rows_capacity, items_capacity;
};

/* Grows only; contents are not kept. */
static int scratch_reserve(char **scratch, size_t *capacity, size_t bytes) {
    if (bytes <= *capacity)
        return 0;
    char *larger = malloc(bytes);
    if (!larger)
        return -ENOMEM;
    free(*scratch);
    *scratch = larger;
    *capacity = bytes;
    return 0;
}

static int read_at(int fd, void *to, size_t bytes, uint64_t offset, size_t *ret_bytes) {
    size_t done = 0;
    while (done < bytes) {
        ssize_t got = pread(fd, (char *)to + done, bytes - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    *ret_bytes = done;
    return 0;
}

/*
 * Points *ret_data to at least `bytes` bytes of the file at offset, in the window. Returns 1, 0 if
 * the file has fewer there, or -errno.
 */
static int window_get(struct trace_reader *reader, uint64_t offset, size_t bytes, const char **ret_data) {
    if (offset > reader->file_bytes || bytes > reader->file_bytes - offset)
        return 0;
    if (offset < reader->window_offset || offset - reader->window_offset > reader->window_bytes ||
        bytes > reader->window_bytes - (offset - reader->window_offset)) {
        uint64_t left = reader->file_bytes - offset;
        size_t wanted = bytes > WINDOW_BYTES ? bytes : left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;
        reader->window_bytes = 0;
        int error = scratch_reserve(&reader->window, &reader->window_capacity, wanted);
        if (error < 0)
            return error;
        error = read_at(reader->fd, reader->window, wanted, offset, &reader->window_bytes);
        if (error < 0)
            return error;
        reader->window_offset = offset;
        if (reader->window_bytes < bytes)
            return 0;
    }
    *ret_data = reader->window + (offset - reader->window_offset);
    return 1;
}

/* Returns 0, -ENOEXEC, -EPROTO, -EBADMSG or what reading says. */
static int header_read(int fd, struct trace_file_header *ret_header) {
    struct trace_file_header header = {0};
    size_t got;
    int error = read_at(fd, &header, sizeof(header), 0, &got);
    if (error < 0)
        return error;
    if (got < sizeof(header.magic) || memcmp(header.magic, TRACE_MAGIC, sizeof(header.magic)) != 0)
        return -ENOEXEC;
    if (got < sizeof(header.magic) + sizeof(header.version))
        return -EBADMSG;
    if (header.version > TRACE_VERSION)
        return -EPROTO;
    if (got < sizeof(header) || header.version == 0 || header.header_bytes < sizeof(header) ||
        header.header_bytes > HEADER_BYTES_MAX)
        return -EBADMSG;
    if (header.state != TRACE_COMPLETE && header.state != TRACE_STOPPED)
        header.state = TRACE_RECORDING;
    *ret_header = header;
    return 0;
}

static int file_size(int fd, uint64_t *ret_bytes) {
    struct stat info;
    if (fstat(fd, &info) < 0)
        return -errno;
    if (!S_ISREG(info.st_mode))
        return -ENOEXEC;
    *ret_bytes = (uint64_t)info.st_size;
    return 0;
}

int trace_reader_open(const char *path, const struct trace_reader_options *options,
                      struct trace_reader **ret_reader) {
    struct trace_reader *reader = calloc(1, sizeof(*reader));
    if (!reader)
        return -ENOMEM;
    int error = 0;
    reader->fd = open(path, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (reader->fd < 0) {
        error = -errno;
        goto cleanup;
    }
    error = file_size(reader->fd, &reader->file_bytes);
    if (error < 0)
        goto cleanup;
    error = header_read(reader->fd, &reader->header);
    if (error < 0)
        goto cleanup;
    reader->decompressor = ZSTD_createDCtx();
    if (!reader->decompressor) {
        error = -ENOMEM;
        goto cleanup;
    }
    reader->ignore_checksum = options && options->ignore_checksum;
    trace_reader_rewind(reader, options ? options->kinds : 0);
    *ret_reader = reader;
    reader = NULL;

cleanup:
    trace_reader_free(reader);
    return error;
}

void trace_reader_free(struct trace_reader *reader) {
    if (!reader)
        return;
    if (reader->fd >= 0)
        close(reader->fd);
    ZSTD_freeDCtx(reader->decompressor);
    free(reader->window);
    free(reader->raw);
    free(reader->rows);
    free(reader->items);
    free(reader);
}

void trace_reader_rewind(struct trace_reader *reader, uint64_t kinds) {
    reader->kinds = kinds ? kinds : UINT64_MAX;
    reader->offset = reader->header.header_bytes;
    reader->scanned_bytes = 0;
    reader->vain_bytes = 0;
    reader->stats = (struct trace_reader_stats){.file_bytes = reader->file_bytes};
}

/* Whether these could be a block's: sizes within limits and agreeing with each other. A kind or a
 * flag that is not known is no reason against it. */
static bool block_header_is_plausible(const struct trace_block_header *header) {
    if (header->magic != TRACE_BLOCK_MAGIC || header->rows > TRACE_BLOCK_ROWS_MAX ||
        header->raw_bytes > TRACE_BLOCK_RAW_MAX || header->stored_bytes > TRACE_BLOCK_RAW_MAX)
        return false;
    if (header->rows > header->raw_bytes || (header->rows == 0 && header->raw_bytes > 0))
        return false;
    if (header->flags == 0)
        return header->stored_bytes == header->raw_bytes;
    return header->flags != TRACE_BLOCK_ZSTD || header->stored_bytes <= header->raw_bytes;
}

static bool block_is_known(const struct trace_block_header *header) {
    return header->kind < TRACE_KIND_LIMIT && TRACE_KINDS[header->kind].row_bytes > 0 &&
           (header->flags & ~TRACE_BLOCK_ZSTD) == 0;
}

/*
 * Is there a whole block at offset? Returns 1 with its header and payload (in the window), 0 if
 * not, or -errno. *ret_end: where it ends by its own account, if that much is believable, else 0.
 */
static int block_check(struct trace_reader *reader, uint64_t offset, struct trace_block_header *ret_header,
                       const char **ret_payload, uint64_t *ret_end) {
    struct trace_block_header header;
    const char *data;
    *ret_end = 0;
    int got = window_get(reader, offset, sizeof(header), &data);
    if (got <= 0)
        return got;
    memcpy(&header, data, sizeof(header));
    if (!block_header_is_plausible(&header))
        return 0;
    got = window_get(reader, offset, sizeof(header) + header.stored_bytes, &data);
    if (got <= 0)
        return got;
    *ret_end = offset + sizeof(header) + header.stored_bytes;
    *ret_header = header;
    *ret_payload = data + sizeof(header);
    if (reader->ignore_checksum)
        return 1;
    header.crc32c = 0;
    uint32_t crc = crc32c(crc32c(0, &header, sizeof(header)), *ret_payload, header.stored_bytes);
    if (crc == ret_header->crc32c)
        return 1;
    reader->vain_bytes += sizeof(header) + header.stored_bytes;
    return 0;
}

/* Whether a block could begin at offset, or the file ends there. */
static bool block_may_begin(struct trace_reader *reader, uint64_t offset) {
    uint32_t magic;
    size_t got;
    return offset == reader->file_bytes || (read_at(reader->fd, &magic, sizeof(magic), offset, &got) == 0 &&
                                            got == sizeof(magic) && magic == TRACE_BLOCK_MAGIC);
}

/* The end of the candidate at offset if it is to be tried although the budget is spent, else 0. */
static uint64_t block_chained_end(struct trace_reader *reader, uint64_t offset) {
    struct trace_block_header header;
    const char *data;
    if (window_get(reader, offset, sizeof(header), &data) <= 0)
        return 0;
    memcpy(&header, data, sizeof(header));
    uint64_t end = offset + sizeof(header) + header.stored_bytes;
    return block_header_is_plausible(&header) && block_may_begin(reader, end) ? end : 0;
}

/* Looks for the next whole block from offset on. Returns 1, 0 if there is none, or -errno. */
static int block_find(struct trace_reader *reader, uint64_t offset, uint64_t *ret_offset) {
    const uint32_t magic = TRACE_BLOCK_MAGIC;
    uint64_t budget = VAIN_BYTES_FREE + VAIN_FILE_MULTIPLE * reader->file_bytes;
    while (offset < reader->file_bytes && reader->file_bytes - offset >= sizeof(struct trace_block_header)) {
        const char *data;
        int got = window_get(reader, offset, sizeof(struct trace_block_header), &data);
        if (got <= 0)
            return got;
        size_t bytes = reader->window_bytes - (size_t)(offset - reader->window_offset);
        const char *found = memmem(data, bytes, &magic, sizeof(magic));
        if (!found) {
            offset += bytes - (sizeof(magic) - 1);
            continue;
        }
        offset += (uint64_t)(found - data);
        uint64_t end = 0;
        if (reader->vain_bytes > budget) {
            end = block_chained_end(reader, offset);
            if (end == 0) {
                offset++;
                continue;
            }
        }
        struct trace_block_header header;
        const char *payload;
        uint64_t claimed_end;
        got = block_check(reader, offset, &header, &payload, &claimed_end);
        if (got < 0)
            return got;
        if (got > 0) {
            *ret_offset = offset;
            return 1;
        }
        offset = end > offset ? end : offset + 1;
    }
    return 0;
}

/* Decodes a block that has been checked. Returns 1, 0 if it is damaged all the same, or -ENOMEM. */
static int block_decode(struct trace_reader *reader, const struct trace_block_header *header,
                        const char *payload, const void **ret_rows) {
    const struct trace_kind *kind = &TRACE_KINDS[header->kind];
    *ret_rows = NULL;
    if (header->rows == 0)
        return 1;
    if (header->flags & TRACE_BLOCK_ZSTD) {
        if (ZSTD_getFrameContentSize(payload, header->stored_bytes) != header->raw_bytes)
            return 0;
        int error = scratch_reserve(&reader->raw, &reader->raw_capacity, header->raw_bytes);
        if (error < 0)
            return error;
        size_t got = ZSTD_decompressDCtx(reader->decompressor, reader->raw, header->raw_bytes, payload,
                                         header->stored_bytes);
        if (ZSTD_isError(got) || got != header->raw_bytes)
            return 0;
        payload = reader->raw;
    }
    size_t items;
    if (columns_measure(kind, payload, header->raw_bytes, header->rows, &items) < 0)
        return 0;
    int error =
        scratch_reserve(&reader->rows, &reader->rows_capacity, (size_t)kind->row_bytes * header->rows);
    if (error == 0)
        error = scratch_reserve(&reader->items, &reader->items_capacity, items * sizeof(uint64_t));
    if (error < 0)
        return error;
    if (columns_decode(kind, payload, header->raw_bytes, header->rows, reader->rows,
                       (uint64_t *)(void *)reader->items, items) < 0)
        return 0;
    *ret_rows = reader->rows;
    return 1;
}

/*
 * At the end, or at what is not a block: goes to the next whole block if there is one. Returns 1 if
 * reading can go on, 0 if nothing more is there now, or -errno.
 */
static int reader_resume(struct trace_reader *reader) {
    uint64_t next = 0;
    int found = 0;
    if (reader->offset < reader->file_bytes && reader->scanned_bytes != reader->file_bytes) {
        found = block_find(reader, reader->offset + 1, &next);
        if (found < 0)
            return found;
    }
    if (found > 0) {
        reader->stats.damaged_blocks++;
        reader->stats.damaged_bytes += next - reader->offset;
        reader->offset = next;
        return 1;
    }
    reader->scanned_bytes = reader->file_bytes;

    /* The state before the size: once the state says complete, the size does not change any more,
     * so a caller that sees it with a return of 0 has had everything. */
    uint64_t bytes = reader->file_bytes;
    struct trace_file_header header;
    if (header_read(reader->fd, &header) == 0)
        reader->header = header;
    int error = file_size(reader->fd, &bytes);
    if (error < 0)
        return error;
    bool grown = bytes > reader->file_bytes;
    reader->file_bytes = reader->stats.file_bytes = bytes;
    reader->window_bytes = 0;
    reader->stats.torn_bytes = bytes > reader->offset ? bytes - reader->offset : 0;
    reader->stats.missing_bytes = reader->header.end_offset > bytes ? reader->header.end_offset - bytes : 0;
    return grown ? 1 : 0;
}

int trace_reader_next(struct trace_reader *reader, struct trace_reader_block *ret_block) {
    for (;;) {
        struct trace_block_header header;
        const char *payload;
        uint64_t end;
        int good = block_check(reader, reader->offset, &header, &payload, &end);
        if (good == 0)
            good = reader_resume(reader);
        else if (good > 0 && !block_is_known(&header)) {
            reader->stats.unknown_blocks++;
            reader->offset = end;
            reader->scanned_bytes = 0;
        } else if (good > 0) {
            bool wanted = reader->kinds >> header.kind & 1;
            const void *rows = NULL;
            int decoded = wanted ? block_decode(reader, &header, payload, &rows) : 1;
            if (decoded < 0)
                return decoded;
            uint64_t begin = reader->offset;
            reader->offset = end;
            reader->scanned_bytes = 0;
            if (decoded == 0) {
                reader->stats.damaged_blocks++;
                reader->stats.damaged_bytes += end - begin;
                continue;
            }
            reader->stats.blocks++;
            if (!wanted)
                continue;
            *ret_block = (struct trace_reader_block){.kind = (enum trace_kind_id)header.kind,
                                                     .thread = header.thread,
                                                     .row_count = header.rows,
                                                     .rows = rows,
                                                     .time_begin = header.time_begin,
                                                     .time_end = header.time_end,
                                                     .lost = header.lost,
                                                     .offset = begin};
            return 1;
        }
        if (good <= 0)
            return good;
    }
}

const struct trace_file_header *trace_reader_header(const struct trace_reader *reader) {
    return &reader->header;
}

const struct trace_reader_stats *trace_reader_stats(const struct trace_reader *reader) {
    return &reader->stats;
}
