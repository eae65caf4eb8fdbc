/* SPDX-License-Identifier: MIT */
/* The recording's event loop, private to the collector's core. */
#ifndef WAITSCOPE_COLLECTOR_LOOP_H
#define WAITSCOPE_COLLECTOR_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct recording;

struct loop_options {
    int signals;    /* signalfd */
    int target;     /* pidfd of a target that is not our child, -1 none */
    int target_pid; /* of it; told apart by kill() where there is no pidfd */
    bool standing;  /* for whoever reports, until a signal or the duration ends it */
    uint64_t duration_ns;
};

/* Runs until every recorded process has ended or the duration is over; then all is drained. */
void loop_run(struct recording *recording, const struct loop_options *options);

/* Reads pending signals and passes on what the terminal does not send to pid by itself. Returns how
 * many asked to end: SIGINT, SIGTERM, SIGHUP. pid 0: nobody to pass on to. */
int loop_signals_forward(int signals, int pid);

#endif
