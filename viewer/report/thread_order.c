/* SPDX-License-Identifier: MIT */
#include "viewer/report/thread_order.h"

#include <stdlib.h>
#include <string.h>

static int compare_threads(const void *left, const void *right, void *context) {
    const struct model_thread *threads = context;
    uint32_t a, b;
    memcpy(&a, left, sizeof(a));
    memcpy(&b, right, sizeof(b));
    static const enum model_state STATES[] = {MODEL_LOCK_WAIT, MODEL_BLOCKED};
    for (size_t i = 0; i < sizeof(STATES) / sizeof(STATES[0]); i++) {
        uint64_t x = threads[a].states_ns[STATES[i]], y = threads[b].states_ns[STATES[i]];
        if (x != y)
            return x > y ? -1 : 1;
    }
    return a < b ? -1 : a > b;
}

uint32_t *thread_order(const struct model *model) {
    uint32_t count;
    const struct model_thread *threads = model_threads(model, &count);
    uint32_t *order = malloc(((size_t)count + 1) * sizeof(*order));
    if (!order)
        return NULL;
    for (uint32_t i = 0; i < count; i++)
        order[i] = i;
    qsort_r(order, count, sizeof(*order), compare_threads, (void *)threads);
    return order;
}
