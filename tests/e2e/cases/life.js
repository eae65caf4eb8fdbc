// SPDX-License-Identifier: MIT
'use strict';
/* How a recording begins, goes on and ends: signals, durations, shells, children, limits. */
const fs = require('fs');
const os = require('os');
const { checkTruth, matching } = require('../lib/truth');

const LOOP = 'trap "echo got INT; exit 9" INT; trap "echo got TERM; exit 8" TERM; echo ready; while :; do sleep 0.05; done';

async function signalled(context, signal, toGroup, word, code) {
  const trace = context.file('out.trace');
  const child = context.begin(context.bin, ['record', '-o', trace, '--', 'sh', '-c', LOOP]);
  await context.until('the target to be ready', () => child.text('stdout').includes('ready'));
  process.kill(toGroup ? -child.pid : child.pid, signal);
  const result = context.finish(await child.done, trace);
  context.equal(result.code, code, 'exit code');
  context.equal(result.stdout, `ready\n${word}\n`, 'stdout: the signal reaches the target once');
  const report = await context.report(trace);
  context.equal(report.target.exit_code, code, 'target.exit_code');
}

/* Ctrl-C as a terminal sends it. */
async function terminal(context) {
  const trace = context.file('out.trace');
  context.write('target', `#!/bin/sh\n${LOOP}\n`, 0o755);
  const child = context.begin(context.tool('script'), ['-qec', `exec ${context.bin} record -o ${trace} -- ./target`, '/dev/null'],
    { stdin: true });
  await context.until('the target to be ready', () => child.text('stdout').includes('ready'));
  child.stdin.write('\x03');
  const result = await child.done;
  context.equal(result.code, 9, 'exit code');
  context.equal(result.stdout.split('got INT').length, 2, `times that the target was interrupted: ${result.stdout}`);
  await context.report(trace);
}

/* The report of a program that says "stuck" when it is, interrupted once the trace's locks are as condition asks.
 * stuckNs: for how long it has been so at least. */
async function stuck(context, program, args, condition) {
  const trace = context.file('out.trace');
  const child = context.begin(context.bin, ['record', '-o', trace, '--', context.program(program), ...args]);
  await context.until('the program to be stuck', () => child.text('stdout').includes('stuck'));
  const begin = process.hrtime.bigint();
  await context.until('the trace to say so', async () => {
    const said = await context.waitscope(['report', '--json', trace]);
    return said.code === 0 && condition(JSON.parse(said.stdout).locks);
  });
  const stuckNs = Number(process.hrtime.bigint() - begin);
  process.kill(-child.pid, 'SIGINT');
  const result = context.finish(await child.done, trace);
  context.equal(result.signal, 'SIGINT', 'signal');
  return { report: await context.report(trace), trace, stuckNs };
}

