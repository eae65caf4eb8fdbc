// SPDX-License-Identifier: MIT
'use strict';
/* What goes wrong when pthreads are interposed: programs that do the unusual, bare and recorded. */
const fs = require('fs');
const path = require('path');
const { checkTruth, frameIs, sum } = require('../lib/truth');
const { truthCase } = require('../lib/truth_case');

/* --- programs that know their own truth ------------------------------------------------------------- */

const namesOf = (report, name) => report.locks.filter((lock) => lock.name.replace(/ \(.*\)$/, '') === name);

/* Everything that the parent took is the parent's, and nothing else is. */
function parentsOwn(context, report) {
  const own = namesOf(report, 'mixed_lock').filter((lock) => lock.pid === report.target.pid);
  context.equal(sum(own, (lock) => lock.acquisitions), 2100, 'acquisitions of mixed_lock in the parent');
  const others = namesOf(report, 'mixed_lock').filter((lock) => lock.pid !== report.target.pid);
  context.equal(String(others.map((lock) => lock.acquisitions)), '300,300,300,300,300,300', 'acquisitions in each child');
}

function noSlots(wanted) {
  return (context, report) => context.equal(report.loss.dropped.no_slot, wanted, 'threads and children without a slot');
}

/* A wait that is cancelled has an end, and is one. */
function cancelledWaits(context, report, truth) {
  for (const name of ['never', 'empty', 'never_comes', 'empty_slots'].filter((name) => name in truth))
    context.equal(sum(namesOf(report, name), (lock) => lock.waits), truth[name], `waits for ${name}`);
  for (const lock of report.locks) context.equal(lock.open_waits, 0, `${lock.name}: waits without end`);
}

/* Old conditions are libc's own business; the new ones are seen. */
function onlyNew(context, report) {
  const names = report.locks.filter((lock) => lock.kind === 'condition').map((lock) => lock.name.replace(/ \(.*\)$/, ''));
  context.equal(String(names), 'new_condition', 'conditions');
}

/* A mutex that both processes have is one lock, and who waits in one waits for the other. */
function sharedMutexes(context, report, truth) {
  const mutexes = report.locks.filter((lock) => lock.kind === 'mutex');
  context.equal(mutexes.map((lock) => lock.name.replace(/ \(.*\)$/, '')).join(), Array(3).fill('mutex from shared_open').join(), 'mutexes');
  context.equal(sum(mutexes, (lock) => lock.acquisitions), truth.taken[0].mutex + truth.taken[1].mutex, 'acquisitions of shared mutexes, both');
  const holders = mutexes.flatMap((lock) => lock.holders.map((row) => ({ ...row, lock })));
  for (const name of ['parent_hold', 'child_hold']) {
    const rows = holders.filter((row) => row.stack.some((frame) => frameIs(frame, name)));
    context.equal(sum(rows, (row) => row.count), truth.planned, `waits of the other process while ${name} had it`);
    context.expect(rows.length > 0 && rows.every((row) => row.lock === rows[0].lock), `${name} holds other locks than one`);
    context.expect(sum(rows, (row) => row.blame_ns) > truth.planned * 2e6, `${name} slept 2 ms with it each time, and is charged ${sum(rows, (row) => row.blame_ns)} ns`);
  }
}

function sharedCounts(context, report, truth) {
  sharedMutexes(context, report, truth);
  for (const [index, taken] of truth.taken.entries()) {
    const mine = report.locks.filter((lock) => (lock.pid === report.target.pid) === (index === 0));
    for (const kind of Object.keys(taken).filter((name) => name !== 'mutex')) {
      const found = sum(mine.filter((lock) => lock.kind === kind), (lock) => lock.acquisitions);
      context.equal(found, taken[kind], `acquisitions of a shared ${kind}, ${index ? 'child' : 'parent'}`);
    }
  }
  for (const lock of report.locks)
    for (const holder of lock.holders)
      context.expect(holder.blame_ns >= 0, `a holder of ${lock.name} made others wait ${holder.blame_ns} ns`);
}

const confined = (how, row) => truthCase({ name: `confined_${how}`, program: 'confined', args: [how], serial: true, ...row });

