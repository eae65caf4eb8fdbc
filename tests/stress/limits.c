/* SPDX-License-Identifier: MIT */
/*
 * More threads than there are slots: where a file may be no longer than one slot each further slab is one,
 * and an image has no more than SLABS_MAX. The others run unrecorded and are counted, and all of it comes out
 * as it would have.
 */
#include "format/slab.h"
#include "load.h"

#define FIRST_SLOTS 64U /* of the slab from before the limit; one is the main thread's */

int main(void) {
    char threads[24], bytes[24];
    struct load_run run;
    struct load_trace trace;
    unsigned long room = FIRST_SLOTS - 1 + SLABS_MAX - 1, count = room + 100;
    if (!load_begin())
        return check_summary();
    snprintf(threads, sizeof(threads), "%lu", count);
    snprintf(bytes, sizeof(bytes), "%u", SLAB_HEADER_BYTES + SLOT_RING_OFFSET + RING_BYTES_MIN);
    const char *path = load_file("trace");
    if (load_start(&run, path, NULL, (const char *const[]){"limited", threads, bytes, NULL})) {
        for (int look = 0; look < 2; look++) {
            if (load_hear(&run, look == 0 ? "born" : "idle", NULL, 0))
                load_go(&run);
        }
        load_hear(&run, "done", NULL, 0);
        CHECK_EQ_INT(load_wait(&run), 0);
    }
    if (load_trace_read(path, &trace, NULL, NULL)) {
        printf("%lu threads, %llu recorded, %llu without a slot\n", count,
               (unsigned long long)trace.rows[TRACE_THREAD] - 1,
               (unsigned long long)trace.losses[LOSS_NO_SLOT]);
        CHECK(trace.state == TRACE_COMPLETE && !trace.damaged);
        CHECK_EQ_U64(trace.rows[TRACE_THREAD], room + 1);
        CHECK_EQ_U64(trace.losses[LOSS_NO_SLOT], count - room);
        CHECK_EQ_U64(trace.emitted, trace.stored + trace.loss_total);
    }
    return load_end();
}
