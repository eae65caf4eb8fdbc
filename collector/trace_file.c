/* SPDX-License-Identifier: MIT */
#include "collector/trace_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#include "format/columns.h"
#include "format/crc32c.h"

#define COMPRESSION_LEVEL 1
#define INDEX_ROWS_MAX 65536U /* in one INDEX block */

struct trace_file {
    int fd;
    struct trace_writer_ops ops;
    void (*breathe)(void *context); /* NULL: none */
    void *breathe_context;
    struct trace_file_header header;
    uint64_t offset; /* end of the last whole block */
    ZSTD_CCtx *compressor;
    char *raw, *stored; /* of the block being made */
    size_t raw_capacity, stored_capacity;
};

static ssize_t real_pwritev(void *context, int fd, const struct iovec *vectors, int count, off_t offset) {
    (void)context;
    return pwritev(fd, vectors, count, offset);
}

static int real_ftruncate(void *context, int fd, off_t bytes) {
    (void)context;
    return ftruncate(fd, bytes);
}

static uint64_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static uint64_t real_now(void *context) {
    (void)context;
    return clock_ns(CLOCK_MONOTONIC);
}

/* One call, normally. After a short write the rest is tried once more: that tells why it was
 * short, and is harmless where the reason has passed. */
static int write_all(struct trace_file *file, struct iovec *vectors, int count, uint64_t offset) {
    while (count > 0) {
        ssize_t done = file->ops.pwritev(file->ops.context, file->fd, vectors, count, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return errno > 0 ? -errno : -EIO;
        if (done == 0)
            return -ENOSPC;
        offset += (uint64_t)done;
        size_t left = (size_t)done;
        while (count > 0 && left >= vectors->iov_len) {
            left -= vectors->iov_len;
            vectors++;
            count--;
        }
        if (count > 0) {
            vectors->iov_base = (char *)vectors->iov_base + left;
            vectors->iov_len -= left;
        }
    }
    return 0;
}

/* Rewrites the part of the file header that changes; in place, so that it needs no space. */
static int header_rewrite(struct trace_file *file) {
    size_t from = offsetof(struct trace_file_header, state);
    struct iovec vector = {(char *)&file->header + from, sizeof(file->header) - from};
    return write_all(file, &vector, 1, from);
}

/* A header that cannot be written either leaves TRACE_RECORDING there: it reads as cut short. */
static int file_stop(struct trace_file *file, int error) {
    file->header.state = TRACE_STOPPED;
    file->header.stop_errno = -error;
    file->header.stop_ns = file->ops.now(file->ops.context);
    file->header.end_offset = file->offset;
    file->header.index_offset = 0;
    (void)file->ops.ftruncate(file->ops.context, file->fd, (off_t)file->offset);
    (void)header_rewrite(file);
    return error;
}

static int file_open_new(const char *path, bool overwrite, int *ret_fd) {
    int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd = open(path, flags, 0600);
    if (fd < 0 && errno == EEXIST && overwrite) {
        /* Removed rather than truncated: others may have it open, linked or readable. */
        struct stat info;
        if (lstat(path, &info) < 0)
            return -errno;
        if (!S_ISREG(info.st_mode))
            return -EEXIST;
        if (unlink(path) < 0)
            return -errno;
        fd = open(path, flags, 0600);
    }
    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

static void header_begin(struct trace_file *file, const struct trace_writer_options *options) {
    uint64_t monotonic = clock_ns(CLOCK_MONOTONIC), wall = clock_ns(CLOCK_REALTIME);
    struct trace_file_header *header = &file->header;
    memcpy(header->magic, TRACE_MAGIC, sizeof(header->magic));
    header->version = TRACE_VERSION;
    header->header_bytes = TRACE_FILE_HEADER_BYTES;
    header->monotonic_ns = options->monotonic_ns ? options->monotonic_ns : monotonic;
    header->wall_ns = options->wall_ns ? options->wall_ns : wall - (monotonic - header->monotonic_ns);
    header->state = TRACE_RECORDING;
}

int trace_file_give(struct trace_file *file, uid_t uid, gid_t gid) {
    return fchown(file->fd, uid, gid) == 0 ? 0 : -errno;
}

int trace_file_create(const char *path, const struct trace_writer_options *options,
                      struct trace_file **ret_file) {
    struct trace_file *file = calloc(1, sizeof(*file));
    if (!file)
        return -ENOMEM;
    file->fd = -1;
    if (options->ops)
        file->ops = *options->ops;
    if (!file->ops.pwritev)
        file->ops.pwritev = real_pwritev;
    if (!file->ops.ftruncate)
        file->ops.ftruncate = real_ftruncate;
    if (!file->ops.now)
        file->ops.now = real_now;

    int error = 0;
    char first[TRACE_FILE_HEADER_BYTES] = {0};
    struct iovec vector = {first, sizeof(first)};
    file->compressor = ZSTD_createCCtx();
    if (!file->compressor ||
        ZSTD_isError(ZSTD_CCtx_setParameter(file->compressor, ZSTD_c_compressionLevel, COMPRESSION_LEVEL))) {
        error = -ENOMEM;
        goto cleanup;
    }
    error = file_open_new(path, options->overwrite, &file->fd);
    if (error < 0)
        goto cleanup;
    header_begin(file, options);
    memcpy(first, &file->header, sizeof(file->header));
    error = write_all(file, &vector, 1, 0);
    if (error < 0) {
        unlink(path);
        goto cleanup;
    }
    file->offset = TRACE_FILE_HEADER_BYTES;
    *ret_file = file;
    file = NULL;

cleanup:
    trace_file_free(file);
    return error;
}

void trace_file_free(struct trace_file *file) {
    if (!file)
        return;
    if (file->fd >= 0)
        close(file->fd);
    ZSTD_freeCCtx(file->compressor);
    free(file->raw);
    free(file->stored);
    free(file);
}

void trace_file_breathe(struct trace_file *file, void (*breathe)(void *context), void *context) {
    file->breathe = breathe;
    file->breathe_context = context;
}

static void file_breathe(const struct trace_file *file) {
    if (file->breathe)
        file->breathe(file->breathe_context);
}

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

static void header_times(struct trace_block_header *header, enum trace_kind_id kind, const char *rows,
                         uint32_t row_count) {
    uint64_t begin, end;
    for (uint32_t row = 0; row < row_count; row++, rows += TRACE_KINDS[kind].row_bytes) {
        if (!columns_row_times(kind, rows, &begin, &end))
            continue;
        if (header->time_begin == 0 || begin < header->time_begin)
            header->time_begin = begin;
        if (end > header->time_end)
            header->time_end = end;
    }
}

/* One zstd frame with a block for each part between borders, since each block has entropy tables of
 * its own. Returns its bytes in file->stored, or 0 if it came to nothing. */
static size_t payload_compress(struct trace_file *file, size_t raw_bytes,
                               const struct columns_borders *borders) {
    ZSTD_CCtx *compressor = file->compressor;
    ZSTD_inBuffer input = {file->raw, 0, 0};
    ZSTD_outBuffer output = {file->stored, file->stored_capacity, 0};
    ZSTD_CCtx_reset(compressor, ZSTD_reset_session_only);
    if (ZSTD_isError(ZSTD_CCtx_setPledgedSrcSize(compressor, raw_bytes)))
        return 0;
    for (uint32_t part = 0; part <= borders->count; part++) {
        bool last = part == borders->count;
        input.size = last ? raw_bytes : borders->at[part];
        /* Not 0: an error, or out of room, which is no gain either. */
        if (ZSTD_compressStream2(compressor, &output, &input, last ? ZSTD_e_end : ZSTD_e_flush) != 0)
            return 0;
        file_breathe(file);
    }
    return output.pos;
}

/* Makes file->raw, and file->stored where that is smaller; points *ret_payload to what is to be
 * stored. Returns 0, -ENOMEM or -E2BIG. */
static int payload_make(struct trace_file *file, struct trace_block_header *header, const void *rows,
                        const char **ret_payload) {
    const struct trace_kind *kind = &TRACE_KINDS[header->kind];
    size_t bound = columns_bound(kind, rows, header->rows), raw_bytes;
    int error = scratch_reserve(&file->raw, &file->raw_capacity, bound);
    if (error < 0)
        return error;
    struct columns_borders borders;
    error = columns_encode(kind, rows, header->rows, file->raw, file->raw_capacity, &raw_bytes, &borders);
    if (error < 0)
        return error;
    if (raw_bytes > TRACE_BLOCK_RAW_MAX)
        return -E2BIG;
    header->raw_bytes = header->stored_bytes = (uint32_t)raw_bytes;
    file_breathe(file);
    *ret_payload = file->raw;

    size_t packed_bound = ZSTD_compressBound(raw_bytes) + sizeof(borders.at);
    error = scratch_reserve(&file->stored, &file->stored_capacity, packed_bound);
    if (error < 0)
        return error;
    size_t packed = payload_compress(file, raw_bytes, &borders);
    if (packed > 0 && packed < raw_bytes) {
        header->flags |= TRACE_BLOCK_ZSTD;
        header->stored_bytes = (uint32_t)packed;
        *ret_payload = file->stored;
    }
    return 0;
}

/* Writes a block, but does not stop the file when that fails: the file may then have a torn tail. */
static int block_write(struct trace_file *file, enum trace_kind_id kind, uint32_t thread, const void *rows,
                       uint32_t row_count, uint64_t lost, bool *ret_write_failed) {
    struct trace_block_header header = {.magic = TRACE_BLOCK_MAGIC,
                                        .kind = (uint16_t)kind,
                                        .thread = thread,
                                        .rows = row_count,
                                        .lost = lost};
    const char *payload = NULL;
    *ret_write_failed = false;
    if (row_count > 0) {
        int error = payload_make(file, &header, rows, &payload);
        if (error < 0)
            return error;
        header_times(&header, kind, rows, row_count);
    }
    header.crc32c = crc32c(crc32c(0, &header, sizeof(header)), payload, header.stored_bytes);
    struct iovec vectors[2] = {{&header, sizeof(header)}, {(void *)(uintptr_t)payload, header.stored_bytes}};
    int error = write_all(file, vectors, header.stored_bytes > 0 ? 2 : 1, file->offset);
    if (error < 0) {
        *ret_write_failed = true;
        return error;
    }
    file->offset += sizeof(header) + header.stored_bytes;
    file_breathe(file);
    return 0;
}

int trace_file_append(struct trace_file *file, enum trace_kind_id kind, uint32_t thread, const void *rows,
                      uint32_t row_count, uint64_t lost) {
    if (file->header.state == TRACE_STOPPED)
        return -file->header.stop_errno;
    if (file->header.state != TRACE_RECORDING)
        return -EINVAL;
    bool write_failed;
    int error = block_write(file, kind, thread, rows, row_count, lost, &write_failed);
    return write_failed ? file_stop(file, error) : error;
}

/*
 * The index is made from the blocks' headers in the file itself, so that hours of recording do not
 * pile up in memory. Returns its offset, or 0 if there is nothing to index or it could not be made;
 * the file is then as before.
 */
static uint64_t index_write(struct trace_file *file) {
    uint64_t begin = file->offset, from = TRACE_FILE_HEADER_BYTES;
    struct trace_index *rows = malloc(sizeof(*rows) * INDEX_ROWS_MAX);
    if (!rows)
        return 0;
    bool good = from < begin, write_failed = false;
    while (good && from < begin) {
        uint32_t count = 0;
        for (; count < INDEX_ROWS_MAX && from < begin; count++) {
            struct trace_block_header header;
            ssize_t got = pread(file->fd, &header, sizeof(header), (off_t)from);
            if (got != (ssize_t)sizeof(header) || header.magic != TRACE_BLOCK_MAGIC) {
                good = false;
                break;
            }
            rows[count] = (struct trace_index){from,        header.kind,       header.thread,
                                               header.rows, header.time_begin, header.time_end};
            from += sizeof(header) + header.stored_bytes;
        }
        good = good && block_write(file, TRACE_INDEX, 0, rows, count, 0, &write_failed) == 0;
    }
    free(rows);
    if (!good && (write_failed || file->offset != begin)) {
        file->offset = begin;
        (void)file->ops.ftruncate(file->ops.context, file->fd, (off_t)begin);
    }
    return good ? begin : 0;
}

int trace_file_finish(struct trace_file *file) {
    if (file->header.state == TRACE_STOPPED)
        return -file->header.stop_errno;
    if (file->header.state == TRACE_COMPLETE)
        return 0;
    file->header.index_offset = index_write(file);
    file->header.stop_ns = file->ops.now(file->ops.context);
    file->header.end_offset = file->offset;
    file->header.state = TRACE_COMPLETE;
    int error = header_rewrite(file);
    return error < 0 ? file_stop(file, error) : 0;
}

const struct trace_file_header *trace_file_header(const struct trace_file *file) {
    return &file->header;
}

uint64_t trace_file_bytes(const struct trace_file *file) {
    return file->offset;
}
