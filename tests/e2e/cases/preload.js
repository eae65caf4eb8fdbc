// SPDX-License-Identifier: MIT
'use strict';
/* LD_PRELOAD alone records too, and the program cannot tell. */
const fs = require('fs');
const { checkTruth } = require('../lib/truth');

const preloaded = (context) => ({ env: { LD_PRELOAD: context.agent } });
const tracesIn = (context, folder = '') =>
  fs.readdirSync(context.file(folder)).filter((name) => /^waitscope\..*\.trace$/.test(name)).sort();

/* The trace is finished a moment after the program's end, by somebody who is not its child. */
async function finished(context, name) {
  await context.until(`${name} to be complete`, async () => {
    const result = await context.waitscope(['report', '--json', name]);
    return result.code === 0 && JSON.parse(result.stdout).trace.state === 'complete';
  });
  return context.report(context.file(name));
}

async function direct(context) {
  const program = context.program('idle_pool');
  const bare = await context.run(program, []);
  const result = await context.run(program, [], preloaded(context));
  context.equal(result.code, bare.code, 'exit code');
  context.equal(result.stderr, '', 'the agent prints nothing');
  await context.until('a trace', () => tracesIn(context).length === 1);
  const [name] = tracesIn(context);
  context.expect(/^waitscope\.idle_pool\.\d+\.trace$/.test(name), `the trace is called ${name}`);
  const report = await finished(context, name);
  context.complaints.push(...checkTruth(report, JSON.parse(result.stdout)));
  context.expect(name.includes(`.${report.target.pid}.`), 'the pid in the name is not the target\'s');
}

/* What the program sees of itself: no child, no descriptor, no signal, no thread more. */
async function unseen(context) {
  const program = context.program('quiet');
  const bare = await context.run(program, []);
  for (let i = 0; i < 5; i++) {
    const result = await context.run(program, [], preloaded(context));
    context.equal(result.stdout, bare.stdout, 'what the program sees of itself');
    context.equal(result.stderr, bare.stderr, 'stderr');
    context.equal(result.code, bare.code, 'exit code');
  }
  const recorded = await context.record(program, []);
  /* There it is a child of ours, and in our process group. */
  const ours = (text) => text.replace(/^group leader.*$/gm, '');
  context.equal(ours(recorded.stdout), ours(bare.stdout), 'what the program sees of itself under record');
}

/* Pipes to and from it end when it ends: nobody else holds them open. */
async function pipes(context) {
  const begin = Date.now();
  const result = await context.run('sh', ['-c', `LD_PRELOAD=${context.agent} ${context.program('small_stack')} | cat | wc -l`]);
  context.equal(result.stdout.trim(), '1', 'lines through the pipe');
  context.expect(Date.now() - begin < 5000, 'the pipe was held open');
}

async function together(context) {
  const results = await Promise.all([1, 2, 3].map(() => context.run(context.program('idle_pool'), [], preloaded(context))));
  for (const result of results) context.equal(result.code, 0, 'exit code');
  await context.until('three traces', () => tracesIn(context).length === 3);
  const truths = results.map((result) => JSON.parse(result.stdout));
  for (const [index, name] of tracesIn(context).entries()) {
    const report = await finished(context, name);
    context.equal(report.processes.length, 1, 'processes');
    const lock = report.locks.find((row) => row.name === 'ledger_lock');
    context.equal(lock && lock.acquisitions, truths[index].locks[0].acquisitions, 'acquisitions of ledger_lock');
  }
}

/* Its children belong to the same recording. */
async function children(context) {
  const result = await context.run(context.program('forks'), [], preloaded(context));
  context.equal(result.code, 0, `exit code (${result.stderr})`);
  await context.until('a trace', () => tracesIn(context).length > 0);
  const [name] = tracesIn(context);
  const report = await finished(context, name);
  context.complaints.push(...checkTruth(report, JSON.parse(result.stdout), { anyThreads: true }));
  context.equal(tracesIn(context).length, 1, 'traces');
}

async function readOnlyFolder(context) {
  fs.mkdirSync(context.file('locked'));
  fs.chmodSync(context.file('locked'), 0o555);
  const user = process.getuid() === 0 ? [context.tool('setpriv'), ['--reuid', '65534', '--clear-groups']] : ['env', []];
  fs.chmodSync(context.dir, 0o755);
  /* Copies, for a user who may not go into the build folder. */
  for (const file of [context.agent, context.bin, context.program('small_stack')]) {
    fs.mkdirSync(context.file('copy/bin'), { recursive: true });
    fs.mkdirSync(context.file('copy/lib'), { recursive: true });
    const to = context.file(`copy/${file.endsWith('.so') ? 'lib' : 'bin'}/${file.split('/').pop()}`);
    fs.copyFileSync(file, to);
    fs.chmodSync(to, 0o755);
  }
  const result = await context.run('sh', ['-c', 'cd locked && exec "$@"', 'sh', user[0], ...user[1], 'env',
    `LD_PRELOAD=${context.file('copy/lib/libwaitscope-agent.so')}`, context.file('copy/bin/small_stack')]);
  context.equal(result.code, 0, `exit code where no trace can be written (${result.stderr})`);
  context.equal(result.stderr, '', 'the agent prints nothing');
  context.equal(fs.readdirSync(context.file('locked')).length, 0, 'files in a folder that is locked');
}

/* WAITSCOPE_AGENT=off: as if it were not there. */
async function off(context) {
  const result = await context.run(context.program('quiet'), [], { env: { LD_PRELOAD: context.agent, WAITSCOPE_AGENT: 'off' } });
  context.equal(result.code, 0, 'exit code');
  await new Promise((resolve) => setTimeout(resolve, 500));
  context.equal(tracesIn(context).length, 0, 'traces of an agent that is off');
}

module.exports = [
  { name: 'preload', run: direct, serial: true },
  { name: 'preload_unseen', run: unseen },
  { name: 'preload_pipes', run: pipes },
  { name: 'preload_together', run: together, serial: true },
  { name: 'preload_children', run: children },
  { name: 'preload_read_only', run: readOnlyFolder },
  { name: 'preload_off', run: off },
];
