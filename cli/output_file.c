/* SPDX-License-Identifier: MIT */
#include "cli/output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct cli_output {
    FILE *stream;
    bool replace;
    char *path;      /* where it goes; NULL: stream is it already */
    char *temporary; /* where it is meanwhile */
};

static void output_free(struct cli_output *output) {
    if (!output)
        return;
    if (output->stream && output->stream != stdout)
        fclose(output->stream);
    free(output->path);
    free(output->temporary);
    free(output);
}

static int direct_open(struct cli_output *output, const char *path) {
    int descriptor = open(path, O_WRONLY | O_CLOEXEC);
    if (descriptor < 0)
        return -errno;
    output->stream = fdopen(descriptor, "w");
    if (!output->stream) {
        int status = -errno;
        close(descriptor);
        return status;
    }
    return 0;
}

/* path is not yet there, or is a regular file with no symbolic link in its name. */
static int temporary_open(struct cli_output *output, const char *path) {
    output->path = strdup(path);
    if (!output->path || asprintf(&output->temporary, "%s.XXXXXX", path) < 0) {
        output->temporary = NULL;
        return -ENOMEM;
    }
    int descriptor = mkostemp(output->temporary, O_CLOEXEC);
    if (descriptor < 0) {
        int status = -errno;
        free(output->temporary);
        output->temporary = NULL;
        return status;
    }
    /* mkostemp makes it private; an export is as public as the user's umask says. */
    mode_t mask = umask(0);
    umask(mask);
    fchmod(descriptor, 0666 & ~mask);
    output->stream = fdopen(descriptor, "w");
    if (!output->stream) {
        int status = -errno;
        close(descriptor);
        unlink(output->temporary);
        return status;
    }
    return 0;
}

int cli_output_open(const char *path, bool replace, struct cli_output **ret_output) {
    struct cli_output *output = calloc(1, sizeof *output);
    if (!output)
        return -ENOMEM;
    output->replace = replace;

    int status = 0;
    struct stat there;
    if (strcmp(path, "-") == 0) {
        output->stream = stdout;
    } else if (stat(path, &there) != 0) {
        /* A dangling link stays: renaming would replace it unasked. */
        status = -errno;
        if (status == -ENOENT && lstat(path, &there) != 0)
            status = temporary_open(output, path);
    } else if (S_ISDIR(there.st_mode)) {
        status = -EISDIR;
    } else if (!S_ISREG(there.st_mode)) {
        status = direct_open(output, path);
    } else if (!replace) {
        status = -EEXIST;
    } else {
        char *resolved = realpath(path, NULL);
        status = resolved ? temporary_open(output, resolved) : -errno;
        free(resolved);
    }
    if (status < 0) {
        output_free(output);
        return status;
    }
    *ret_output = output;
    return 0;
}

FILE *cli_output_stream(struct cli_output *output) {
    return output->stream;
}

static int place(const struct cli_output *output) {
    if (!output->replace) {
        if (renameat2(AT_FDCWD, output->temporary, AT_FDCWD, output->path, RENAME_NOREPLACE) == 0)
            return 0;
        /* A file system without it: what is left is to look first. */
        if (errno != EINVAL && errno != ENOSYS)
            return -errno;
        if (access(output->path, F_OK) == 0)
            return -EEXIST;
    }
    return rename(output->temporary, output->path) == 0 ? 0 : -errno;
}

int cli_output_commit(struct cli_output *output) {
    int status = 0;
    if (fflush(output->stream) != 0)
        status = -errno;
    else if (ferror(output->stream))
        status = -EIO;
    if (output->stream != stdout) {
        /* Some file systems tell of a full disk only here. */
        if (fclose(output->stream) != 0 && status == 0)
            status = -errno;
        output->stream = NULL;
    }
    if (output->path) {
        if (status == 0)
            status = place(output);
        if (status < 0)
            unlink(output->temporary);
    }
    output_free(output);
    return status;
}

void cli_output_discard(struct cli_output *output) {
    if (output && output->path)
        unlink(output->temporary);
    output_free(output);
}
