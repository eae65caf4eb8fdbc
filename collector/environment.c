/* SPDX-License-Identifier: MIT */
/* Facts about the machine and the run, for whoever reads the trace elsewhere. No host or user names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "collector/recording.h"

void environment_add(struct recording *recording, const char *key, const char *value) {
    struct trace_environment row = {
        .key = trace_writer_string(recording->writer, key, strlen(key)),
        .value = trace_writer_string(recording->writer, value, strlen(value)),
    };
    if (row.key && row.value)
        trace_writer_row(recording->writer, TRACE_ENVIRONMENT, 0, &row);
}

/* The first line of a file that begins with prefix, from after it and its separator on. */
static bool file_line(const char *path, const char *prefix, char *ret_line, size_t bytes) {
    char line[512];
    bool found = false;
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    while (!found && fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, prefix, strlen(prefix)) != 0)
            continue;
        const char *text = line + strlen(prefix);
        text += strspn(text, " \t:");
        snprintf(ret_line, bytes, "%s", text);
        found = true;
    }
    fclose(file);
    return found;
}

void environment_write(struct recording *recording, const struct collector_options *options) {
    static const struct {
        const char *key, *path, *prefix;
    } FILES[] = {
        {"cpu", "/proc/cpuinfo", "model name"},
        {"clocksource", "/sys/devices/system/clocksource/clocksource0/current_clocksource", ""},
        {"memory", "/proc/meminfo", "MemTotal"},
        {"distribution", "/etc/os-release", "PRETTY_NAME="},
    };
    struct utsname name;
    char text[512];

    environment_add(recording, "waitscope", WAITSCOPE_VERSION);
    if (uname(&name) == 0) {
        snprintf(text, sizeof(text), "%s %s %s", name.sysname, name.release, name.machine);
        environment_add(recording, "kernel", text);
    }
    snprintf(text, sizeof(text), "%ld", sysconf(_SC_NPROCESSORS_ONLN));
    environment_add(recording, "cpus", text);
    for (size_t i = 0; i < sizeof(FILES) / sizeof(FILES[0]); i++) {
        if (file_line(FILES[i].path, FILES[i].prefix, text, sizeof(text)))
            environment_add(recording, FILES[i].key, text);
    }
    const char *agent_options = getenv(WAITSCOPE_AGENT_VARIABLE);
    if (options->hold_period) {
        snprintf(text, sizeof(text), "hold=%u", options->hold_period);
        agent_options = text;
    }
    environment_add(recording, "agent_options",
                    agent_options && agent_options[0] ? agent_options : "default");
    environment_add(recording, "started_by",
                    options->command      ? "record"
                    : options->attach_pid ? "attach"
                                          : "preload");
}
