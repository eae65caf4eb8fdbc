#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What must stay true of the tree, whoever changes it: who may include whom (docs/architecture.md),
# how large and how marked a file is, and what the agent shows of itself in the target.
#
#   room_rules.sh ROOT AGENT.so   prints each breach, exit 1 where there is one
#   room_rules.sh --self-test     breaks every rule once and sees that it is noticed
set -uo pipefail
export LC_ALL=C

# room: the rooms it may include besides itself
rooms='
include:
format:
agent: format include
bpf: format
collector: format bpf
model: format
viewer: model
cli: collector model viewer
tests: include format agent bpf collector model viewer cli
examples:
'
# system headers that belong to some rooms only
owned_headers='
zstd\.h: collector model tests
(elfutils/.*|libelf\.h|gelf\.h|dwarf\.h): collector tests
libunwind.*\.h: agent tests
(bpf/.*|linux/bpf\.h): bpf collector cli tests
(ncurses.*|curses\.h|ncursesw/.*): viewer tests
'
lines_max=800
tls_max=256 # bytes of initial-exec TLS: more of it and small thread stacks fail

breaches=0
breach() {
    printf '%s\n' "$*"
    breaches=$((breaches + 1))
}

files() { # ROOT NAME-PATTERN…
    local root=$1 pattern arguments=()
    shift
    for pattern in "$@"; do arguments+=(-o -name "$pattern"); done
    find "$root" -mindepth 1 \( -path "$root/.git" -o -path "$root/build*" -o -path "$root/demo-out" \
        -o -name node_modules \) -prune -o -type f \( "${arguments[@]:1}" \) -print
}

allowed() { sed -n "s/^$1: *//p" <<<"$rooms"; }

check_includes() {
    local root=$1 file line room header target headers may
    while read -r file; do
        room=${file#"$root"/}
        room=${room%%/*}
        grep -q "^$room:" <<<"$rooms" || continue
        may=" $room $(allowed "$room") "
        while IFS=: read -r line header; do
            if [[ $header == *..* ]]; then
                breach "${file#"$root"/}:$line: include by the name from the root: $header"
                continue
            fi
            target=${header%%/*}
            if [[ $header == */* ]] && grep -q "^$target:" <<<"$rooms" && [ -d "$root/$target" ]; then
                [[ $may == *" $target "* ]] ||
                    breach "${file#"$root"/}:$line: $room may not include $header"
            fi
            while IFS=: read -r headers may_rooms; do
                [ -n "$headers" ] || continue
                if [[ $header =~ ^$headers$ && " $may_rooms " != *" $room "* ]]; then
                    breach "${file#"$root"/}:$line: $room may not include $header"
                fi
            done <<<"$owned_headers"
        done < <(sed -nE '/^[ \t]*#[ \t]*include[ \t]*[<"]/{=;p}' "$file" | paste -sd ':\n' |
            sed -E 's/^([0-9]+):[^<"]*[<"]([^>"]*).*/\1:\2/')
    done < <(files "$root" '*.c' '*.h' '*.cpp')

    local curses
    curses=$(files "$root" '*.c' '*.h' | grep -v "^$root/tests/" |
        xargs -r grep -lE '#[ \t]*include[ \t]*<n?curses' | wc -l)
    [ "$curses" -le 1 ] || breach "ncurses is included by $curses files; one is allowed"
}

check_files() {
    local root=$1 file count
    while read -r file; do
        count=$(wc -l <"$file")
        [ "$count" -le $lines_max ] || breach "${file#"$root"/}: $count lines; split it before $lines_max"
        [[ $(head -n 2 "$file") == *'SPDX-License-Identifier: MIT'* ]] ||
            breach "${file#"$root"/}: no SPDX line at its top"
    done < <(files "$root" '*.c' '*.h' '*.cpp' '*.js' '*.mjs' '*.sh' '*.py' CMakeLists.txt Makefile
        find "$root/scripts" "$root/.ci" -type f 2>/dev/null)
}

