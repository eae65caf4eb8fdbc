/* SPDX-License-Identifier: MIT */
#include "format/columns.h"

#include <errno.h>
#include <string.h>

#define COLUMN_HEADER_MAX (COLUMNS_VARINT_MAX + 1 + COLUMNS_VARINT_MAX)
#define PLANES_HEADER_MAX (1 + COLUMNS_VARINT_MAX)

/* Planes need rows to pay: below, a varint's few bytes are better. */
#define PLANES_ROWS_MIN 64U
/* A block of its own is not worth it for fewer bytes. */
#define BORDER_BYTES_MIN 256U

static inline uint8_t *varint_put(uint8_t *to, uint64_t value) {
    while (value >= 0x80) {
        *to++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *to++ = (uint8_t)value;
    return to;
}

static inline uint64_t zigzag(uint64_t difference) {
    return (difference << 1) ^ (uint64_t)((int64_t)difference >> 63);
}

static inline uint64_t unzigzag(uint64_t value) {
    return (value >> 1) ^ (0 - (value & 1));
}

/* Returns the place behind the varint, or NULL if it is cut short or does not fit 64 bits. */
static const uint8_t *varint_get_long(const uint8_t *from, const uint8_t *end, uint64_t *ret_value) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70 && from < end; shift += 7) {
        uint8_t byte = *from++;
        if (shift == 63 && byte > 1)
            return NULL;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret_value = value;
            return from;
        }
    }
    return NULL;
}

static inline const uint8_t *varint_get(const uint8_t *from, const uint8_t *end, uint64_t *ret_value) {
    if (from < end && from[0] < 0x80) {
        *ret_value = from[0];
        return from + 1;
    }
    if (end - from >= 2 && from[1] < 0x80) {
        *ret_value = (from[0] & 0x7fU) | (uint64_t)from[1] << 7;
        return from + 2;
    }
    if (end - from >= 3 && from[2] < 0x80) {
        *ret_value = (from[0] & 0x7fU) | (uint64_t)(from[1] & 0x7fU) << 7 | (uint64_t)from[2] << 14;
        return from + 3;
    }
    return varint_get_long(from, end, ret_value);
}

/* The member of row `row`, whose first is at base. Members are aligned: rows are arrays of structs. */
static inline uint64_t scalar_at(const char *base, size_t stride, uint32_t row) {
    return *(const uint64_t *)(const void *)(base + stride * row);
}
static inline const struct trace_bytes *bytes_at(const char *base, size_t stride, uint32_t row) {
    return (const struct trace_bytes *)(const void *)(base + stride * row);
}
static inline const struct trace_list *list_at(const char *base, size_t stride, uint32_t row) {
    return (const struct trace_list *)(const void *)(base + stride * row);
}

size_t columns_bound(const struct trace_kind *kind, const void *rows, uint32_t row_count) {
    size_t bound = 0;
    for (uint16_t c = 0; c < kind->column_count; c++) {
        const char *base = (const char *)rows + kind->columns[c].offset;
        bound += COLUMN_HEADER_MAX + PLANES_HEADER_MAX + (size_t)COLUMNS_VARINT_MAX * row_count;
        for (uint32_t row = 0; row < row_count; row++) {
            if (kind->columns[c].coding == TRACE_BYTES)
                bound += bytes_at(base, kind->row_bytes, row)->size;
            else if (kind->columns[c].coding == TRACE_LIST)
                bound += list_at(base, kind->row_bytes, row)->count * COLUMNS_VARINT_MAX;
            else
                break;
        }
    }
    return bound;
}

static uint8_t *encode_scalars(uint8_t *to, const char *base, size_t stride, uint32_t row_count, bool delta) {
    uint64_t before = 0;
    for (uint32_t row = 0; row < row_count; row++) {
        uint64_t value = scalar_at(base, stride, row);
        to = varint_put(to, delta ? zigzag(value - before) : value);
        before = value;
    }
    return to;
}

/* What planes would hold for a row. */
static inline uint64_t plane_number(uint64_t value, uint64_t before, bool delta) {
    return delta ? zigzag(value - before) : value;
}

/* Planes' width in bytes, at least 1. For differences the base is the first value; else it is 0. */
static unsigned planes_width(const char *base, size_t stride, uint32_t row_count, bool delta) {
    uint64_t bits = 1, before = scalar_at(base, stride, 0);
    for (uint32_t row = 0; row < row_count; row++) {
        uint64_t value = scalar_at(base, stride, row);
        bits |= plane_number(value, before, delta);
        before = value;
    }
    return (unsigned)(64 - __builtin_clzll(bits) + 7) / 8;
}

