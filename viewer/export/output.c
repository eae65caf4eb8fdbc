/* SPDX-License-Identifier: MIT */
#include "viewer/export/output.h"

#include <errno.h>
#include <string.h>

/* stdio does not promise to set errno. */
static void output_fail(struct output *out) {
    out->error = errno ? -errno : -EIO;
}

void output_bytes(struct output *out, const char *bytes, size_t count) {
    if (out->error != 0 || count == 0)
        return;
    errno = 0;
    if (fwrite(bytes, 1, count, out->file) != count)
        output_fail(out);
}

void output_text(struct output *out, const char *text) {
    output_bytes(out, text, strlen(text));
}

void output_format(struct output *out, const char *format, ...) {
    if (out->error != 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    errno = 0;
    if (vfprintf(out->file, format, arguments) < 0)
        output_fail(out);
    va_end(arguments);
}

int output_finish(struct output *out) {
    if (out->error != 0)
        return out->error;
    errno = 0;
    if (fflush(out->file) != 0 || ferror(out->file))
        output_fail(out);
    return out->error;
}
