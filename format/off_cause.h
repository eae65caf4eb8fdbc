/* SPDX-License-Identifier: MIT */
/* Why a thread left its CPU, by the kernel: of the trace's off_cpu rows and of what the probes hand out. */
#ifndef WAITSCOPE_FORMAT_OFF_CAUSE_H
#define WAITSCOPE_FORMAT_OFF_CAUSE_H

enum trace_off_cause {
    TRACE_OFF_PREEMPTED = 1, /* it could have gone on: others were to run */
    TRACE_OFF_ASLEEP = 2,    /* until something happens or a signal comes (TASK_INTERRUPTIBLE) */
    TRACE_OFF_HELD = 3,      /* in the kernel, whatever comes (TASK_UNINTERRUPTIBLE), and for no I/O */
    TRACE_OFF_IO = 4,        /* until storage has done its part (task_struct.in_iowait) */
    TRACE_OFF_FAULT = 5,     /* in an exception: a page has to come, or the memory map is locked */
    TRACE_OFF_STOPPED = 6,   /* by a signal or a tracer */
    TRACE_OFF_CAUSES
};

#endif
