/* SPDX-License-Identifier: MIT */
#include "collector/unwind_pages.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/unwind_table.h"

/* --- codes --------------------------------------------------------------------------------------------- */

#define KINDS_MAX 1024U /* a power of two; of rows that are looked at as worth a code */

struct kind {
    uint32_t row, count, code;
};
#define CODE_NONE UINT32_MAX

struct kinds {
    struct kind kinds[KINDS_MAX];
    uint32_t count;
};

static struct kind *kind_find(struct kinds *kinds, uint32_t row) {
    uint32_t at = (row * 0x9E3779B1U) >> 22;
    while (kinds->kinds[at].count && kinds->kinds[at].row != row)
        at = (at + 1) & (KINDS_MAX - 1);
    return &kinds->kinds[at];
}

static int kind_compare(const void *left, const void *right) {
    const struct kind *a = *(struct kind *const *)left, *b = *(struct kind *const *)right;
    return a->count != b->count ? (a->count < b->count) - (a->count > b->count)
                                : (a->row > b->row) - (a->row < b->row);
}

/* Gives codes to the most frequent rows and writes them down. Returns how many. */
static uint32_t codes_choose(const struct unwind_rows *rows, struct kinds *kinds,
                             uint32_t ret_codes[UNWIND_CODES_MAX]) {
    struct kind *sorted[KINDS_MAX];
    uint32_t count = 0;
    *kinds = (struct kinds){0};
    for (size_t i = 0; i < rows->count; i++) {
        struct kind *kind = kind_find(kinds, rows->rows[i].row);
        if (kind->count == 0 && kinds->count == KINDS_MAX / 2) /* the table must not fill up */
            continue;
        kinds->count += kind->count == 0;
        kind->row = rows->rows[i].row;
        kind->count++;
    }
    for (uint32_t i = 0; i < KINDS_MAX; i++) {
        kinds->kinds[i].code = CODE_NONE;
        if (kinds->kinds[i].count)
            sorted[count++] = &kinds->kinds[i];
    }
    qsort(sorted, count, sizeof(sorted[0]), kind_compare);
    for (uint32_t i = 0; i < count && i < UNWIND_CODES_MAX; i++) {
        sorted[i]->code = i;
        ret_codes[i] = sorted[i]->row;
    }
    return count < UNWIND_CODES_MAX ? count : UNWIND_CODES_MAX;
}

static uint32_t code_of(struct kinds *kinds, uint32_t row) {
    const struct kind *kind = kind_find(kinds, row);
    return kind->count ? kind->code : CODE_NONE;
}

/* --- pages --------------------------------------------------------------------------------------------- */

#define PAGE_ROWS_MAX (1U << UNWIND_PAGE_BITS)

/* Goes through a file's rows page by page. */
struct paging {
    const struct unwind_rows *rows;
    struct kinds *kinds;
    size_t at;
    uint32_t current; /* the row that holds where at is */
    /* The page */
    uint32_t count;
    bool full; /* not all have a code */
    uint32_t offsets[PAGE_ROWS_MAX], values[PAGE_ROWS_MAX], codes[PAGE_ROWS_MAX];
};

static void paging_begin(struct paging *paging, const struct unwind_rows *rows, struct kinds *kinds) {
    paging->rows = rows;
    paging->kinds = kinds;
    paging->at = 0;
    paging->current = unwind_row_special(UNWIND_SPECIAL_NONE);
}

static void paging_add(struct paging *paging, uint32_t offset) {
    uint32_t i = paging->count++;
    paging->offsets[i] = offset;
    paging->values[i] = paging->current;
    paging->codes[i] = code_of(paging->kinds, paging->current);
    paging->full |= paging->codes[i] == CODE_NONE;
}

static void paging_next(struct paging *paging, uint32_t page) {
    const struct unwind_rows *rows = paging->rows;
    uint64_t low = (uint64_t)page << UNWIND_PAGE_BITS;
    paging->count = 0;
    paging->full = false;
    /* What goes on from the page before. */
    if (paging->at >= rows->count || rows->rows[paging->at].distance != low)
        paging_add(paging, 0);
    for (; paging->at < rows->count && rows->rows[paging->at].distance - low < PAGE_ROWS_MAX; paging->at++) {
        paging->current = rows->rows[paging->at].row;
        paging_add(paging, (uint32_t)(rows->rows[paging->at].distance - low));
    }
}

/* The page's rows as the kernel reads them. Returns how many units they take. */
static uint32_t paging_units(const struct paging *paging, uint16_t ret_units[2 * PAGE_ROWS_MAX]) {
    for (uint32_t i = 0; i < paging->count; i++) {
        uint32_t full = paging->offsets[i] << UNWIND_ROW_OFFSET_SHIFT | paging->values[i];
        if (paging->full)
            memcpy(&ret_units[2 * i], &full, sizeof(full));
        else
            ret_units[i] = (uint16_t)(paging->offsets[i] << UNWIND_CODE_BITS | paging->codes[i]);
    }
    return paging->full ? 2 * paging->count : paging->count;
}

/* --- placing ------------------------------------------------------------------------------------------- */

