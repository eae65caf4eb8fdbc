// SPDX-License-Identifier: MIT
'use strict';
/* LD_PRELOAD alone records too, and the program cannot tell. */
const fs = require('fs');
const { checkTruth } = require('../lib/truth');

/* XDG_RUNTIME_DIR: a collector that the user may be running elsewhere is none of ours. */
const preloaded = (context, env = {}) => ({ env: { LD_PRELOAD: context.agent, XDG_RUNTIME_DIR: context.dir, WAITSCOPE_SOCKET: null, ...env } });
const tracesIn = (context, folder = '') =>
  fs.readdirSync(context.file(folder)).filter((name) => /^waitscope\..*\.trace$/.test(name)).sort();

/* The trace is finished a moment after the program's end, by somebody who is not its child. */
async function finished(context, named) {
  await context.until('a trace', () => named || tracesIn(context).length > 0);
  const name = named || tracesIn(context)[0];
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
  const bare = await context.run(program, [], preloaded(context, { LD_PRELOAD: null }));
  for (let i = 0; i < 5; i++) {
    const result = await context.run(program, [], preloaded(context));
    context.equal(result.stdout, bare.stdout, 'what the program sees of itself');
    context.equal(result.stderr, bare.stderr, 'stderr');
    context.equal(result.code, bare.code, 'exit code');
    await context.until('the trace of what was not seen', () => tracesIn(context).length === i + 1);
  }
  const recorded = await context.record(program, [], runtime(context));
  /* There it is a child of ours, and in our process group; and it is told how many filters its recorder lives
   * under, and that a sanitizer's runtime need not be the first library. */
  const ours = (text) => text.replace(/^group leader.*$/gm, '').replace(/^variable (WAITSCOPE_SECCOMP|ASAN_OPTIONS)=.*\n/gm, '');
  context.equal(ours(recorded.stdout), ours(bare.stdout), 'what the program sees of itself under record');
}

/* Pipes to and from it end when it ends: nobody else holds them open. */
async function pipes(context) {
  const begin = Date.now();
  const result = await context.run('sh', ['-c', `LD_PRELOAD=${context.agent} ${context.program('small_stack')} | cat | wc -l`],
    preloaded(context, { LD_PRELOAD: null }));
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

/* What it becomes by exec does too: the environment leads each image to the same collector. */
async function images(context) {
  const result = await context.run(context.program('exec_chain'), [], preloaded(context));
  context.equal(result.code, 0, `exit code (${result.stderr})`);
  await context.until('a trace', () => tracesIn(context).length > 0);
  const report = await finished(context, tracesIn(context)[0]);
  context.complaints.push(...checkTruth(report, JSON.parse(result.stdout), { split: true }));
  context.equal(tracesIn(context).length, 1, 'traces');
}

/* Folders whose names are too long to hold a socket: it is made elsewhere. */
async function longFolders(context) {
  const long = context.file('long-'.repeat(20));
  fs.mkdirSync(long);
  const result = await context.run(context.program('small_stack'), [], preloaded(context, { XDG_RUNTIME_DIR: long, TMPDIR: long }));
  context.equal(result.code, 0, 'exit code');
  await context.until('a trace', () => tracesIn(context).length === 1);
  context.complaints.push(...checkTruth(await finished(context), JSON.parse(result.stdout)));
}

async function readOnlyFolder(context) {
  fs.mkdirSync(context.file('locked'));
  fs.chmodSync(context.file('locked'), 0o555);
  fs.mkdirSync(context.file('open'));
  fs.chmodSync(context.file('open'), 0o1777);
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
    `LD_PRELOAD=${context.file('copy/lib/libwaitscope-agent.so')}`, context.file('copy/bin/small_stack')],
  preloaded(context, { LD_PRELOAD: null, XDG_RUNTIME_DIR: null, TMPDIR: context.file('open') }));
  context.equal(result.code, 0, `exit code where no trace can be written (${result.stderr})`);
  context.equal(result.stderr, '', 'the agent prints nothing');
  context.equal(fs.readdirSync(context.file('locked')).length, 0, 'files in a folder that is locked');
  /* Its trace lies where temporary files go. */
  await context.until('a trace in TMPDIR', () => tracesIn(context, 'open').length === 1);
}

/* WAITSCOPE_AGENT=off: as if it were not there. A collector of its own would have come up before that of a program
 * which begins after it. */
