/* SPDX-License-Identifier: MIT */
/*
 * Built twice, with frames of different sizes and else instruction by instruction the same: when one is
 * loaded where the other was, the same return address means another row.
 */
void library_call(void (*function)(void));

void library_call(void (*function)(void)) {
    volatile char local[LIBRARY_BYTES];
    local[0] = 1;
    function();
    local[1] = local[0];
}
