/* SPDX-License-Identifier: MIT */
/*
 * The kernel's word on the recorded processes, put into the trace; private to the collector's core.
 * Everything here does nothing where kernel is NULL: the kernel side could not be had, or is not wanted.
 *
 * A thread is known to the kernel before it is to its agent, and to the kernel alone in a program without
 * one. It gets its id here when it is first heard of, and an agent's thread takes that id over; its rows wait
 * until the thread's own row is written. A process that no agent reports from gets an image of its own.
 */
#ifndef WAITSCOPE_COLLECTOR_KERNEL_H
#define WAITSCOPE_COLLECTOR_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "collector/kernel_probes.h"

struct recording;
struct image;
struct kernel;

/* What the trace calls the kernel's own code, and where that begins. */
#define KERNEL_MODULE_PATH "[kernel]"
#define KERNEL_MODULE_START (1ULL << 63)

/* Returns 0 or a negative errno as kernel_probes_open(). options: record and argument are ours. alone: no
 * agent will report. */
int kernel_open(struct recording *recording, const struct kernel_probes_options *options, bool alone,
                struct kernel **ret_kernel);
void kernel_close(struct kernel *kernel);
/* In words, for an error of kernel_open(): what is in the way. */
void kernel_why_not(int error, char *ret_text, size_t bytes);
int kernel_follow(struct kernel *kernel, int pid);
/* The same for a process that runs already, with the threads it has. -ESRCH where there is none. ret_note: in
 * words, what could not be found out of them; unchanged if all could. */
int kernel_attach(struct kernel *kernel, int pid, char *ret_note, size_t bytes);
int kernel_fd(const struct kernel *kernel);

/* Takes in what has come. */
void kernel_drain(struct kernel *kernel);
/* Now and then: processes that no agent has reported from. */
void kernel_tick(struct kernel *kernel);
/* The id of a thread that its agent tells of, which calls itself tid and said so at start_ns; 0: it is not
 * known here. */
uint32_t kernel_thread_claim(struct kernel *kernel, struct image *image, uint32_t tid, uint64_t start_ns);
/* When a claimed thread began, and the program of an image, by the kernel; 0: it does not know. */
uint64_t kernel_thread_begin(const struct kernel *kernel, const struct image *image, uint32_t thread);
uint64_t kernel_image_begin(struct kernel *kernel, const struct image *image);
/* The row of a claimed thread is written. */
void kernel_thread_described(struct kernel *kernel, struct image *image, uint32_t thread);
/* The image is about to be freed: all of it that is still to be told is told. */
void kernel_image_end(struct kernel *kernel, struct image *image);
/* Stretches that have not ended, and processes that nothing was told of. Before the images' end. */
void kernel_finish(struct kernel *kernel);
/* The kernel's function that pc lies in; false where it is not known. */
struct symbol_frame;
bool kernel_frame_find(struct kernel *kernel, uint64_t pc, struct symbol_frame *ret_frame);
/* Whether names were looked for and the kernel hides where its functions are. */
bool kernel_symbols_are_hidden(const struct kernel *kernel);
void kernel_stats(const struct kernel *kernel, struct kernel_probes_stats *ret_stats);

#endif