async function off(context) {
  const result = await context.run(context.program('quiet'), [], preloaded(context, { WAITSCOPE_AGENT: 'off' }));
  context.equal(result.code, 0, 'exit code');
  await context.run(context.program('small_stack'), [], preloaded(context));
  await context.until('a trace', () => tracesIn(context).some((name) => name.includes('.small_stack.')));
  await finished(context, tracesIn(context).find((name) => name.includes('.small_stack.')));
  context.equal(tracesIn(context).filter((name) => name.includes('.quiet.')).length, 0, 'traces of an agent that is off');
}

/* The collector of a target: a process with --pid of it among its arguments. */
function collectorOf(pid) {
  for (const entry of fs.readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name))) {
    try {
      const words = fs.readFileSync(`/proc/${entry}/cmdline`, 'utf8').split('\0');
      const at = words.indexOf('--pid');
      if (words[1] === 'collect' && at > 0 && words[at + 1] === String(pid)) return Number(entry);
    } catch (error) {
      continue; // it has ended
    }
  }
  return 0;
}

/* Fields of /proc/PID/stat behind the name. */
function statOf(pid) {
  const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ').map(Number);
  return { parent: fields[1], group: fields[2], session: fields[3], terminal: fields[4] };
}

/* What the collector has of its target: nothing but the directory. */
async function apart(context) {
  const child = context.begin('sleep', ['60'], preloaded(context));
  const collector = await context.until('a collector', () => collectorOf(child.pid));
  await context.until('the trace', () => tracesIn(context).length === 1);
  const target = statOf(child.pid);
  const found = statOf(collector);
  context.expect(found.parent !== child.pid, 'the collector is a child of the target');
  context.expect(found.group !== target.group && found.session !== target.session, 'the collector is in the session of the target');
  context.equal(found.terminal, 0, 'terminal of the collector');
  const mine = fs.readdirSync(`/proc/${collector}/fd`).map((fd) => fs.readlinkSync(`/proc/${collector}/fd/${fd}`));
  for (const fd of ['0', '1', '2']) {
    const name = fs.readlinkSync(`/proc/${child.pid}/fd/${fd}`);
    context.expect(!mine.includes(name), `the collector holds descriptor ${fd} of the target open: ${name}`);
  }
  context.equal(fs.readlinkSync(`/proc/${collector}/cwd`), fs.realpathSync(context.dir), 'directory of the collector');
  process.kill(-target.group, 'SIGHUP');
  const result = await child.done;
  context.equal(result.signal, 'SIGHUP', 'what ended the target');
  await finished(context, tracesIn(context)[0]);
  await context.until('the collector to be gone', () => !fs.existsSync(`/proc/${collector}`));
  context.equal(fs.readdirSync(context.dir).filter((name) => name.startsWith('waitscope-')).length, 0, 'sockets left behind');
}

/* Ctrl-C on a terminal ends the target and not its collector. */
async function terminal(context) {
  const script = context.begin(context.tool('script'), ['-qec', 'echo ready; exec sleep 60', '/dev/null'],
    { ...preloaded(context), stdin: true });
  await context.until('a trace', () => tracesIn(context).some((name) => name.includes('.sleep.') || name.includes('.script.')));
  await context.until('ready', () => /ready/.test(script.text('stdout')));
  /* The terminal's line discipline is what turns this byte into a signal. */
  await context.until('sleep to run', () => fs.readdirSync('/proc').some((name) => {
    try {
      return /^\d+$/.test(name) && /^sleep\0/.test(fs.readFileSync(`/proc/${name}/cmdline`, 'latin1')) &&
        fs.readlinkSync(`/proc/${name}/cwd`) === fs.realpathSync(context.dir);
    } catch (error) {
      return false;
    }
  }));
  script.stdin.write('\x03');
  const result = await script.done;
  context.expect(!result.timedOut && (result.code === 130 || result.signal === 'SIGINT'), `script ended with ${result.code} ${result.signal}`);
  const report = await finished(context, tracesIn(context)[0]);
  context.expect(report.processes.some((row) => /^sleep 60/.test(row.command)), `no sleep among ${JSON.stringify(report.processes.map((row) => row.command))}`);
}

async function subreaper(context) {
  const program = context.program('subreaper');
  const bare = await context.run(program, ['']);
  context.equal(bare.stdout, 'subreaper 1\nat the start 0\nof its own 2\n', 'a bare subreaper');
  const result = await context.run(program, [context.agent], { ...preloaded(context, { LD_PRELOAD: null }), timeout: 20000 });
  context.expect(!result.timedOut, 'the target waits for its collector');
  context.equal(result.stdout, bare.stdout, 'what a subreaper gets');
  await finished(context, tracesIn(context)[0]);
}