/* Threads for which no slot can be made are not recorded, and that is counted: of 200 and main. */
const manyThreads = (how, slots) => ({
  name: `confined_${how}`,
  serial: true,
  async run(context) {
    const program = context.program('confined');
    const bare = await context.run(program, [how]);
    const recorded = await context.record(program, [how]);
    context.equal(bare.code, 0, 'exit code of the bare program');
    context.same(bare, recorded);
    const report = await context.report(recorded.trace, { except: ['no_slot'] });
    /* A thread that ended while others were being made may have left its slot to one of them. */
    const recordedThreads = report.threads.length;
    context.expect(recordedThreads >= slots && recordedThreads < slots + 32, `${recordedThreads} threads recorded, ${slots} slots`);
    context.equal(report.loss.dropped.no_slot, 201 - recordedThreads, 'threads without a slot');
  },
});

/* A confined process runs another image: there the agent does nothing, for it cannot know what it may. */
async function confinedExec(context) {
  const program = context.program('confined');
  const bare = await context.run(program, ['exec']);
  const recorded = await context.record(program, ['exec']);
  context.equal(bare.code, 0, 'exit code of the bare program');
  context.same(bare, recorded);
}

/* --- verdicts ---------------------------------------------------------------------------------------- */

/* Every line that it prints, line by line. */
async function verdicts(context) {
  const program = context.program('verdicts');
  const bare = await context.run(program, []);
  const recorded = await context.record(program, []);
  const lines = bare.stdout.split('\n');
  context.expect(lines.length > 2000, `only ${lines.length} verdicts`);
  recorded.stdout.split('\n').forEach((line, index) => {
    if (line !== lines[index] && context.complaints.length < 20) context.complaints.push(`verdict ${index + 1}: ${line}, bare ${lines[index]}`);
  });
  context.same(bare, recorded);
  await context.report(recorded.trace);
}

/* --- other libraries in the process -------------------------------------------------------------------- */

function library(name) {
  for (const folder of fs.readdirSync('/usr/lib').map((entry) => path.join('/usr/lib', entry))) {
    let found = [];
    try {
      found = fs.readdirSync(folder).filter((file) => file.startsWith(`${name}.so.`)).sort();
    } catch (error) {
      continue;
    }
    if (found.length > 0) return path.join(folder, found[0]);
  }
  throw new Error(`this machine has no ${name}: install it (scripts/install-packages)`);
}

/* The report of the trace that appears in a folder, once it is complete: somebody else writes it. */
async function reportIn(context, folder) {
  let report = null;
  await context.until(`a complete trace in ${folder}`, async () => {
    const [found] = fs.readdirSync(context.file(folder)).filter((entry) => entry.endsWith('.trace'));
    const result = found && await context.waitscope(['report', '--json', context.file(`${folder}/${found}`)]);
    report = result && result.code === 0 ? JSON.parse(result.stdout) : null;
    return report && report.trace.state === 'complete';
  });
  return report;
}

/* Another preloaded library's hooks see all that the program does, and so do ours. */
async function otherHooks(context) {
  const program = context.program('counts');
  const env = { LD_PRELOAD: path.join(path.dirname(program), 'libother-hooks.so') };
  const bare = await context.run(program, [], { env });
  context.expect(/^other hooks: 80\d{5} taken, 80\d{5} given\n$/.test(bare.stderr), `bare, the other library says ${bare.stderr}`);
  const recorded = await context.record(program, [], { env, stderr: bare.stderr });
  context.same(bare, recorded);
  const report = await context.report(recorded.trace);
  const counted = report.locks.filter((lock) => /^own\[\d\]\.lock$/.test(lock.name)).reduce((sum, lock) => sum + lock.acquisitions, 0);
  context.expect(counted === 8000000, `the report has ${counted} of 8000000 acquisitions`);
}

