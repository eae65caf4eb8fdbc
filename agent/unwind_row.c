/* SPDX-License-Identifier: MIT */
#include "agent/unwind_row.h"

#include <errno.h>
#include <stddef.h>

/* LSB 5 section 10.5: DW_EH_PE_datarel and DW_EH_PE_sdata4, the one encoding that linkers sort a table in. */
#define ENCODING_DATAREL_SDATA4 0x3b

/* The FDE that may cover pc by the header's sorted table, NULL if there is none. */
static const uint8_t *description_find(const uint8_t *header, uint64_t pc) {
    struct search_entry {
        int32_t start, description;
    };
    if (header[0] != 1 || header[3] != ENCODING_DATAREL_SDATA4)
        return NULL;
    struct cfi_cursor cursor = {header + 4, header + 4 + 32};
    cfi_read_encoded(&cursor, header[1], 0);
    uint64_t count = cfi_read_encoded(&cursor, header[2], 0);
    const struct search_entry *table = (const struct search_entry *)cursor.at;
    int64_t offset = (int64_t)(pc - (uint64_t)(uintptr_t)header);

    uint64_t low = 0, high = count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (table[middle].start <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? header + table[low - 1].description : NULL;
}

int unwind_cfi_find(const struct unwind_object *object, uint64_t pc, struct cfi *ret_cfi) {
    struct cfi_memory memory = {object->start, object->end, 0};
    struct cfi_description description;
    const uint8_t *entry = object->eh_frame_hdr ? description_find(object->eh_frame_hdr, pc) : NULL;
    if (!entry || cfi_description_read(&memory, entry, &description) < 0)
        return -ENOENT;
    return cfi_find(&description, pc, ret_cfi);
}

void unwind_row_compute(const struct unwind_object *object, uint64_t pc, struct cfi_row *ret_row) {
    struct cfi cfi;
    int error = unwind_cfi_find(object, pc, &cfi);
    *ret_row = error == 0 ? cfi_row_of(&cfi)
                          : (struct cfi_row){.kind = error == -ENOENT ? CFI_ROW_FRAME : CFI_ROW_FULL};
    if (ret_row->kind == CFI_ROW_SAVED_RSP) /* the cache has three bits for the kind */
        ret_row->kind = CFI_ROW_FULL;
}