/* Who follows the target's forks does not come upon the collector. */
async function traced(context) {
  const [tracer, program] = [context.program('tracer'), context.program('quiet')];
  const run = (agent) => context.run(tracer, [agent, program], preloaded(context, { LD_PRELOAD: null }));
  const [bare, result] = [await run('-'), await run(context.agent)];
  /* Two children and two threads. */
  context.expect(/^started 4 execs 1 ended 5$/m.test(bare.stdout), `bare: ${bare.stdout.split('\n').slice(-2)}`);
  context.equal(result.stdout, bare.stdout, 'what a tracer sees');
  await finished(context, tracesIn(context)[0]);
}

/* As the first process of a pid namespace the target is who gets all orphans. Whoever lists its children
 * sees one, but no wait() returns it. */
async function firstProcess(context) {
  const before = [...(process.getuid() === 0 ? [] : ['-r']), '-p', '-f', '--kill-child', '--mount-proc', 'env'];
  const begin = (...words) => context.begin(context.tool('unshare'), [...before, ...words], preloaded(context, { LD_PRELOAD: null }));
  const preload = `LD_PRELOAD=${context.agent}`;
  const bare = await begin(context.program('quiet')).done;
  const result = await begin(preload, context.program('quiet')).done;
  const unlisted = (text) => text.replace(/^children listed.*$/gm, '');
  context.equal(result.code, bare.code, `exit code (${result.stderr})`);
  context.equal(unlisted(result.stdout), unlisted(bare.stdout), 'what pid 1 sees of itself');

  const sleeper = begin(preload, 'sleep', '60');
  const name = await context.until('its trace', () => tracesIn(context).find((trace) => /[.]sleep[.]/.test(trace)));
  await context.until('the sleeper in it', async () => {
    const said = await context.waitscope(['report', '--json', name]);
    return said.code === 0 && JSON.parse(said.stdout).processes.some((row) => row.pid === 1);
  });
  process.kill(-sleeper.pid, 'SIGKILL');
  await sleeper.done;
  const report = await context.report(context.file(name), { incomplete: true, lossless: false });
  context.expect(report.processes[0].command.startsWith('sleep 60'), `the trace is of ${report.processes[0].command}`);
}

/* Its collector outlives it by a moment, whatever ends it. */
async function killed(context) {
  const result = await context.run(context.program('endings'), ['kill'], preloaded(context));
  context.equal(result.signal, 'SIGKILL', 'what ended it');
  const report = await finished(context, tracesIn(context)[0]);
  context.complaints.push(...checkTruth(report, JSON.parse(result.stdout)));
}

/* Standard descriptors that are closed stay so, and a umask that forbids everything is no obstacle. */
async function closedAndMasked(context) {
  for (const before of ['exec "$0" <&-', 'umask 777; exec "$0"', 'ulimit -c 0; exec nice "$0"']) {
    const bare = await context.run('sh', ['-c', before, context.program('quiet')], preloaded(context, { LD_PRELOAD: null }));
    const result = await context.run('sh', ['-c', `export LD_PRELOAD=${context.agent}; ${before}`, context.program('quiet')], preloaded(context, { LD_PRELOAD: null }));
    context.equal(result.stdout, bare.stdout, `what the program sees after ${before}`);
    context.equal(result.code, bare.code, `exit code after ${before}`);
  }
  await context.until('three traces', () => tracesIn(context).length === 3);
  for (const name of tracesIn(context)) await finished(context, name);
}

/* An annotated program is the same without an agent, and with one that is off. */
async function inert(context) {
  const same = (text) => JSON.stringify(JSON.parse(text), (key, value) => (/_ns$/.test(key) ? undefined : value));
  const normal = await context.run(context.program('annotated'), []);
  for (const [name, env] of [['annotated', { LD_PRELOAD: context.agent, WAITSCOPE_AGENT: 'off' }], ['annotated_fixed', {}], ['annotated_static', {}]]) {
    const result = await context.run(context.program(name), [], { env });
    context.equal(result.code, 0, `exit code of ${name}`);
    context.equal(same(result.stdout), same(normal.stdout), `what ${name} prints`);
  }
  context.equal(tracesIn(context).length, 0, 'traces');
}

/* --- waitscope collect ----------------------------------------------------------------------------- */

const runtime = (context) => ({ env: { XDG_RUNTIME_DIR: context.dir, LD_PRELOAD: null, WAITSCOPE_SOCKET: null } });