# Where this machine gets its packages, and where this tree lies: neither belongs in the project.
check_names() {
    local root=$1 hosts host hits
    hosts=$({
        grep -rhoE '^(URIs:|deb ).*https?://[^/ ]+' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null || true
        npm config get registry 2>/dev/null || true
    } | grep -oE 'https?://[^/ ]+' | sed 's#.*//##' | sort -u || true)
    [[ ${root#/} != */* ]] || hosts="$hosts $root/" # a short root such as /src would be found anywhere
    for host in $hosts; do
        hits=$(files "$root" '*' | xargs -r grep -lIF -- "$host" | head -n 3 || true)
        [ -z "$hits" ] || breach "names a registry host or this machine's path: $hits"
    done
    hits=$(files "$root" '*' | xargs -r grep -lIE '"resolved": *"https?:|https?://(registry|deb|archive|mirror)s?[.]' |
        head -n 3 || true)
    [ -z "$hits" ] || breach "names a registry: $hits"
}

defined_symbols() { nm -D --defined-only "$1" | awk '{sub(/@.*/, "", $NF); print $NF}' | sort -u; }

# A target that calls backtrace() gets glibc's: libunwind, where it is loaded, would put its own in its place.
check_binding() {
    local agent bound work
    agent=$(realpath "$1")
    work=$(mktemp -d)
    printf '%s\n' '#include <execinfo.h>' 'int main(void) { void *f[9]; return backtrace(f, 9) < 1; }' |
        "${CC:-cc}" -x c - -o "$work/target"
    # The loader binds everything, says so, and runs nothing.
    bound=$(LD_PRELOAD=$agent LD_DEBUG=bindings LD_TRACE_LOADED_OBJECTS=1 LD_WARN=yes LD_BIND_NOW=1 \
        "$work/target" 2>&1 | sed -nE "s/.*binding file [^ ]*target .* to ([^ ]*) .*symbol .backtrace'.*/\1/p")
    rm -r "$work"
    [[ $bound == */libc.so.6 ]] || breach "with the agent a target's backtrace() is ${bound:-not bound}"
}

# The agent may need libc and nothing else, and show the target only names that libc has as well and those
# that include/waitscope.h declares; these all of them.
check_agent() {
    local agent=$1 header=$2 libc needed symbol tls declared
    libc=$(ldd "$(command -v bash)" | awk '$1 == "libc.so.6" {print $3}')
    [ -r "$agent" ] && [ -r "$libc" ] || {
        breach "cannot read $agent or the C library"
        return
    }
    for needed in $(readelf -dW "$agent" | sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p'); do
        case $needed in
        libc.so.6 | ld-linux-x86-64.so.2) ;;
        *) breach "the agent needs $needed" ;;
        esac
    done
    declared=$(sed -nE 's/^void (waitscope_agent_[a-z_]+)\(.*/\1/p' "$header" 2>/dev/null | sort)
    for symbol in $(comm -23 <(defined_symbols "$agent") <(defined_symbols "$libc")); do
        grep -qx "$symbol" <<<"$declared" ||
            breach "the agent exports $symbol, which is neither libc's to interpose nor in waitscope.h"
    done
    for symbol in $(comm -13 <(defined_symbols "$agent") <(printf '%s' "$declared")); do
        breach "waitscope.h declares $symbol, which the agent does not export"
    done
    [ -n "$(defined_symbols "$agent")" ] || breach 'the agent exports nothing'
    check_binding "$agent"
    tls=$(readelf -lW "$agent" | awk '$1 == "TLS" {print $6}')
    [ -z "$tls" ] || [ $((tls)) -le $tls_max ] || breach "the agent has $((tls)) bytes of TLS; $tls_max are allowed"
}

# Expects that a check, run on a tree with one thing wrong, prints a line with the given text.
expect() {
    local text=$1 printed
    shift
    printed=$("$@" 2>&1 || true)
    [[ $printed == *"$text"* ]] || {
        printf 'self-test: %s said "%s", not "%s"\n' "$1" "$printed" "$text"
        self_failed=1
    }
}

self_test() {
    local root spdx='/* SPDX-License-Identifier: MIT */' words
    self_failed=0
    root=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$root'" EXIT
    mkdir -p "$root"/{agent,format,include,collector,model,viewer/tui,cli,tests}

    printf '%s\n#include "format/record.h"\n#include <zstd.h>\n' "$spdx" >"$root/model/fine.c"
    words=$(check_includes "$root" && check_files "$root" && check_names "$root")
    [ -z "$words" ] || { printf 'self-test: a good tree gives "%s"\n' "$words"; self_failed=1; }

    printf '%s\n#include "collector/symbol.h"\n' "$spdx" >"$root/agent/bad.c"
    expect 'agent/bad.c:2: agent may not include collector/symbol.h' check_includes "$root"
    printf '%s\n\n#  include <tests/unit/check.h>\n' "$spdx" >"$root/agent/bad.c"
    expect 'agent/bad.c:3: agent may not include tests/' check_includes "$root"
    printf '%s\n#include <elfutils/libdw.h>\n' "$spdx" >"$root/agent/bad.c"
    expect 'agent may not include elfutils/libdw.h' check_includes "$root"
    printf '%s\n#include "../collector/symbol.h"\n' "$spdx" >"$root/agent/bad.c"
    expect 'include by the name from the root' check_includes "$root"
    rm "$root/agent/bad.c"
    printf '%s\n#include "collector/collector.h"\n' "$spdx" >"$root/viewer/bad.c"
    expect 'viewer may not include collector/collector.h' check_includes "$root"
    printf '%s\n#include <ncurses.h>\n' "$spdx" | tee "$root/viewer/tui/a.c" >"$root/viewer/tui/b.c"
    expect 'ncurses is included by 2 files' check_includes "$root"

    printf 'int x;\n' >"$root/cli/bare.c"
    expect 'cli/bare.c: no SPDX line' check_files "$root"
    { printf '%s\n' "$spdx"; yes '' | head -n $lines_max; } >"$root/cli/long.c"
    expect 'cli/long.c: 801 lines' check_files "$root"

    printf '{"resolved": "http%s://x.example/y.tgz"}\n' s >"$root/package-lock.json"
    expect 'names a registry: ' check_names "$root"
    printf 'see %s/cli\n' "$root" >"$root/notes.md"
    expect "this machine's path" check_names "$root"

    printf 'void waitscope_agent_call(void);\n' >"$root/waitscope.h"
    expect 'cannot read' check_agent "$root/none.so" "$root/waitscope.h"
    # The collector's own kind of library: it needs more than libc and exports names of its own.
    printf '%s\n' 'static __thread char big[4096]; char *mine(int i); char *mine(int i) { return &big[i]; }' \
        'int backtrace(void **frames, int count); int backtrace(void **f, int n) { return f ? n : 0; }' |
        "${CC:-cc}" -x c - -shared -fPIC -Wl,--no-as-needed -lm -o "$root/bad.so"
    expect 'the agent needs libm.so.6' check_agent "$root/bad.so" "$root/waitscope.h"
    expect 'the agent exports mine' check_agent "$root/bad.so" "$root/waitscope.h"
    expect 'declares waitscope_agent_call, which' check_agent "$root/bad.so" "$root/waitscope.h"
    expect 'bytes of TLS' check_agent "$root/bad.so" "$root/waitscope.h"
    expect "a target's backtrace() is $root/bad.so" check_agent "$root/bad.so" "$root/waitscope.h"
    printf '%s\n#include "format/record.h"\n' "$spdx" >"$root/include/bad.h"
    expect 'include may not include format/record.h' check_includes "$root"
    rm "$root/include/bad.h"

    [ $self_failed -eq 0 ] && echo 'self-test: every breach is noticed'
    return $self_failed
}

if [ "${1-}" = --self-test ]; then
    self_test
    exit
fi
[ $# -eq 2 ] || {
    echo 'usage: room_rules.sh ROOT AGENT.so | --self-test' >&2
    exit 2
}
check_includes "$1"
check_files "$1"
check_names "$1"
check_agent "$2" "$1/include/waitscope.h"
printf '%d breaches of the room rules\n' "$breaches"
[ $breaches -eq 0 ]