static uint8_t *encode_planes(uint8_t *to, const char *base, size_t stride, uint32_t row_count, bool delta,
                              unsigned width) {
    uint64_t before = delta ? scalar_at(base, stride, 0) : 0;
    *to++ = (uint8_t)width;
    to = varint_put(to, before);
    for (uint32_t row = 0; row < row_count; row++, to++) {
        uint64_t value = scalar_at(base, stride, row);
        uint64_t number = plane_number(value, before, delta);
        for (unsigned plane = 0; plane < width; plane++)
            to[(size_t)plane * row_count] = (uint8_t)(number >> 8 * plane);
        before = value;
    }
    return to + (size_t)(width - 1) * row_count;
}

static uint8_t *encode_bytes(uint8_t *to, const char *base, size_t stride, uint32_t row_count) {
    for (uint32_t row = 0; row < row_count; row++)
        to = varint_put(to, bytes_at(base, stride, row)->size);
    for (uint32_t row = 0; row < row_count; row++) {
        const struct trace_bytes *bytes = bytes_at(base, stride, row);
        if (bytes->size > 0)
            memcpy(to, bytes->data, bytes->size);
        to += bytes->size;
    }
    return to;
}

static uint8_t *encode_lists(uint8_t *to, const char *base, size_t stride, uint32_t row_count) {
    for (uint32_t row = 0; row < row_count; row++)
        to = varint_put(to, list_at(base, stride, row)->count);
    for (uint32_t row = 0; row < row_count; row++) {
        const struct trace_list *list = list_at(base, stride, row);
        uint64_t before = 0;
        for (uint64_t i = 0; i < list->count; i++) {
            to = varint_put(to, zigzag(list->items[i] - before));
            before = list->items[i];
        }
    }
    return to;
}

/* Whether each row has the same value; for bytes and lists: whether each is empty. */
static bool column_is_same(const struct trace_column *column, const char *base, size_t stride,
                           uint32_t row_count, uint64_t *ret_value) {
    if (column->coding == TRACE_BYTES || column->coding == TRACE_LIST) {
        for (uint32_t row = 0; row < row_count; row++) {
            if (column->coding == TRACE_BYTES ? bytes_at(base, stride, row)->size != 0
                                              : list_at(base, stride, row)->count != 0)
                return false;
        }
        *ret_value = 0;
        return true;
    }
    uint64_t first = scalar_at(base, stride, 0);
    for (uint32_t row = 1; row < row_count; row++) {
        if (scalar_at(base, stride, row) != first)
            return false;
    }
    *ret_value = first;
    return true;
}

static bool coding_is_scalar(unsigned coding) {
    return coding == TRACE_PLAIN || coding == TRACE_DELTA ||
           (coding >= COLUMNS_SAME && coding <= COLUMNS_DELTA_PLANES);
}

static void border_add(struct columns_borders *borders, size_t at) {
    uint32_t last = borders->count > 0 ? borders->at[borders->count - 1] : 0;
    if (borders->count < COLUMNS_BORDERS_MAX && at <= UINT32_MAX && at >= (size_t)last + BORDER_BYTES_MIN)
        borders->at[borders->count++] = (uint32_t)at;
}

/* How this column is best stored; ret_same: the value for COLUMNS_SAME; ret_width: for planes. */
static uint8_t coding_choose(const struct trace_column *column, const char *base, size_t stride,
                             uint32_t row_count, uint64_t *ret_same, unsigned *ret_width) {
    if (column_is_same(column, base, stride, row_count, ret_same))
        return COLUMNS_SAME;
    if (!coding_is_scalar(column->coding) || row_count < PLANES_ROWS_MIN)
        return column->coding;
    *ret_width = planes_width(base, stride, row_count, column->coding == TRACE_DELTA);
    if (*ret_width == 1 && column->coding == TRACE_PLAIN)
        return column->coding;
    return column->coding == TRACE_DELTA ? COLUMNS_DELTA_PLANES : COLUMNS_PLANES;
}

