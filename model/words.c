/* SPDX-License-Identifier: MIT */
#include "model/words.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WORDS_NAME_BYTES 2048

/* Three digits at most before the unit changes: 9.9, 99.9, 999. */
static void words_scaled(double value, const char *unit, char *buffer, size_t bytes) {
    snprintf(buffer, bytes, value < 99.95 ? "%.1f %s" : "%.0f %s", value, unit);
}

const char *words_time(uint64_t ns, char *buffer, size_t bytes) {
    if (ns < 1000)
        snprintf(buffer, bytes, "%" PRIu64 " ns", ns);
    else if (ns < 999500)
        words_scaled((double)ns / 1e3, "µs", buffer, bytes);
    else if (ns < 999500000)
        words_scaled((double)ns / 1e6, "ms", buffer, bytes);
    else if (ns < 120000000000)
        words_scaled((double)ns / 1e9, "s", buffer, bytes);
    else if (ns < 7200000000000)
        snprintf(buffer, bytes, "%" PRIu64 " min %" PRIu64 " s", ns / 60000000000, ns / 1000000000 % 60);
    else
        snprintf(buffer, bytes, "%" PRIu64 " h %" PRIu64 " min", ns / 3600000000000, ns / 60000000000 % 60);
    return buffer;
}

const char *words_count(uint64_t count, char *buffer, size_t bytes) {
    char digits[24], grouped[32];
    int size = snprintf(digits, sizeof(digits), "%" PRIu64, count), out = 0;
    for (int i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            grouped[out++] = ' ';
        grouped[out++] = digits[i];
    }
    grouped[out] = '\0';
    snprintf(buffer, bytes, "%s", grouped);
    return buffer;
}

const char *words_bytes(uint64_t count, char *buffer, size_t bytes) {
    static const char *const UNITS[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)count;
    size_t unit = 0;
    if (count < 1024) {
        snprintf(buffer, bytes, "%" PRIu64 " B", count);
        return buffer;
    }
    for (value /= 1024; value >= 999.5 && unit + 1 < sizeof(UNITS) / sizeof(UNITS[0]); unit++)
        value /= 1024;
    words_scaled(value, UNITS[unit], buffer, bytes);
    return buffer;
}

const char *words_share(uint64_t part, uint64_t whole, char *buffer, size_t bytes) {
    double percent = whole ? 100.0 * (double)part / (double)whole : 0;
    if (whole == 0)
        snprintf(buffer, bytes, "-");
    else if (part > 0 && percent < 0.05)
        snprintf(buffer, bytes, "<0.1 %%");
    else
        snprintf(buffer, bytes, percent < 99.95 ? "%.1f %%" : "%.0f %%", percent);
    return buffer;
}

static void words_place(const char *name, const char *file, uint32_t line, char *buffer, size_t bytes) {
    const char *slash = file ? strrchr(file, '/') : NULL;
    const char *base = slash ? slash + 1 : file;
    if (base && line)
        snprintf(buffer, bytes, "%s (%s:%" PRIu32 ")", name, base, line);
    else if (base)
        snprintf(buffer, bytes, "%s (%s)", name, base);
    else
        snprintf(buffer, bytes, "%s", name);
}

/* The length of what comes before the parameters: a demangled C++ function ends in them, but for
 * " const" or a mark such as " [clone .cold]". */
static size_t name_length(const char *function) {
    size_t whole = strlen(function), end = whole, depth = 0;
    for (const char *mark; (mark = strstr(function, " [clone ")) && (size_t)(mark - function) < end;)
        end = (size_t)(mark - function);
    if (end > 6 && memcmp(function + end - 6, " const", 6) == 0)
        end -= 6;
    if (end == 0 || function[end - 1] != ')')
        return whole;
    for (size_t i = end; i-- > 0;) {
        depth += function[i] == ')';
        depth -= function[i] == '(';
        if (depth > 0)
            continue;
        bool is_name = i == 0 || strncmp(function + i, "(anonymous", 10) == 0 ||
                       (i >= 8 && memcmp(function + i - 8, "operator", 8) == 0 && function[i + 1] == ')');
        return is_name ? whole : i;
    }
    return whole;
}

const char *words_function(const char *function, char *buffer, size_t bytes) {
    snprintf(buffer, bytes, "%.*s", (int)name_length(function), function);
    return buffer;
}

const char *words_site(const struct model_frame *frame, char *buffer, size_t bytes) {
    char function[WORDS_NAME_BYTES];
    words_place(words_function(frame->function, function, sizeof(function)), frame->file, frame->line, buffer,
                bytes);
    return buffer;
}

const char *words_whole_site(const struct model_frame *frame, char *buffer, size_t bytes) {
    words_place(frame->function, frame->file, frame->line, buffer, bytes);
    return buffer;
}

const char *words_lock(const struct model_lock *lock, char *buffer, size_t bytes) {
    words_place(lock->name, lock->file, lock->line, buffer, bytes);
    return buffer;
}

static void holding_in_kernel(const struct model_holding *holding, char *buffer, size_t bytes) {
    static const struct {
        const char *in_call, *alone; /* in_call: with the call's name */
    } WORDS[MODEL_OFF_KIND_COUNT] = {
        [MODEL_OFF_IO] = {"in %s (I/O)", "waiting for storage"},
        [MODEL_OFF_PAGE_FAULT] = {NULL, "in a page fault"},
        [MODEL_OFF_SLEEP] = {"asleep in %s", "asleep"},
        [MODEL_OFF_POLL] = {"polling in %s", "polling"},
        [MODEL_OFF_FUTEX] = {NULL, "waiting for a futex"},
        [MODEL_OFF_STOPPED] = {NULL, "stopped"},
        [MODEL_OFF_OTHER] = {"blocked in %s", "blocked in the kernel"},
    };
    const char *in_call = WORDS[holding->kind].in_call, *place = in_call ? strstr(in_call, "%s") : NULL;
    if (place && holding->call)
        snprintf(buffer, bytes, "%.*s%s%s", (int)(place - in_call), in_call, holding->call, place + 2);
    else
        snprintf(buffer, bytes, "%s", WORDS[holding->kind].alone);
}

const char *words_holding(const struct model *model, const struct model_holding *holding, char *buffer,
                          size_t bytes) {
    uint32_t count;
    const struct model_lock *locks = model_locks(model, &count);
    if (holding->state == MODEL_RUNNABLE)
        snprintf(buffer, bytes, "waiting for a CPU");
    else if (holding->lock == MODEL_NONE)
        holding_in_kernel(holding, buffer, bytes);
    else if (locks[holding->lock].cls == LOCK_CLASS_SLEEP)
        snprintf(buffer, bytes, "asleep");
    else if (locks[holding->lock].cls == LOCK_CLASS_POLL)
        snprintf(buffer, bytes, "polling");
    else if (locks[holding->lock].cls == LOCK_CLASS_JOIN)
        snprintf(buffer, bytes, "waiting for a thread's end");
    else
        snprintf(buffer, bytes, "waiting for %s", locks[holding->lock].name);
    return buffer;
}
