/* SPDX-License-Identifier: MIT */
/*
 * Rows wait in one buffer for each kind and thread until there are enough for a block. A buffer
 * begins small and doubles, and is freed at each flush, so that a thread with few rows costs few
 * bytes and one that ended costs none. If all of them together grow too large, all are written.
 */
#include "collector/trace_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "collector/trace_file.h"
#include "collector/trace_strings.h"

#define BLOCK_ROWS_DEFAULT 8192U
#define BLOCK_DATA_BYTES (256U << 10) /* bytes and list items after which a block is written */
#define ROW_DATA_MAX (1U << 20)       /* bytes and list items of one row */
#define BUFFERED_MAX (32U << 20)
#define BUFFER_ROWS_FIRST 4U
#define STRING_MAX 65536U
#define BUCKETS 16384U

/* Definitions first, each kind before those that refer to it; then what refers to them. */
static const enum trace_kind_id WRITE_ORDER[] = {
    TRACE_STRING,  TRACE_ENVIRONMENT, TRACE_PROCESS,     TRACE_MODULE,     TRACE_LOCATION,    TRACE_STACK,
    TRACE_THREAD,  TRACE_LOCK,        TRACE_THREAD_NAME, TRACE_FRAME,      TRACE_LOCK_NAME,   TRACE_WAIT,
    TRACE_RELEASE, TRACE_COUNT,       TRACE_REGION,      TRACE_OFF_CPU,    TRACE_SAMPLE,      TRACE_SNAPSHOT,
    TRACE_LOSS,    TRACE_COST,        TRACE_SCHEDULE,    TRACE_THREAD_END, TRACE_PROCESS_END, TRACE_END,
};
#define WRITE_ORDER_COUNT (sizeof(WRITE_ORDER) / sizeof(WRITE_ORDER[0]))
#define DEFINITION_COUNT 8U /* entries of WRITE_ORDER up to TRACE_LOCK */

struct row_buffer {
    struct row_buffer *next_in_bucket, *next_of_kind;
    enum trace_kind_id kind;
    uint32_t thread;
    uint32_t row_count, row_capacity;
    char *rows; /* their bytes and lists point to offsets in data until the block is written */
    char *data;
    size_t data_used, data_capacity;
    uint64_t lost;
};

struct trace_writer {
    struct trace_file *file;
    struct trace_strings *strings;
    uint32_t block_rows;
    struct row_buffer *buckets[BUCKETS];
    struct row_buffer *kinds[TRACE_KIND_LIMIT];  /* newest first */
    struct row_buffer *recent[TRACE_KIND_LIMIT]; /* where a row went last; NULL: nowhere */
    bool has_data[TRACE_KIND_LIMIT];             /* rows of it have bytes or lists */
    struct trace_writer_stats stats;
};

int trace_writer_open(const char *path, const struct trace_writer_options *options,
                      struct trace_writer **ret_writer) {
    static const struct trace_writer_options defaults;
    if (!options)
        options = &defaults;
    struct trace_writer *writer = calloc(1, sizeof(*writer));
    if (!writer)
        return -ENOMEM;
    writer->block_rows = options->block_rows ? options->block_rows : BLOCK_ROWS_DEFAULT;
    if (writer->block_rows > TRACE_BLOCK_ROWS_MAX / 8)
        writer->block_rows = TRACE_BLOCK_ROWS_MAX / 8;
    for (size_t kind = 0; kind < TRACE_KIND_LIMIT; kind++) {
        for (uint16_t c = 0; c < TRACE_KINDS[kind].column_count; c++) {
            uint8_t coding = TRACE_KINDS[kind].columns[c].coding;
            writer->has_data[kind] = writer->has_data[kind] || coding == TRACE_BYTES || coding == TRACE_LIST;
        }
    }
    int error = trace_strings_new(&writer->strings);
    if (error < 0)
        goto cleanup;
    error = trace_file_create(path, options, &writer->file);
    if (error < 0)
        goto cleanup;
    writer->stats.state = TRACE_RECORDING;
    writer->stats.file_bytes = trace_file_bytes(writer->file);
    *ret_writer = writer;
    writer = NULL;

cleanup:
    trace_writer_free(writer);
    return error;
}