/* Pages with the same rows, by the hash of them, so that these are there once. */
struct placing {
    struct unwind_pool *pages, *rows;
    struct unwind_placed placed;
    uint32_t next;  /* of the run of units */
    uint64_t *seen; /* entries of pages, 0 none */
    uint32_t seen_mask;
};

/* Where units may be written: those of one page, or codes, do not cross from one chunk to the next. */
static uint32_t units_place(struct placing *placing, const void *units, uint32_t count, bool full) {
    uint32_t at = placing->next + (full && placing->next % 2 != 0);
    uint32_t chunk_end = (at | ((1U << UNWIND_CHUNK_ROWS_BITS) - 1)) + 1;
    if (chunk_end - at < count)
        at = chunk_end;
    memcpy(unwind_pool_at(placing->rows, at), units, count * sizeof(uint16_t));
    placing->next = at + count;
    return at;
}

/* The page's entry: to rows that are there already, or to new ones. */
static uint64_t page_place(struct placing *placing, const struct paging *paging) {
    uint16_t units[2 * PAGE_ROWS_MAX];
    uint32_t count = paging_units(paging, units);
    uint64_t entry =
        (uint64_t)paging->count << UNWIND_PAGE_COUNT_SHIFT | (paging->full ? UNWIND_PAGE_FULL : 0);
    uint64_t hash = entry;
    for (uint32_t i = 0; i < count; i++)
        hash = (hash ^ units[i]) * 0x9E3779B97F4A7C15ULL + (hash >> 32);
    hash ^= hash >> 32;
    uint64_t *seen = &placing->seen[hash & placing->seen_mask];
    while (*seen && (*seen >> 32 != entry >> 32 || memcmp(unwind_pool_at(placing->rows, (uint32_t)*seen),
                                                          units, count * sizeof(units[0])) != 0))
        seen = &placing->seen[++hash & placing->seen_mask];
    if (*seen)
        placing->placed.shared++;
    else
        *seen = entry | units_place(placing, units, count, paging->full);
    return *seen;
}

static void pages_place(struct placing *placing, struct paging *paging, uint32_t first, uint32_t pages) {
    for (uint32_t page = 0; page < pages; page++) {
        uint64_t *entry = unwind_pool_at(placing->pages, first + page);
        paging_next(paging, page);
        *entry = paging->count == 1 ? paging->values[0] : page_place(placing, paging);
        placing->placed.single += paging->count == 1;
        placing->placed.full += paging->count > 1 && paging->full;
    }
}

/* As many units as all pages take if none is like another, and what is left over at the ends of chunks. */
static uint64_t units_needed(struct paging *paging, uint32_t pages) {
    uint64_t units = 2 * UNWIND_CODES_MAX;
    for (uint32_t page = 0; page < pages; page++) {
        paging_next(paging, page);
        if (paging->count > 1)
            units += paging->full ? 2 * paging->count + 1 : paging->count;
    }
    return units + ((units >> UNWIND_CHUNK_ROWS_BITS) + 2) * 2 * PAGE_ROWS_MAX;
}

int unwind_pages_place(const struct unwind_rows *rows, struct unwind_pool *page_pool,
                       struct unwind_pool *row_pool, struct unwind_placed *ret_placed) {
    uint32_t pages = (uint32_t)((rows->high - rows->low) >> UNWIND_PAGE_BITS), seen_size = 256;
    uint32_t codes[UNWIND_CODES_MAX], first, run;
    struct placing placing = {.pages = page_pool, .rows = row_pool};
    struct kinds *kinds = malloc(sizeof(*kinds));
    struct paging *paging = malloc(sizeof(*paging));
    int error = -ENOMEM;
    while (seen_size < 2 * pages)
        seen_size *= 2;
    placing.seen = calloc(seen_size, sizeof(*placing.seen));
    placing.seen_mask = seen_size - 1;
    if (!placing.seen || !kinds || !paging)
        goto cleanup;
    uint32_t code_count = codes_choose(rows, kinds, codes);
    paging_begin(paging, rows, kinds);
    uint64_t most = units_needed(paging, pages);
    error = most > UINT32_MAX ? -EFBIG : unwind_pool_take(row_pool, (uint32_t)most, &run);
    if (error < 0)
        goto cleanup;
    error = unwind_pool_take(page_pool, pages, &first);
    if (error < 0) {
        unwind_pool_give(row_pool, run, (uint32_t)most);
        goto cleanup;
    }
    placing.next = run;
    placing.placed.codes = units_place(&placing, codes, 2 * code_count, true);
    paging_begin(paging, rows, kinds);
    pages_place(&placing, paging, first, pages);
    placing.placed.page = first;
    placing.placed.pages = pages;
    placing.placed.run = run;
    placing.placed.units = placing.next - run;
    unwind_pool_trim(row_pool, run, (uint32_t)most, placing.placed.units);
    *ret_placed = placing.placed;
cleanup:
    free(placing.seen);
    free(paging);
    free(kinds);
    return error;
}

void unwind_pages_remove(struct unwind_pool *page_pool, struct unwind_pool *row_pool,
                         const struct unwind_placed *placed) {
    unwind_pool_give(page_pool, placed->page, placed->pages);
    unwind_pool_give(row_pool, placed->run, placed->units);
}