int columns_encode(const struct trace_kind *kind, const void *rows, uint32_t row_count, void *buffer,
                   size_t buffer_bytes, size_t *ret_bytes, struct columns_borders *ret_borders) {
    if (row_count == 0 || kind->column_count == 0)
        return -EINVAL;
    if (buffer_bytes < columns_bound(kind, rows, row_count))
        return -ENOSPC;
    struct columns_borders borders = {0};
    uint8_t *to = buffer;
    for (uint16_t c = 0; c < kind->column_count; c++) {
        const struct trace_column *column = &kind->columns[c];
        const char *base = (const char *)rows + column->offset;
        size_t stride = kind->row_bytes;
        uint64_t same = 0;
        unsigned width = 1;
        uint8_t coding = coding_choose(column, base, stride, row_count, &same, &width);
        if (coding == COLUMNS_SAME && c == 0)
            coding = column->coding; /* vouches for the row count: written row by row */
        else if (coding == COLUMNS_SAME && same == 0)
            continue;

        /* The size comes before the data and is known after it. */
        uint8_t *data = to + COLUMN_HEADER_MAX, *end = data;
        switch (coding) {
        case TRACE_PLAIN:
        case TRACE_DELTA:
            end = encode_scalars(data, base, stride, row_count, coding == TRACE_DELTA);
            break;
        case TRACE_BYTES:
            end = encode_bytes(data, base, stride, row_count);
            break;
        case TRACE_LIST:
            end = encode_lists(data, base, stride, row_count);
            break;
        case COLUMNS_SAME:
            end = varint_put(data, same);
            break;
        case COLUMNS_PLANES:
        case COLUMNS_DELTA_PLANES:
            end = encode_planes(data, base, stride, row_count, coding == COLUMNS_DELTA_PLANES, width);
            break;
        default:
            return -EINVAL;
        }
        size_t size = (size_t)(end - data);
        to = varint_put(to, c);
        *to++ = coding;
        to = varint_put(to, size);
        memmove(to, data, size);
        to += size;
        if (coding == COLUMNS_PLANES || coding == COLUMNS_DELTA_PLANES) {
            for (unsigned plane = width - 1; plane > 0; plane--)
                border_add(&borders, (size_t)(to - (uint8_t *)buffer) - (size_t)plane * row_count);
        }
        border_add(&borders, (size_t)(to - (uint8_t *)buffer));
    }
    *ret_bytes = (size_t)(to - (uint8_t *)buffer);
    if (borders.count > 0 && borders.at[borders.count - 1] == *ret_bytes)
        borders.count--;
    if (ret_borders)
        *ret_borders = borders;
    return 0;
}

/* One column as found in a payload. */
struct stored_column {
    uint64_t index;
    uint8_t coding;
    const uint8_t *data, *end;
};

/* Returns the place behind the column, or NULL if it does not fit the payload. */
static const uint8_t *stored_column_get(const uint8_t *from, const uint8_t *end, struct stored_column *ret) {
    uint64_t size;
    from = varint_get(from, end, &ret->index);
    if (!from || from == end)
        return NULL;
    ret->coding = *from++;
    from = varint_get(from, end, &size);
    if (!from || size > (uint64_t)(end - from))
        return NULL;
    ret->data = from;
    ret->end = from + size;
    return ret->end;
}

/* A coding that this version has, but not for this type of column, is damage and no growth. */
static bool coding_fits(const struct trace_column *column, unsigned coding) {
    return coding_is_scalar(column->coding) ? coding_is_scalar(coding) : coding == column->coding;
}

static bool coding_is_known(unsigned coding) {
    return coding_is_scalar(coding) || coding == TRACE_BYTES || coding == TRACE_LIST;
}

/*
 * Walks the columns of a payload. Each call of stored_columns_next gives one that is known and fits
 * the table: 1, 0 at the end, or -EBADMSG.
 */
struct stored_columns {
    const struct trace_kind *kind;
    const uint8_t *from, *end;
    uint64_t index_min;
};

static int stored_columns_next(struct stored_columns *walk, struct stored_column *ret) {
    while (walk->from < walk->end) {
        bool first = walk->index_min == 0;
        walk->from = stored_column_get(walk->from, walk->end, ret);
        if (!walk->from || ret->index < walk->index_min || ret->index > UINT16_MAX)
            return -EBADMSG;
        if (first && (ret->index != 0 || ret->coding == COLUMNS_SAME))
            return -EBADMSG;
        walk->index_min = ret->index + 1;
        if (ret->index >= walk->kind->column_count || !coding_is_known(ret->coding))
            continue;
        if (!coding_fits(&walk->kind->columns[ret->index], ret->coding))
            return -EBADMSG;
        return 1;
    }
    return walk->index_min == 0 ? -EBADMSG : 0;
}

