/* SPDX-License-Identifier: MIT */
#include "cli/message.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/command.h"

const char *const CLI_COLOR_CHOICES[] = {"auto", "always", "never", NULL};

void cli_say(const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    fprintf(stderr, "waitscope: %s\n", text);
}

bool cli_color_use(enum cli_color color, FILE *stream) {
    if (color != CLI_COLOR_AUTO)
        return color == CLI_COLOR_ALWAYS;
    const char *no_color = getenv("NO_COLOR");
    const char *terminal = getenv("TERM");
    if ((no_color && *no_color) || !terminal || strcmp(terminal, "dumb") == 0)
        return false;
    return isatty(fileno(stream));
}

unsigned cli_width(FILE *stream) {
    struct winsize size;
    return isatty(fileno(stream)) && ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

int cli_output_end(int error) {
    errno = 0;
    if (fflush(stdout) != 0)
        error = errno;
    else if (!error && ferror(stdout))
        error = EIO;
    if (!error || error == EPIPE)
        return CLI_EXIT_DONE;
    cli_say("standard output: %s", strerror(error));
    return CLI_EXIT_FAILED;
}