int trace_writer_give(struct trace_writer *writer, uid_t uid, gid_t gid) {
    return trace_file_give(writer->file, uid, gid);
}

void trace_writer_breathe(struct trace_writer *writer, void (*breathe)(void *context), void *context) {
    trace_file_breathe(writer->file, breathe, context);
}

static void buffer_free(struct row_buffer *buffer) {
    free(buffer->rows);
    free(buffer->data);
    free(buffer);
}

/* Rows that are still in them are gone; the caller has counted them. */
static void buffers_free(struct trace_writer *writer) {
    for (size_t kind = 0; kind < TRACE_KIND_LIMIT; kind++) {
        while (writer->kinds[kind]) {
            struct row_buffer *buffer = writer->kinds[kind];
            writer->kinds[kind] = buffer->next_of_kind;
            buffer_free(buffer);
        }
    }
    memset(writer->buckets, 0, sizeof(writer->buckets));
    memset(writer->recent, 0, sizeof(writer->recent));
    writer->stats.buffered_bytes = 0;
}

void trace_writer_free(struct trace_writer *writer) {
    if (!writer)
        return;
    buffers_free(writer);
    trace_strings_free(writer->strings);
    trace_file_free(writer->file);
    free(writer);
}

static struct row_buffer *buffer_get(struct trace_writer *writer, enum trace_kind_id kind, uint32_t thread) {
    struct row_buffer **bucket = &writer->buckets[(thread * 2654435761U + (uint32_t)kind * 97U) % BUCKETS];
    for (struct row_buffer *buffer = *bucket; buffer; buffer = buffer->next_in_bucket) {
        if (buffer->kind == kind && buffer->thread == thread)
            return buffer;
    }
    struct row_buffer *buffer = calloc(1, sizeof(*buffer));
    if (!buffer)
        return NULL;
    buffer->kind = kind;
    buffer->thread = thread;
    buffer->next_in_bucket = *bucket;
    *bucket = buffer;
    buffer->next_of_kind = writer->kinds[kind];
    writer->kinds[kind] = buffer;
    writer->stats.buffered_bytes += sizeof(*buffer);
    return buffer;
}

/* Turns the offsets that row_copy() left into pointers. */
static void buffer_rebase(struct row_buffer *buffer) {
    const struct trace_kind *kind = &TRACE_KINDS[buffer->kind];
    for (uint16_t c = 0; c < kind->column_count; c++) {
        uint8_t coding = kind->columns[c].coding;
        if (coding != TRACE_BYTES && coding != TRACE_LIST)
            continue;
        char *member = buffer->rows + kind->columns[c].offset;
        for (uint32_t row = 0; row < buffer->row_count; row++, member += kind->row_bytes) {
            if (coding == TRACE_BYTES) {
                struct trace_bytes *bytes = (struct trace_bytes *)(void *)member;
                if (bytes->size > 0)
                    bytes->data = buffer->data + (uintptr_t)bytes->data;
            } else {
                struct trace_list *list = (struct trace_list *)(void *)member;
                if (list->count > 0)
                    list->items = (const uint64_t *)(void *)(buffer->data + (uintptr_t)list->items);
            }
        }
    }
}

/* Writes a buffer's block and empties it. Whatever happens to its rows is counted. */
static int buffer_write(struct trace_writer *writer, struct row_buffer *buffer) {
    if (buffer->row_count == 0 && buffer->lost == 0)
        return 0;
    buffer_rebase(buffer);
    int error = trace_file_append(writer->file, buffer->kind, buffer->thread, buffer->rows, buffer->row_count,
                                  buffer->lost);
    if (error == 0) {
        writer->stats.rows_stored[buffer->kind] += buffer->row_count;
        writer->stats.blocks++;
        buffer->lost = 0;
    } else {
        writer->stats.rows_lost[buffer->kind] += buffer->row_count;
        buffer->lost += buffer->row_count;
    }
    buffer->row_count = 0;
    buffer->data_used = 0;
    const struct trace_file_header *header = trace_file_header(writer->file);
    writer->stats.state = (enum trace_state)header->state;
    writer->stats.stop_errno = header->stop_errno;
    writer->stats.stop_ns = header->stop_ns;
    writer->stats.file_bytes = trace_file_bytes(writer->file);
    return error;
}

