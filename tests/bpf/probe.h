/* SPDX-License-Identifier: MIT */
/* The tests' probes, loaded and attached to the whole machine. */
#ifndef WAITSCOPE_TESTS_BPF_PROBE_H
#define WAITSCOPE_TESTS_BPF_PROBE_H

#include <stdbool.h>

#include "collector/unwind_tables.h"
#include "tests/bpf/unwind_probe.h"

/* What ctest takes for "skipped" (SKIP_RETURN_CODE): only where there is no capability to load a program. */
#define PROBE_SKIPPED 77

struct probe;
typedef void probe_call(void *argument, const struct probe_record *record);

/* Whether this process has them; says so where not. */
bool probe_capable(void);
/* Returns 0; PROBE_SKIPPED where this process has not the capabilities, which it says; 1 for all else. */
int probe_tables_open(struct unwind_tables **ret_tables);
/* Says why on stderr where it cannot. Returns 0, or what to exit with. */
int probe_open(struct unwind_tables *tables, struct probe **ret_probe);
void probe_close(struct probe *probe);

/* Attaches to sched_switch and, with sample_hz > 0, to the CPUs' clocks. Returns 0 or a negative errno. */
int probe_start(struct probe *probe, unsigned sample_hz);
void probe_stop(struct probe *probe);

/* emit: PROBE_EMIT_*; again: take each stack twice; kernel: bpf_get_stack() as well. */
void probe_set(struct probe *probe, unsigned emit, bool again, bool kernel);
/* Hands out what records there are. Returns how many, or a negative errno. */
int probe_poll(struct probe *probe, int timeout_ms, probe_call *call, void *argument);

/* [PROBE_KINDS], counting on. */
struct probe_counts *probe_counts(struct probe *probe);
uint64_t probe_lost(const struct probe *probe);
/* Of a pair of clock readings, on average. */
double probe_clock_pair_ns(const struct probe *probe);
double probe_load_ms(const struct probe *probe);

const char *probe_end_name(unsigned end);

#endif
