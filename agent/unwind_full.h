/* SPDX-License-Identifier: MIT */
/*
 * The slow unwinder: follows everything that call frame information can say (DWARF 5 section 6.4), with all
 * general registers. Compilers do not write what needs it. Hand-written assembly does: OpenSSL's ciphers,
 * where the caller is found by a saved rsp or by r11, and ld.so's lazy binding, by rbx. The agent meets it
 * where a signal handler interrupted such code, so a microsecond a frame does no harm.
 */
#ifndef WAITSCOPE_AGENT_UNWIND_FULL_H
#define WAITSCOPE_AGENT_UNWIND_FULL_H

#include "agent/unwind.h"

/* As unwind_walk(). The registers that the frame at *registers has besides are found by unwinding to it from
 * here, so it has to be on the calling thread's stack, below whom it calls: returns 0 where it is not. */
size_t unwind_full_walk(const struct unwind_registers *registers, const struct unwind_stack *stack,
                        uint64_t *ret_frames, size_t frames_max, bool *ret_complete);

#endif