/* Preloaded before the agent, after it, and linked. */
async function allocator(context, name) {
  const file = library(`lib${name}`);
  const ways = [
    { what: 'recorded, preloaded', program: 'allocating', env: { LD_PRELOAD: file }, record: true },
    { what: 'recorded, linked', program: `allocating_${name}`, env: {}, record: true },
    { what: 'before the agent', program: 'allocating', env: { LD_PRELOAD: `${file}:${context.agent}` } },
    { what: 'after the agent', program: 'allocating', env: { LD_PRELOAD: `${context.agent}:${file}` } },
  ];
  for (const [index, way] of ways.entries()) {
    const program = context.program(way.program);
    const trace = context.file(`${index}.trace`);
    const bare = await context.run(program, [], { env: { LD_PRELOAD: file } });
    if (way.record) {
      const result = await context.record(program, [], { trace, env: way.env });
      context.same(bare, result);
      const report = await context.report(trace, { except: ['ring_full'] });
      context.complaints.push(...checkTruth(report, JSON.parse(result.stdout), { anyThreads: true }).map((why) => `${way.what}: ${why}`));
      continue;
    }
    fs.mkdirSync(context.file(`way${index}`));
    const result = await context.run(program, [], { env: way.env, cwd: context.file(`way${index}`) });
    context.same(bare, result);
    context.equal(result.stderr, bare.stderr, `${way.what}: stderr`);
    const report = await reportIn(context, `way${index}`);
    context.complaints.push(...checkTruth(report, JSON.parse(result.stdout), { anyThreads: true }).map((why) => `${way.what}: ${why}`));
  }
}

const SANITIZER_SAYS = { address: /AddressSanitizer: heap-buffer-overflow/, thread: /ThreadSanitizer: data race/ };

/* The same verdict with as without the agent, which stands down; that is said. TSan of older compilers cannot live with
 * as much address randomisation as newer kernels use. */