/* Stuck for a mutex that a process keeps which is not the waiter's. */
async function sharedHang(context) {
  const { report, stuckNs } = await stuck(context, 'shared', ['hang'],
    (locks) => locks.some((lock) => lock.open_waits > 0 && lock.holders.some((row) => /^\[still held/.test(row.stack[0]))));
  const locks = report.locks.filter((lock) => lock.open_waits > 0);
  context.equal(locks.length, 1, 'locks that are waited for');
  context.equal(locks[0].holders.map((row) => row.stack[0]).join(), '[still held by keeper]', 'who has it');
  context.expect(locks[0].wait_ns.total >= stuckNs, `waited ${locks[0].wait_ns.total} ns in ${stuckNs} ns`);
}

async function deadlock(context) {
  const { report, trace, stuckNs } = await stuck(context, 'deadlock', [],
    (locks) => locks.filter((lock) => lock.open_waits > 0).length === 3); /* both, and main joins */
  for (const name of ['left_lock', 'right_lock']) {
    const lock = report.locks.find((row) => row.name === name);
    if (!context.expect(lock, `${name} is not in the report`)) continue;
    context.equal(lock.open_waits, 1, `${name}: waits without end`);
    context.expect(lock.wait_ns.total >= stuckNs, `${name}: waited ${lock.wait_ns.total} ns in ${stuckNs} ns of deadlock`);
  }
  const text = await context.waitscope(['report', trace]);
  for (const name of ['left_lock', 'right_lock']) context.expect(text.stdout.includes(name), `report does not name ${name}`);
}

/* Ends of the target that are passed on. */
async function passThrough(context) {
  for (const code of [0, 1, 77, 125, 126, 127, 255]) {
    const result = await context.record('sh', ['-c', `echo out; echo err >&2; exit ${code}`], { trace: context.file(`${code}.trace`), stderr: 'err\n' });
    context.equal(result.code, code, 'exit code');
    context.equal(result.stdout, 'out\n', 'stdout');
  }
  for (const signal of ['SIGSEGV', 'SIGABRT', 'SIGKILL', 'SIGTERM', 'SIGPIPE', 'SIGUSR1']) {
    const result = await context.record('sh', ['-c', `kill -${signal.slice(3)} $$`], { trace: context.file(`${signal}.trace`) });
    context.equal(result.signal, signal, 'signal');
    const report = await context.report(result.trace);
    context.equal(report.target.signal, os.constants.signals[signal], 'target.signal');
    context.equal(report.target.signal_name, signal, 'target.signal_name');
  }
}

async function stdio(context) {
  const text = 'line one\nline two\n'.repeat(5000);
  const result = await context.record('cat', [], { input: text });
  context.equal(result.stdout === text, true, 'stdin goes through');
  context.equal(result.code, 0, 'exit code');
}

async function duration(context) {
  const begin = Date.now();
  const result = await context.record(context.program('idle_pool'), [], { arguments: ['-d', '0.2'] });
  context.equal(result.code, 0, 'exit code');
  const truth = JSON.parse(result.stdout);
  const report = await context.report(result.trace);
  context.expect(report.duration_ns > 0.15e9 && report.duration_ns < 0.4e9, `recorded ${report.duration_ns} ns of 0.2 s`);
  const lock = matching(report, truth.locks[0])[0];
  context.expect(lock && lock.waits > 0 && lock.waits < truth.locks[0].waits, 'it did not stop in the middle');
  context.expect(Date.now() - begin > 400, 'the target was not let go on');
  for (const thread of report.threads)
    context.expect(thread.end_ns <= report.trace.end_ns, 'a thread ends after the recording');
}

async function defaultFile(context) {
  const program = context.program('small_stack');
  const first = await context.waitscope(['record', '--', program]);
  const second = await context.waitscope(['record', '--', program]);
  context.equal(first.code, 0, 'exit code');
  context.equal(second.code, 0, 'exit code');
  const found = fs.readdirSync(context.dir).filter((name) => /^waitscope\.small_stack\.\d+\.trace$/.test(name));
  context.equal(found.length, 2, `traces by default (${fs.readdirSync(context.dir)})`);
  for (const name of found) {
    context.equal(fs.statSync(context.file(name)).mode & 0o777, 0o600, 'mode of the trace');
    await context.report(context.file(name));
  }
  /* The newest one is the default. */
  const report = await context.waitscope(['report', '--json']);
  context.equal(report.code, 0, 'report without a file');
  const newest = Math.max(...found.map((name) => fs.statSync(context.file(name)).mtimeMs));
  const wanted = found.find((name) => fs.statSync(context.file(name)).mtimeMs === newest);
  context.expect(wanted.includes(`.${JSON.parse(report.stdout).target.pid}.`), 'report without a file takes another than the newest');
}

async function shell(context) {
  const small = context.program('small_stack');
  const script = `${small} | cat > one.json & ${small} > two.json; wait; (exec ${small} > three.json); true | false | ${small} > four.json`;
  const result = await context.record('bash', ['-c', script]);
  context.equal(result.code, 0, 'exit code');
  context.equal(result.stdout, '', 'stdout');
  const report = await context.report(result.trace);
  const ran = report.processes.filter((process) => process.exe.endsWith('/small_stack'));
  context.equal(ran.length, 4, 'processes that ran small_stack');
  const check = (name, index) => {
    const truth = JSON.parse(fs.readFileSync(context.file(`${name}.json`), 'utf8'));
    const part = { ...report, locks: report.locks.filter((lock) => lock.pid === ran[index].pid) };
    return checkTruth(part, { ...truth, threads: report.threads.length });
  };
  /* The first two run side by side: either may have started first. */
  const orders = [[0, 1], [1, 0]].map(([one, two]) => [...check('one', one), ...check('two', two)]);
  context.complaints.push(...orders.sort((left, right) => left.length - right.length)[0]);
  context.complaints.push(...check('three', 2), ...check('four', 3));
}

async function noFollow(context) {
  const result = await context.record('sh', ['-c', `${context.program('small_stack')}; true`], { arguments: ['--no-follow'] });
  context.equal(result.code, 0, 'exit code');
  const report = await context.report(result.trace);
  context.equal(report.processes.length, 1, 'processes');
}

async function together(context) {
  const recordings = ['one', 'two', 'three'].map((name) =>
    context.record(context.program('idle_pool'), [], { trace: context.file(`${name}.trace`) }));
  for (const result of await Promise.all(recordings)) {
    context.equal(result.code, 0, 'exit code');
    const report = await context.report(result.trace);
    context.complaints.push(...checkTruth(report, JSON.parse(result.stdout)));
    context.equal(report.processes.length, 1, 'processes');
  }
}

/* Recorded inside a recording: each has its own. */
async function nested(context) {
  const inner = context.file('inner.trace');
  const result = await context.waitscope(['record', '-o', context.file('out.trace'), '--', context.bin, 'record', '-o', inner, '--', context.program('small_stack')]);
  context.equal(result.code, 0, 'exit code');
  await context.report(context.file('out.trace'));
  const report = await context.report(inner);
  context.complaints.push(...checkTruth(report, JSON.parse(result.stdout)));
}

/* works: the limit leaves room for an agent. Shared memory counts as a file, and as address space. */
const LIMITS = [
  { name: 'descriptors', limit: 'ulimit -n 16', works: true },
  { name: 'no core', limit: 'ulimit -c 0', works: true },
  { name: 'file size', limit: 'ulimit -f 1' },
  { name: 'no files', limit: 'ulimit -f 0' },
  { name: 'address space', limit: 'ulimit -v 40000' },
  { name: 'much address space', limit: 'ulimit -v 400000', works: true },
];

/* An address space that is just enough for the target, with the stacks of its threads, and for an agent that takes
 * next to nothing of it: what the agent leaves is enough. */
const AGENT_SPACE_KIB = 3072;
async function tightSpace(context) {
  const program = context.program('contended_counts');
  const bareRuns = async (kib) => (await context.run('sh', ['-c', `ulimit -v ${kib}; exec ${program}`])).code === 0;
  let [fails, works] = [1024, 524288];
  context.expect(await bareRuns(works), `the bare program does not run in ${works} KiB`);
  while (works - fails > 256) {
    const middle = (fails + works) >> 1;
    if (await bareRuns(middle)) works = middle;
    else fails = middle;
  }
  const script = `ulimit -v ${works + AGENT_SPACE_KIB}; exec ${program}`;
  const recorded = await context.record('sh', ['-c', script], { trace: context.file('tight.trace') });
  context.equal(recorded.code, 0, `exit code in ${works} + ${AGENT_SPACE_KIB} KiB (${recorded.stderr})`);
}

/* Limits in the target's own shell do not hurt it: bare and recorded do the same. */
async function limits(context) {
  for (const { name, limit, works } of LIMITS) {
    const script = `${limit}; exec ${context.program('small_stack')}`;
    const bare = await context.run('sh', ['-c', script]);
    const recorded = await context.record('sh', ['-c', script], { trace: context.file(`${name}.trace`), stderr: bare.stderr });
    context.equal(bare.code, 0, `${name}: exit code without us`);
    if (!context.equal(recorded.code, 0, `${name}: exit code (${recorded.stderr})`)) continue;
    const report = await context.report(recorded.trace);
    if (works) context.complaints.push(...checkTruth(report, JSON.parse(recorded.stdout), { anyThreads: true }).map((why) => `${name}: ${why}`));
  }
}

module.exports = [
  { name: 'sigint_group', run: (context) => signalled(context, 'SIGINT', true, 'got INT', 9) },
  { name: 'sigint_terminal', run: terminal },
  { name: 'sigterm', run: (context) => signalled(context, 'SIGTERM', false, 'got TERM', 8) },
  { name: 'deadlock', run: deadlock },
  { name: 'shared_hang', run: sharedHang },
  { name: 'pass_through', run: passThrough, timeout: 120 },
  { name: 'stdio', run: stdio },
  { name: 'duration', run: duration, serial: true },
  { name: 'default_file', run: defaultFile },
  { name: 'shell', run: shell, serial: true },
  { name: 'no_follow', run: noFollow },
  { name: 'together', run: together, serial: true },
  { name: 'nested', run: nested, serial: true },
  { name: 'limits', run: limits, serial: true },
  { name: 'limits_tight', run: tightSpace },
];
