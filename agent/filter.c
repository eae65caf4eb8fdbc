/* SPDX-License-Identifier: MIT */
#include "agent/filter.h"

#include <stddef.h>

_Atomic uint64_t filter_words[1U << FILTER_BITS];
_Atomic uint32_t filter_epoch = 1; /* entries are made with 0: none is good before it was looked at */

uint64_t filter_generation_raise(const void *lock, enum lock_class cls) {
    _Atomic uint64_t *word = filter_word(lock_hash(lock));
    uint64_t old = atomic_load_explicit(word, memory_order_relaxed), new;
    do
        new = (old & ~(FILTER_GENERATION | FILTER_COUNTED)) | ((old + 1) & FILTER_GENERATION);
    while (!atomic_compare_exchange_weak_explicit(word, &old, new, memory_order_acq_rel,
                                                  memory_order_relaxed)); /* [FILTER-GENERATION] */
    if (old & FILTER_COUNTED)
        atomic_fetch_add_explicit(&filter_epoch, 1, memory_order_release); /* [FILTER-GENERATION] */
    return filter_key(lock_base(lock, cls), new);
}

void filter_forked(void) {
    uint64_t kept = FILTER_GENERATION | FILTER_COUNTED | ~(FILTER_BEGUN - 1);
    for (size_t i = 0; i < sizeof(filter_words) / sizeof(filter_words[0]); i++)
        if (filter_words[i] & ~kept) /* a page that is only read is not copied */
            filter_words[i] &= kept;
}
