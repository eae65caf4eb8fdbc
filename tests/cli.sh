#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The command line: exit statuses, one clear line for each thing that is wrong, output files that
# appear whole or not at all. What is in a report is the matter of the end-to-end tests.
#
#   cli.sh WAITSCOPE PROGRAM   the program to record has threads that wait on each other
set -uo pipefail
export LC_ALL=C
waitscope=$(realpath "$1")
program=$(realpath "$2")
seed=$(realpath "$(dirname "$0")")/fuzz/corpus/trace_reader/small.trace # without the kernel's part
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
made=0 failed=0

fail() {
    printf 'FAILED: %s\n' "$*"
    failed=$((failed + 1))
}
holds() { # WHAT CONDITION…
    local what=$1
    shift
    made=$((made + 1))
    "$@" || fail "$what"
}
# expect STATUS STDOUT STDERR COMMAND…: both are patterns of the whole text; '' is nothing at all.
expect() {
    local status=$1 out=$2 err=$3 got
    shift 3
    made=$((made + 1))
    "$@" >"$folder/.out" 2>"$folder/.err" </dev/null
    got=$?
    [ $got -eq "$status" ] || fail "$*: status $got, not $status: $(head -c 300 "$folder/.err")"
    # shellcheck disable=SC2053
    [[ $(head -c 20000 "$folder/.out") == $out ]] || fail "$*: stdout is $(head -c 300 "$folder/.out")"
    # shellcheck disable=SC2053
    [[ $(head -c 20000 "$folder/.err") == $err ]] || fail "$*: stderr is $(head -c 300 "$folder/.err")"
}
# The same for what ends with exactly one line on stderr and nothing on stdout.
complains() { # STATUS TEXT COMMAND…
    local status=$1 text=$2
    shift 2
    expect "$status" '' "waitscope: *$text*" "$@"
    [ "$(wc -l <"$folder/.err")" -eq 1 ] || fail "$*: $(wc -l <"$folder/.err") lines on stderr"
}

# Help and usage.
expect 0 'waitscope [0-9]*' '' "$waitscope" --version
expect 0 '*record*report*export*doctor*' '' "$waitscope" help
expect 2 '' '*usage:*' "$waitscope"
for command in record report export doctor collect; do
    expect 0 "usage: waitscope $command *--help*" '' "$waitscope" help $command
    expect 0 "usage: waitscope $command *--help*" '' "$waitscope" $command --help
done
complains 2 'no command frob' "$waitscope" frob
complains 2 'no command frob' "$waitscope" help frob
complains 125 'unknown option --frob' "$waitscope" record --frob -- true
complains 125 'record what' "$waitscope" record
complains 125 '-d needs a value' "$waitscope" record -d
for seconds in x 0 -1 1x nan inf 1e30; do
    complains 125 'a number of seconds' "$waitscope" record --duration=$seconds true
done
complains 2 'unknown option -z' "$waitscope" report -z
complains 2 '--json takes no value' "$waitscope" report --json=1
complains 2 'one trace at a time' "$waitscope" report a b
complains 2 'no format pdf' "$waitscope" export -f pdf
complains 2 'no kind frob' "$waitscope" export --kind frob

# What is no trace.
complains 1 'no waitscope.\*.trace here' "$waitscope" report
complains 1 'No such file' "$waitscope" report missing.trace
printf 'not a trace at all, but long enough to be looked at with care %0300d' 0 >foreign
complains 1 'foreign: not a waitscope trace' "$waitscope" report foreign
: >empty
complains 1 'empty: ' "$waitscope" report empty