/* Writes the buffers of the first `kinds` kinds of WRITE_ORDER. Returns the first error. */
static int kinds_write(struct trace_writer *writer, size_t kinds) {
    int error = 0;
    for (size_t i = 0; i < kinds; i++) {
        for (struct row_buffer *buffer = writer->kinds[WRITE_ORDER[i]]; buffer;
             buffer = buffer->next_of_kind) {
            int failed = buffer_write(writer, buffer);
            if (error == 0)
                error = failed;
        }
    }
    return error;
}

int trace_writer_flush(struct trace_writer *writer) {
    int error = kinds_write(writer, WRITE_ORDER_COUNT);
    buffers_free(writer);
    return error < 0 ? error : writer->stats.state == TRACE_STOPPED ? -writer->stats.stop_errno : 0;
}

/* A full buffer: what its rows may refer to goes first. */
static int buffer_write_ordered(struct trace_writer *writer, struct row_buffer *buffer) {
    size_t before = 0;
    while (before < DEFINITION_COUNT && WRITE_ORDER[before] != buffer->kind)
        before++;
    (void)kinds_write(writer, before);
    int error = buffer_write(writer, buffer);
    if (writer->stats.state == TRACE_STOPPED)
        return trace_writer_flush(writer); /* counts what the other buffers hold as lost */
    return error;
}

/* Bytes that a row's bytes and lists take in row_buffer.data, or SIZE_MAX if they are too many. */
static size_t row_data_bytes(const struct trace_kind *kind, const char *row) {
    size_t sum = 0;
    for (uint16_t c = 0; c < kind->column_count; c++) {
        const void *member = row + kind->columns[c].offset;
        uint64_t size = 0;
        if (kind->columns[c].coding == TRACE_BYTES) {
            size = ((const struct trace_bytes *)member)->size;
        } else if (kind->columns[c].coding == TRACE_LIST) {
            uint64_t count = ((const struct trace_list *)member)->count;
            size = count > ROW_DATA_MAX ? ROW_DATA_MAX + 1 : count * sizeof(uint64_t);
        }
        if (size > ROW_DATA_MAX - sum)
            return SIZE_MAX;
        sum += size;
    }
    return sum;
}

static int buffer_reserve(struct trace_writer *writer, struct row_buffer *buffer, size_t data_bytes) {
    size_t row_bytes = TRACE_KINDS[buffer->kind].row_bytes;
    if (buffer->row_count == buffer->row_capacity) {
        uint32_t capacity = buffer->row_capacity ? buffer->row_capacity * 2 : BUFFER_ROWS_FIRST;
        if (capacity > writer->block_rows)
            capacity = writer->block_rows;
        char *rows = realloc(buffer->rows, row_bytes * capacity);
        if (!rows)
            return -ENOMEM;
        writer->stats.buffered_bytes += row_bytes * (capacity - buffer->row_capacity);
        buffer->rows = rows;
        buffer->row_capacity = capacity;
    }
    if (data_bytes > buffer->data_capacity - buffer->data_used) {
        size_t capacity = buffer->data_capacity * 2;
        if (capacity < buffer->data_used + data_bytes)
            capacity = buffer->data_used + data_bytes;
        char *data = realloc(buffer->data, capacity);
        if (!data)
            return -ENOMEM;
        writer->stats.buffered_bytes += capacity - buffer->data_capacity;
        buffer->data = data;
        buffer->data_capacity = capacity;
    }
    return 0;
}

/* Room is reserved. No kind has both bytes and a list, so items stay aligned in data. */
static void row_copy(struct row_buffer *buffer, const char *row) {
    const struct trace_kind *kind = &TRACE_KINDS[buffer->kind];
    char *copy = buffer->rows + (size_t)kind->row_bytes * buffer->row_count;
    memcpy(copy, row, kind->row_bytes);
    for (uint16_t c = 0; c < kind->column_count; c++) {
        void *member = copy + kind->columns[c].offset;
        const void *from = NULL;
        size_t size = 0;
        if (kind->columns[c].coding == TRACE_BYTES) {
            struct trace_bytes *bytes = member;
            from = bytes->data;
            size = bytes->size;
            bytes->data = (const char *)(uintptr_t)buffer->data_used;
        } else if (kind->columns[c].coding == TRACE_LIST) {
            struct trace_list *list = member;
            from = list->items;
            size = list->count * sizeof(uint64_t);
            list->items = (const uint64_t *)(uintptr_t)buffer->data_used;
        }
        if (size > 0) {
            memcpy(buffer->data + buffer->data_used, from, size);
            buffer->data_used += size;
        }
    }
    buffer->row_count++;
}

