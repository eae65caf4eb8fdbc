/* SPDX-License-Identifier: MIT */
/* Numbers and places as a reader wants them. Each writes into buffer, cut to fit, and returns it. */
#ifndef WAITSCOPE_MODEL_WORDS_H
#define WAITSCOPE_MODEL_WORDS_H

#include <stddef.h>
#include <stdint.h>

#include "model/model.h"

#define WORDS_BYTES 48 /* enough for a number */

/* "812 ns", "12.3 µs", "1.8 s", "3 min 20 s". */
const char *words_time(uint64_t ns, char *buffer, size_t bytes);
/* "1 234 567" */
const char *words_count(uint64_t count, char *buffer, size_t bytes);
/* "1.8 KiB" */
const char *words_bytes(uint64_t count, char *buffer, size_t bytes);
/* "12.3 %", "<0.1 %"; "-" where whole is 0. */
const char *words_share(uint64_t part, uint64_t whole, char *buffer, size_t bytes);
/* A function without its parameters: "void f<int>(int, long) const" becomes "void f<int>". */
const char *words_function(const char *function, char *buffer, size_t bytes);
/* "db_query (db.c:42)", without parameters, the file without its directories, where it is known. */
const char *words_site(const struct model_frame *frame, char *buffer, size_t bytes);
/* The same with the parameters. */
const char *words_whole_site(const struct model_frame *frame, char *buffer, size_t bytes);
/* "conn_lock (db.c:31)" */
const char *words_lock(const struct model_lock *lock, char *buffer, size_t bytes);
/* "waiting for a CPU", "waiting for pool.lock", "asleep in nanosleep": what a holder was, or was doing. */
const char *words_holding(const struct model *model, const struct model_holding *holding, char *buffer,
                          size_t bytes);

#endif