int columns_measure(const struct trace_kind *kind, const void *payload, size_t payload_bytes,
                    uint32_t row_count, size_t *ret_items) {
    if (row_count == 0 || payload_bytes < row_count)
        return -EBADMSG;
    struct stored_columns walk = {kind, payload, (const uint8_t *)payload + payload_bytes, 0};
    struct stored_column column;
    size_t items = 0;
    int more;
    while ((more = stored_columns_next(&walk, &column)) > 0) {
        size_t size = (size_t)(column.end - column.data);
        if (column.coding != COLUMNS_SAME && size < row_count)
            return -EBADMSG;
        if (column.coding != TRACE_LIST)
            continue;
        uint64_t sum = 0;
        const uint8_t *from = column.data;
        for (uint32_t row = 0; row < row_count; row++) {
            uint64_t count;
            from = varint_get(from, column.end, &count);
            if (!from || count > size - sum)
                return -EBADMSG;
            sum += count;
        }
        if (sum > (uint64_t)(column.end - from))
            return -EBADMSG;
        items += sum;
    }
    if (more < 0)
        return more;
    *ret_items = items;
    return 0;
}

/* Kept apart for each width, so that the compiler unrolls the inner loop. */
static inline __attribute__((always_inline)) void planes_join(const uint8_t *from, unsigned width, char *base,
                                                              size_t stride, uint32_t row_count, uint64_t sum,
                                                              bool delta) {
    for (uint32_t row = 0; row < row_count; row++) {
        uint64_t number = 0;
        for (unsigned plane = 0; plane < width; plane++)
            number |= (uint64_t)from[(size_t)plane * row_count + row] << 8 * plane;
        if (delta)
            number = sum += unzigzag(number);
        else
            number += sum;
        *(uint64_t *)(void *)(base + stride * row) = number;
    }
}

static bool decode_planes(const uint8_t *from, const uint8_t *end, char *base, size_t stride,
                          uint32_t row_count, bool delta) {
    uint64_t first;
    if (from == end)
        return false;
    unsigned width = *from++;
    from = varint_get(from, end, &first);
    if (!from || width == 0 || width > 8 || (uint64_t)(end - from) != (uint64_t)width * row_count)
        return false;
    switch (width) {
    case 1:
        planes_join(from, 1, base, stride, row_count, first, delta);
        break;
    case 2:
        planes_join(from, 2, base, stride, row_count, first, delta);
        break;
    case 3:
        planes_join(from, 3, base, stride, row_count, first, delta);
        break;
    case 4:
        planes_join(from, 4, base, stride, row_count, first, delta);
        break;
    default:
        planes_join(from, width, base, stride, row_count, first, delta);
    }
    return true;
}

static bool decode_scalars(const struct stored_column *column, char *base, size_t stride,
                           uint32_t row_count) {
    const uint8_t *from = column->data, *end = column->end;
    uint64_t value = 0, sum = 0;
    if (column->coding == COLUMNS_SAME) {
        from = varint_get(from, end, &value);
        for (uint32_t row = 0; row < row_count; row++)
            *(uint64_t *)(void *)(base + stride * row) = value;
        return from == end;
    }
    if (column->coding == COLUMNS_PLANES || column->coding == COLUMNS_DELTA_PLANES)
        return decode_planes(from, end, base, stride, row_count, column->coding == COLUMNS_DELTA_PLANES);
    bool delta = column->coding == TRACE_DELTA;
    for (uint32_t row = 0; row < row_count; row++) {
        from = varint_get(from, end, &value);
        if (!from)
            return false;
        if (delta)
            value = sum += unzigzag(value);
        *(uint64_t *)(void *)(base + stride * row) = value;
    }
    return from == end;
}

static bool decode_bytes(const struct stored_column *column, char *base, size_t stride, uint32_t row_count) {
    const uint8_t *from = column->data, *end = column->end;
    for (uint32_t row = 0; row < row_count; row++) {
        struct trace_bytes *bytes = (struct trace_bytes *)(void *)(base + stride * row);
        from = varint_get(from, end, &bytes->size);
        if (!from)
            return false;
    }
    for (uint32_t row = 0; row < row_count; row++) {
        struct trace_bytes *bytes = (struct trace_bytes *)(void *)(base + stride * row);
        if (bytes->size > (uint64_t)(end - from))
            return false;
        bytes->data = bytes->size > 0 ? (const char *)from : NULL;
        from += bytes->size;
    }
    return from == end;
}

