/* SPDX-License-Identifier: MIT */
/* An ELF file as input, through a memfd; what comes out must be what the tables are made of. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bpf/unwind_table.h"
#include "collector/unwind_rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void rows_check(const struct unwind_rows *rows) {
    if (rows->low % 4096 != 0 || rows->high % 4096 != 0 || rows->low >= rows->high ||
        rows->segment_count == 0 || rows->segment_count > UNWIND_SEGMENTS_MAX)
        abort();
    for (size_t i = 0; i < rows->count; i++) {
        const struct unwind_row_at *at = &rows->rows[i];
        if (at->distance >= rows->high - rows->low || at->row >> UNWIND_ROW_OFFSET_SHIFT != 0 ||
            (i > 0 && (at[-1].distance >= at->distance || at[-1].row == at->row)))
            abort();
        uint32_t value = at->row >> UNWIND_ROW_VALUE_SHIFT & UNWIND_ROW_VALUE_MAX;
        if ((at->row >> UNWIND_ROW_TYPE_SHIFT & 3) == UNWIND_ROW_SPECIAL && value >= UNWIND_SPECIAL_UNMAPPED)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct unwind_rows rows = {0};
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
        abort(); /* of the machine, not of the input */
    if (unwind_rows_read(fd, &rows) == 0)
        rows_check(&rows);
    else if (rows.rows || rows.count)
        abort();
    close(fd);
    unwind_rows_free(&rows);
    return 0;
}