static bool kind_is_writable(enum trace_kind_id kind) {
    return (unsigned)kind < TRACE_KIND_LIMIT && kind != TRACE_INDEX && TRACE_KINDS[kind].row_bytes > 0;
}

/* 0 while rows are taken. */
static int writer_refusal(const struct trace_writer *writer) {
    if (writer->stats.state == TRACE_STOPPED)
        return -writer->stats.stop_errno;
    return writer->stats.state == TRACE_RECORDING ? 0 : -EINVAL;
}

int trace_writer_row(struct trace_writer *writer, enum trace_kind_id kind, uint32_t thread, const void *row) {
    if (!kind_is_writable(kind))
        return -EINVAL;
    int error = writer_refusal(writer);
    if (error < 0) {
        writer->stats.rows_lost[kind]++;
        return error;
    }
    struct row_buffer *buffer = writer->recent[kind];
    if (!buffer || buffer->thread != thread)
        buffer = writer->recent[kind] = buffer_get(writer, kind, thread);
    if (!buffer) {
        writer->stats.rows_lost[kind]++;
        return -ENOMEM;
    }
    size_t data_bytes = writer->has_data[kind] ? row_data_bytes(&TRACE_KINDS[kind], row) : 0;
    error = data_bytes == SIZE_MAX ? -E2BIG : buffer_reserve(writer, buffer, data_bytes);
    if (error < 0) {
        writer->stats.rows_lost[kind]++;
        buffer->lost++;
        return error;
    }
    if (writer->has_data[kind])
        row_copy(buffer, row);
    else
        memcpy(buffer->rows + (size_t)TRACE_KINDS[kind].row_bytes * buffer->row_count++, row,
               TRACE_KINDS[kind].row_bytes);
    if (buffer->row_count >= writer->block_rows || buffer->data_used >= BLOCK_DATA_BYTES)
        return buffer_write_ordered(writer, buffer);
    if (writer->stats.buffered_bytes > BUFFERED_MAX)
        (void)trace_writer_flush(writer);
    return writer_refusal(writer);
}

int trace_writer_lost(struct trace_writer *writer, enum trace_kind_id kind, uint32_t thread, uint64_t count) {
    if (!kind_is_writable(kind))
        return -EINVAL;
    int error = writer_refusal(writer);
    if (error < 0 || count == 0)
        return error;
    struct row_buffer *buffer = buffer_get(writer, kind, thread);
    if (!buffer)
        return -ENOMEM;
    buffer->lost += count;
    return 0;
}

uint64_t trace_writer_string(struct trace_writer *writer, const char *bytes, size_t size) {
    if (size > STRING_MAX)
        size = STRING_MAX;
    uint64_t id;
    if (size == 0 || writer_refusal(writer) < 0)
        return 0;
    int new = trace_strings_intern(writer->strings, bytes, size, &id);
    if (new < 0)
        return 0;
    if (new > 0) {
        struct trace_string row = {id, {bytes, size}};
        if (trace_writer_row(writer, TRACE_STRING, 0, &row) < 0) {
            trace_strings_undo(writer->strings);
            return 0;
        }
    }
    return id;
}

int trace_writer_finish(struct trace_writer *writer) {
    int error = trace_writer_flush(writer);
    if (error < 0 && writer->stats.state == TRACE_STOPPED)
        return error;
    error = trace_file_finish(writer->file);
    const struct trace_file_header *header = trace_file_header(writer->file);
    writer->stats.state = (enum trace_state)header->state;
    writer->stats.stop_errno = header->stop_errno;
    writer->stats.stop_ns = header->stop_ns;
    writer->stats.file_bytes = trace_file_bytes(writer->file);
    return error;
}

const struct trace_writer_stats *trace_writer_stats(const struct trace_writer *writer) {
    return &writer->stats;
}