/* Takes the list items' places from *items, of which *item_count are left. */
static bool decode_lists(const struct stored_column *column, char *base, size_t stride, uint32_t row_count,
                         uint64_t **items, size_t *item_count) {
    const uint8_t *from = column->data, *end = column->end;
    for (uint32_t row = 0; row < row_count; row++) {
        struct trace_list *list = (struct trace_list *)(void *)(base + stride * row);
        from = varint_get(from, end, &list->count);
        if (!from)
            return false;
    }
    for (uint32_t row = 0; row < row_count; row++) {
        struct trace_list *list = (struct trace_list *)(void *)(base + stride * row);
        if (list->count > *item_count)
            return false;
        list->items = list->count > 0 ? *items : NULL;
        uint64_t sum = 0, value;
        for (uint64_t i = 0; i < list->count; i++) {
            from = varint_get(from, end, &value);
            if (!from)
                return false;
            sum += unzigzag(value);
            (*items)[i] = sum;
        }
        if (list->count > 0)
            *items += list->count;
        *item_count -= list->count;
    }
    return from == end;
}

int columns_decode(const struct trace_kind *kind, const void *payload, size_t payload_bytes,
                   uint32_t row_count, void *ret_rows, uint64_t *items, size_t item_count) {
    if (row_count == 0 || payload_bytes < row_count)
        return -EBADMSG;
    struct stored_columns walk = {kind, payload, (const uint8_t *)payload + payload_bytes, 0};
    struct stored_column column;
    int more;
    memset(ret_rows, 0, (size_t)kind->row_bytes * row_count);
    while ((more = stored_columns_next(&walk, &column)) > 0) {
        char *base = (char *)ret_rows + kind->columns[column.index].offset;
        bool good;
        if (column.coding == TRACE_BYTES)
            good = decode_bytes(&column, base, kind->row_bytes, row_count);
        else if (column.coding == TRACE_LIST)
            good = decode_lists(&column, base, kind->row_bytes, row_count, &items, &item_count);
        else
            good = decode_scalars(&column, base, kind->row_bytes, row_count);
        if (!good)
            return -EBADMSG;
    }
    return more;
}

/* Where a kind keeps its time, and for how long from there. */
static const struct {
    bool timed;
    uint16_t time, duration;
} KIND_TIMES[TRACE_KIND_LIMIT] = {
#define TIMED(kind, member)                                                                                  \
    { true, offsetof(struct trace_##kind, member), 0 }
    [TRACE_PROCESS] = TIMED(process, start),
    [TRACE_PROCESS_END] = TIMED(process_end, time),
    [TRACE_THREAD] = TIMED(thread, start),
    [TRACE_THREAD_NAME] = TIMED(thread_name, time),
    [TRACE_THREAD_END] = TIMED(thread_end, time),
    [TRACE_LOCK] = TIMED(lock, created),
    [TRACE_WAIT] = {true, offsetof(struct trace_wait, begin), offsetof(struct trace_wait, duration)},
    [TRACE_RELEASE] = TIMED(release, time),
    [TRACE_REGION] = {true, offsetof(struct trace_region, begin), offsetof(struct trace_region, duration)},
    [TRACE_OFF_CPU] = {true, offsetof(struct trace_off_cpu, begin), offsetof(struct trace_off_cpu, duration)},
    [TRACE_SAMPLE] = TIMED(sample, time),
    [TRACE_SNAPSHOT] = TIMED(snapshot, time),
    [TRACE_LOSS] = TIMED(loss, time),
    [TRACE_END] = TIMED(end, time),
#undef TIMED
};

bool columns_row_times(enum trace_kind_id kind, const void *row, uint64_t *ret_begin, uint64_t *ret_end) {
    if ((unsigned)kind >= TRACE_KIND_LIMIT || !KIND_TIMES[kind].timed)
        return false;
    uint64_t begin = scalar_at((const char *)row + KIND_TIMES[kind].time, 0, 0);
    if (begin == 0)
        return false;
    uint64_t duration =
        KIND_TIMES[kind].duration ? scalar_at((const char *)row + KIND_TIMES[kind].duration, 0, 0) : 0;
    *ret_begin = begin;
    *ret_end = duration > UINT64_MAX - begin ? UINT64_MAX : begin + duration;
    return true;
}