# The recorded command's result is the user's.
complains 127 'nonexistent-command: No such file' "$waitscope" record nonexistent-command
printf 'x' >not-executable
complains 126 'not-executable: Permission denied' "$waitscope" record ./not-executable
holds 'no trace is left by what did not run' test -z "$(ls ./*.trace 2>/dev/null)"
expect 3 'out' '*' "$waitscope" record -o code.trace -- sh -c 'echo out; exit 3'
holds 'a command that fails is recorded too' test -s code.trace
expect 137 '' '*' bash -c "'$waitscope' record -o kill.trace -- sh -c 'kill -KILL \$\$'; exit \$?"
expect 134 '' '*' bash -c "ulimit -c 0; '$waitscope' record -o abort.trace -- sh -c 'kill -ABRT \$\$'; exit \$?"
holds 'a command that is killed is recorded too' test -s kill.trace

# A recording, and what is made of it.
expect 0 '*' '*ledger.trace*' "$waitscope" record -o ledger.trace -- "$program"
holds 'the summary has at most 8 lines' test "$(wc -l <"$folder/.err")" -le 8
expect 0 '*ledger_lock*' '' "$waitscope" report ledger.trace
holds 'no colour without a terminal' test -z "$(grep $'\e' "$folder/.out")"
expect 0 $'*\e[[]*' '' "$waitscope" report --color=always ledger.trace
expect 0 '{*"version"*ledger_lock*' '' "$waitscope" report --json ledger.trace
expect 0 '*' '' bash -c "'$waitscope' report ledger.trace | head -n 1"
expect 0 '*' '' bash -c "trap '' PIPE; '$waitscope' report ledger.trace | head -n 1"
complains 1 'No space left' bash -c "'$waitscope' report ledger.trace >/dev/full"

# The newest trace is meant where none is named.
cp ledger.trace waitscope.old.1.trace
touch -d '2020-01-01' waitscope.old.1.trace
cp ledger.trace waitscope.new.2.trace
touch -d '2021-01-01' waitscope.new.2.trace
complains 0 'wrote waitscope.new.2.wait.svg' "$waitscope" export

# Exports: refuse to overwrite, keep what is there when they fail.
complains 1 'File exists' "$waitscope" export
expect 0 '' '*wrote*' "$waitscope" export --force
expect 0 '' '*wrote ledger.blame.folded*' "$waitscope" export -f folded --kind blame ledger.trace
expect 0 '* [0-9]*' '' "$waitscope" export -f folded -o - ledger.trace
for kind in cpu offcpu offwake; do
    complains 1 "recorded without the kernel's part" "$waitscope" export -o - --kind $kind "$seed"
done
echo precious >kept
complains 1 'kept: File exists' "$waitscope" export -o kept ledger.trace
complains 1 'not a waitscope trace' "$waitscope" export --force -o kept foreign
expect 1 '' '*' bash -c "ulimit -f 1; trap '' XFSZ; '$waitscope' export --force -o kept ledger.trace"
holds 'a file outlives an export that failed' test "$(cat kept)" = precious
holds 'nothing is left behind by it' test -z "$(ls kept.* 2>/dev/null)"
complains 1 'No space left' "$waitscope" export -o /dev/full ledger.trace
complains 1 'Is a directory' "$waitscope" export -o . ledger.trace
complains 1 'No such file' "$waitscope" export -o missing/file ledger.trace

# A cut trace still opens; a newer one is refused.
head -c $(($(stat -c %s ledger.trace) * 2 / 3)) ledger.trace >cut.trace
expect 0 '*ledger*' 'waitscope: cut.trace: *cut short*' "$waitscope" report cut.trace
holds 'what is cut is told in one line' test "$(wc -l <"$folder/.err")" -eq 1
{
    head -c 8 ledger.trace
    printf '\377\0\0\0'
    tail -c +13 ledger.trace
} >newer.trace
complains 1 'newer' "$waitscope" report newer.trace

# The doctor records for real.
expect 0 '*OK*recording*' '' "$waitscope" doctor
complains 2 'doctor takes no argument' "$waitscope" doctor frob

printf '%d checks, %d failed\n' $made $failed
[ $failed -eq 0 ]