async function sanitized(context, sanitizer) {
  const randomless = (command) => [context.tool('setarch'), ['-R', ...command]];
  for (const compiler of ['gcc', 'clang']) {
    const program = context.program(`sanitized_${compiler}_${sanitizer}`);
    for (const argument of ['', 'race', 'overflow']) {
      const what = `${compiler} ${argument || 'nothing wrong'}`;
      const trace = context.file(`${compiler}-${argument}.trace`);
      const bare = await context.run(...randomless([program, argument]));
      const recorded = await context.run(...randomless([context.bin, 'record', '-o', trace, '--', program, argument]));
      context.equal(recorded.code, bare.code, `${what}: exit code`);
      context.equal(recorded.stdout, bare.stdout, `${what}: stdout`);
      const reports = (text) => /^(WARNING: ThreadSanitizer|==\d+==ERROR: AddressSanitizer)/m.test(text);
      context.equal(reports(recorded.stderr), reports(bare.stderr), `${what}: what the sanitizer has to say`);
      if (argument === (sanitizer === 'thread' ? 'race' : 'overflow')) {
        context.expect(SANITIZER_SAYS[sanitizer].test(bare.stderr), `${what}: the bare program is not caught`);
        context.expect(SANITIZER_SAYS[sanitizer].test(recorded.stderr), `${what}: not caught when recorded`);
      }
      context.expect(/^waitscope: .*has a sanitizer's runtime, and the agent stood down$/m.test(recorded.stderr), `${what}: it is not said that the agent stands down`);
    }
  }
}

/* A program of another C library, itself the target and run by a shell that is recorded. */
async function foreignLibc(context) {
  const program = context.program('foreign_libc');
  for (const args of [[], ['exec']]) {
    const bare = await context.run(program, args);
    context.equal(bare.code, args.length ? 0 : 4, 'exit code of the bare program');
    const recorded = await context.record(program, args, { trace: context.file(`${args.length}.trace`) });
    context.same(bare, recorded);
    context.expect(recorded.said.some((line) => /C library is not glibc, and the agent stood down/.test(line)), `not said why it is not recorded: ${recorded.said}`);
    const folder = `direct${args.length}`;
    fs.mkdirSync(context.file(folder));
    const direct = await context.run(program, args, { env: { LD_PRELOAD: context.agent }, cwd: context.file(folder) });
    context.same(bare, direct);
    context.equal(direct.stderr, '', 'stderr with the agent preloaded');
    if (args.length) await reportIn(context, folder); /* the shell's */
  }
}

/* Privileges that the loader guards: nothing is preloaded, the program runs, a line says why. */
async function setuid(context) {
  const su = context.tool('su');
  fs.chmodSync(context.dir, 0o777);
  const copy = (from, to) => {
    fs.mkdirSync(path.dirname(context.file(to)), { recursive: true });
    fs.copyFileSync(from, context.file(to));
    fs.chmodSync(context.file(to), 0o755);
  };
  copy(context.bin, 'copy/bin/waitscope');
  copy(context.agent, 'copy/lib/libwaitscope-agent.so');
  const user = process.getuid() === 0 ? [context.tool('setpriv'), '--reuid', '65534', '--clear-groups'] : ['env'];
  const bare = await context.run(user[0], [...user.slice(1), su, '--version']);
  const recorded = await context.run(user[0], [...user.slice(1), context.file('copy/bin/waitscope'), 'record', '-o',
    context.file('su.trace'), '--', su, '--version']);
  context.equal(bare.code, 0, 'exit code of the bare program');
  context.same(bare, recorded);
  context.expect(/^waitscope: .*is setuid: the loader preloads nothing into it$/m.test(recorded.stderr), `not said why there is nothing: ${recorded.stderr}`);
}

/* What children took in their parent's memory is the parent's, and its threads stay what they are. */
function borrowersOwn(context, report) {
  const own = report.locks.filter((lock) => lock.name === 'spawn_lock');
  context.equal(String(own.map((lock) => lock.pid)), String(report.target.pid), 'processes that have spawn_lock');
  context.equal(report.threads.filter((thread) => thread.pid === report.target.pid).length, 3, 'threads of the parent');
}

/* Of the images that a process was, only the last one's end is the process' own. */
function lastImageEnds(context, report) {
  const ended = report.processes.map((process) => 'exit_code' in process || 'signal' in process);
  context.equal(String(ended), String(ended.map((one, index) => index === ended.length - 1)), 'images whose end is that of the process');
}

module.exports = [
  { name: 'exec_chain', truth: { split: true }, more: lastImageEnds },
  { name: 'cancel', serial: true, more: cancelledWaits },
  { name: 'mutex_kinds', serial: true },
  { name: 'spawn', truth: { anyThreads: true }, more: borrowersOwn },
  { name: 'cancel_kinds', serial: true, more: cancelledWaits },
  { name: 'signal_storm', serial: true, volatile: ['acquisitions', 'reacquisitions'], except: ['ring_full', 'nested'], truth: { nested: true } },
  { name: 'raw_forks', truth: { anyThreads: true }, more: parentsOwn },
  { name: 'at_fork', volatile: ['acquisitions'], truth: { anyThreads: true }, except: ['ring_full'] },
  { name: 'exec_thread', truth: { split: true }, more: lastImageEnds },
  { name: 'small_waits', serial: true },
  { name: 'versions', more: onlyNew },
  { name: 'shared', volatile: ['taken'], more: sharedCounts },
  { name: 'deep_bind', more: (context, report) => context.expect(report.locks.every((lock) => lock.open_waits === 0), 'a wait has no end') },
].map(truthCase).concat([
  ...['prctl', 'syscall', 'asked', 'chroot', 'nobody', 'child', 'descriptors'].map((how) => confined(how)),
  confined('fork', { except: ['no_slot'], more: noSlots(1) }),
  manyThreads('many', 128),
  manyThreads('files', 64),
  manyThreads('size', 64),
  { name: 'confined_exec', run: confinedExec },
  { name: 'verdicts', run: verdicts },
  { name: 'other_hooks', run: otherHooks },
  { name: 'allocator_jemalloc', run: (context) => allocator(context, 'jemalloc'), serial: true, timeout: 120 },
  { name: 'allocator_tcmalloc', run: (context) => allocator(context, 'tcmalloc_minimal'), serial: true, timeout: 120 },
  { name: 'sanitized_address', run: (context) => sanitized(context, 'address'), timeout: 120 },
  { name: 'sanitized_thread', run: (context) => sanitized(context, 'thread'), timeout: 120 },
  { name: 'foreign_libc', run: foreignLibc },
  { name: 'setuid', run: setuid },
]);