async function collectBegin(context, options = {}) {
  const collector = context.begin(context.bin, ['collect', '-o', 'all.trace'], { ...runtime(context), ...options });
  await context.until('the collector to listen', () => /WAITSCOPE_SOCKET=/.test(collector.text('stderr')));
  return collector;
}

async function collectEnd(context, collector, signal) {
  process.kill(collector.pid, signal);
  const result = context.finish(await collector.done, context.file('all.trace'), collector.text('stderr').split('\n')[0] + '\n');
  context.equal(result.code, 0, 'exit code of collect');
  return result;
}

async function collect(context) {
  const collector = await collectBegin(context);
  const socket = context.file('waitscope/socket');
  context.expect(collector.text('stderr').includes(`WAITSCOPE_SOCKET=${socket}\n`), `it listens at ${collector.text('stderr')}`);
  context.equal((fs.statSync(socket).mode & 0o777).toString(8), '600', 'mode of the socket');
  context.equal((fs.statSync(context.file('waitscope')).mode & 0o777).toString(8), '700', 'mode of its directory');
  context.refused(await context.waitscope(['collect'], runtime(context)), 1, /running already/, 'a second collector');

  /* One by its place, one by name, with children, both at once. */
  const byName = preloaded(context, { XDG_RUNTIME_DIR: null, WAITSCOPE_SOCKET: socket });
  const results = await Promise.all([context.run(context.program('idle_pool'), [], preloaded(context)),
    context.run(context.program('annotated'), [], byName), context.run(context.program('spawn'), [], byName)]);
  for (const result of results) context.equal(result.code, 0, `exit code (${result.stderr})`);
  context.equal(tracesIn(context).length, 0, 'traces of their own');
  const own = await context.run(context.program('small_stack'), [], preloaded(context, { WAITSCOPE_SOCKET: '' }));
  context.equal(own.code, 0, 'exit code');
  await context.until('a trace of its own', () => tracesIn(context).length === 1);

  const result = await collectEnd(context, collector, 'SIGTERM');
  context.expect(result.said.some((line) => /^trace: .*all\.trace/.test(line)), `the summary: ${result.said.join(' | ')}`);
  context.expect(!fs.existsSync(socket), 'the socket is left behind');
  const report = await context.report(context.file('all.trace'));
  const truths = results.map((done) => JSON.parse(done.stdout));
  for (const truth of truths) context.complaints.push(...checkTruth({ ...report, processes: [] }, { ...truth, processes: undefined }, { anyThreads: true }));
  context.equal(report.regions.find((region) => region.name === 'transfer').count, truths[1].transfers, 'transfers');
  await finished(context, tracesIn(context)[0]);
}

/* What a killed one leaves is no obstacle, and without programs there is no trace. */
async function collectAgain(context) {
  const first = await collectBegin(context);
  process.kill(first.pid, 'SIGKILL');
  await first.done;
  context.expect(fs.existsSync(context.file('waitscope/socket')), 'a killed collector removed its socket');
  const alone = await context.run(context.program('small_stack'), [], preloaded(context));
  context.equal(alone.code, 0, 'exit code beside a stale socket');
  await context.until('a trace of its own', () => tracesIn(context).length === 1);
  fs.rmSync(context.file('all.trace'));
  const result = await collectEnd(context, await collectBegin(context), 'SIGINT');
  context.equal(result.said.join(), 'waitscope: no program reported', 'what it says');
  context.expect(!fs.existsSync(context.file('all.trace')), 'a trace of nothing');
}

module.exports = [
  { name: 'preload', run: direct, serial: true },
  { name: 'preload_unseen', run: unseen },
  { name: 'preload_pipes', run: pipes },
  { name: 'preload_together', run: together, serial: true },
  { name: 'preload_children', run: children },
  { name: 'preload_exec', run: images },
  { name: 'preload_long_folders', run: longFolders },
  { name: 'preload_read_only', run: readOnlyFolder },
  { name: 'preload_off', run: off },
  { name: 'preload_apart', run: apart },
  { name: 'preload_terminal', run: terminal },
  { name: 'preload_subreaper', run: subreaper },
  { name: 'preload_traced', run: traced },
  { name: 'preload_first_process', run: firstProcess },
  { name: 'preload_killed', run: killed, serial: true },
  { name: 'preload_closed_and_masked', run: closedAndMasked },
  { name: 'annotations_inert', run: inert },
  { name: 'collect', run: collect, serial: true, timeout: 120 },
  { name: 'collect_again', run: collectAgain },
];
