// SPDX-License-Identifier: MIT
'use strict';
/* What cannot be done is said in one line, with the right exit code, and the target runs if it can. */
const fs = require('fs');
const os = require('os');
const { checkTruth } = require('../lib/truth');

const REPORT_FAILED = 1;

async function commands(context) {
  let result = await context.waitscope(['record', '-o', 'x.trace', '--', './no-such-program']);
  context.refused(result, 127, /no-such-program.*No such file/, 'a missing command');
  context.expect(!fs.existsSync(context.file('x.trace')), 'a missing command leaves a trace');
  result = await context.waitscope(['record', '-o', 'x.trace', '--', 'no-such-program-on-the-path']);
  context.refused(result, 127, /no-such-program-on-the-path.*No such file/, 'a command not on the path');
  context.write('plain.txt', 'nothing to run\n');
  result = await context.waitscope(['record', '-o', 'x.trace', '--', './plain.txt']);
  context.refused(result, 126, /plain\.txt.*Permission denied/, 'a file that is not executable');
  result = await context.waitscope(['record', '-o', 'x.trace', '--', context.dir]);
  context.refused(result, 126, /Permission denied|Is a directory/, 'a folder as command');
  result = await context.waitscope(['record']);
  context.refused(result, 125, /record/, 'no command');
  result = await context.waitscope(['record', '--no-such-option', '--', 'true']);
  context.refused(result, 125, /no-such-option/, 'an unknown option');
  result = await context.waitscope(['record', '-d', 'soon', '--', 'true']);
  context.refused(result, 125, /soon/, 'a duration that is none');
}

/* Where no trace can be written the command still runs, and its result is the user's. */
async function noTrace(context) {
  const recorded = await context.waitscope(['record', '-o', 'no/such/folder/x.trace', '--', 'sh', '-c', 'echo here; exit 5']);
  context.equal(recorded.code, 5, 'exit code without a trace');
  context.equal(recorded.stdout, 'here\n', 'stdout without a trace');
  context.expect(/^waitscope: .*No such file/m.test(recorded.stderr), `why there is no trace is not said: ${recorded.stderr}`);
  context.write('old.trace', 'precious');
  const over = await context.waitscope(['record', '-o', 'old.trace', '--', 'sh', '-c', 'exit 6']);
  context.equal(over.code, 6, 'exit code where the trace exists');
  const kept = fs.readFileSync(context.file('old.trace'), 'utf8') === 'precious';
  context.expect(kept === /File exists/.test(over.stderr), `an old file was ${kept ? 'kept' : 'replaced'}, but stderr says ${over.stderr}`);
}

async function record(context) {
  const result = await context.record(context.program('small_stack'), []);
  if (result.code !== 0) throw new Error(`the recording ended with ${result.code}: ${result.stderr}`);
  return fs.readFileSync(result.trace);
}

async function traces(context) {
  const good = await record(context);
  const newer = Buffer.from(good);
  newer.writeUInt32LE(newer.readUInt32LE(8) + 1, 8);
  const bad = [
    ['missing.trace', null, /No such file/],
    ['empty.trace', Buffer.alloc(0), /trace/],
    ['foreign.trace', Buffer.from('\x7fELF and then some more that is no trace at all'.repeat(20)), /trace/],
    ['zeros.trace', Buffer.alloc(4096), /trace/],
    ['header.trace', good.subarray(0, 40), /trace|short|damaged|cut/],
    ['newer.trace', newer, /newer/],
  ];
  for (const [name, data, pattern] of bad) {
    if (data) context.write(name, data);
    for (const command of [['report', name], ['report', '--json', name], ['export', '-f', 'folded', '-o', '-', name]]) {
      const result = await context.waitscope(command);
      context.refused(result, REPORT_FAILED, pattern, `${command[0]} of ${name}`);
      context.equal(result.stdout, '', `${command[0]} of ${name}: stdout`);
    }
  }
  fs.mkdirSync(context.file('folder.trace'));
  context.refused(await context.waitscope(['report', 'folder.trace']), REPORT_FAILED, /director|trace/, 'a folder as trace');
  /* Cut off anywhere: what was written before is there. */
  for (const share of [0.3, 0.6, 0.9, 0.99]) {
    const name = `cut${share}.trace`;
    context.write(name, good.subarray(0, Math.floor(good.length * share)));
    const result = await context.waitscope(['report', '--json', name]);
    if (!context.equal(result.code, 0, `a trace cut at ${share}: exit code (${result.stderr})`)) continue;
    context.expect(JSON.parse(result.stdout).version === 1, `a trace cut at ${share} has no report`);
    context.expect(/^waitscope: [^\n]*(cut|torn|truncated|damaged|incomplete)[^\n]*\n$/.test(result.stderr),
      `a trace cut at ${share}: stderr does not say so in one line: ${JSON.stringify(result.stderr)}`);
  }
  /* One bit wrong anywhere: an answer or a refusal, never a crash. */
  for (let at = 0; at < good.length; at += Math.max(1, Math.floor(good.length / 150))) {
    const hurt = Buffer.from(good);
    hurt[at] ^= 1 << (at % 8);
    context.write('hurt.trace', hurt);
    const result = await context.waitscope(['report', '--json', 'hurt.trace'], { timeout: 10000 });
    context.expect(result.code === 0 || result.code === REPORT_FAILED, `bit ${at % 8} of byte ${at}: ended with ${result.code} ${result.signal}`);
  }
}

async function unreadable(context) {
  context.write('secret.trace', await record(context));
  fs.chmodSync(context.file('secret.trace'), 0);
  const command = process.getuid() === 0
    ? [context.tool('setpriv'), ['--reuid', '65534', '--clear-groups', context.bin, 'report', 'secret.trace']]
    : [context.bin, ['report', 'secret.trace']];
  fs.chmodSync(context.dir, 0o755);
  /* The build may lie where another user cannot go: a copy of the program is run instead. */
  if (process.getuid() === 0) {
    fs.copyFileSync(context.bin, context.file('waitscope'));
    fs.chmodSync(context.file('waitscope'), 0o755);
    command[1][3] = context.file('waitscope');
  }
  context.refused(await context.run(command[0], command[1]), REPORT_FAILED, /Permission denied/, 'an unreadable trace');
}

/* A disk that fills up: a small tmpfs, in a user namespace where we are not root. */
async function fullDisk(context) {
  fs.mkdirSync(context.file('disk'));
  const script = `mount -t tmpfs -o size=64k none disk || exit 99
${context.bin} record -o disk/out.trace -- ${context.program('heap_locks')}
code=$?; cp disk/out.trace kept.trace; exit $code`;
  const result = await context.run(context.tool('unshare'), [process.getuid() === 0 ? '-m' : '-rm', 'sh', '-c', script]);
  context.equal(result.code, 0, `the target's exit code on a full disk (${result.stderr})`);
  context.equal(JSON.parse(result.stdout).threads, 2, "the target's output on a full disk");
  context.expect(/^waitscope: .*No space left/m.test(result.stderr), `a full disk is not told of: ${result.stderr}`);
  const report = await context.report(context.file('kept.trace'), { lossless: false });
  context.equal(report.trace.state, 'stopped', 'state of the trace');
  context.equal(report.trace.stop_errno, os.constants.errno.ENOSPC, 'stop_errno');
  context.expect(report.locks.length > 0 && report.threads.length > 0, 'what was written before is lost');
}

/* A limit on file sizes that recorder and target both have. Shared memory counts as a file, so there
 * may be nothing to record; then a line says why. Nobody dies of SIGXFSZ. */
async function fileLimit(context) {
  for (const blocks of [0, 8, 100]) {
    const trace = context.file(`${blocks}.trace`);
    const script = `ulimit -f ${blocks}; exec ${context.bin} record -o ${trace} -- ${context.program('many_locks')}`;
    const result = await context.run('bash', ['-c', script]);
    context.equal(result.signal, null, `${blocks} KiB: signal`);
    context.equal(result.code, 0, `${blocks} KiB: exit code (${result.stderr})`);
    context.equal(JSON.parse(result.stdout).threads, 3, `${blocks} KiB: the target's output`);
    if (blocks < 100) {
      context.expect(/^waitscope: .*([Ff]ile too large|file size|limit)/m.test(result.stderr), `${blocks} KiB: not said why there is nothing: ${result.stderr}`);
      continue;
    }
    /* Room for a few small rings: what they could not hold is told. */
    const { loss } = JSON.parse((await context.run(context.bin, ['report', '--json', trace])).stdout);
    const dropped = Object.values(loss.dropped).reduce((sum, count) => sum + count, 0);
    context.expect(loss.stored > 0, `${blocks} KiB: nothing was recorded`);
    context.equal(loss.emitted, loss.stored + dropped, `${blocks} KiB: records emitted`);
  }
}

/* Programs into which nothing can be preloaded run as ever, and one line says why there is nothing. */
async function withoutAgent(context, command, args, pattern, output) {
  const bare = await context.run(command, args);
  const recorded = await context.record(command, args, { stderr: bare.stderr });
  context.same(bare, recorded);
  if (output) context.equal(recorded.stdout, output, 'stdout');
  const why = recorded.said.filter((line) => pattern.test(line));
  context.equal(why.length, 1, `lines that say why (${pattern}) in ${JSON.stringify(recorded.said)}`);
}

async function staticTarget(context) {
  await withoutAgent(context, context.program('static_target'), [], /is statically linked/, 'static as ever\n');
}

async function setuid(context) {
  if (process.getuid() === 0) {
    /* Owned by another than who runs it, or it would not count. /tmp may be mounted nosuid: then it is not. */
    const file = context.file('setuid-quiet');
    fs.copyFileSync(context.program('small_stack'), file);
    fs.chownSync(file, 65534, 65534);
    fs.chmodSync(file, 0o4755);
    fs.chmodSync(context.dir, 0o755);
    const recorded = await context.record(file, []);
    context.equal(recorded.code, 0, 'exit code');
    context.equal(recorded.said.filter((line) => /is setuid/.test(line)).length, 1, `lines that say why in ${JSON.stringify(recorded.said)}`);
  } else {
    await withoutAgent(context, context.tool('su'), ['--version'], /is setuid/);
  }
}

/* The header of a 32-bit program with nothing behind it. */
function elf32() {
  const header = Buffer.alloc(52 + 32);
  header.write('\x7fELF', 0, 'latin1');
  header.set([1, 1, 1], 4); // 32 bits, little endian, version
  header.writeUInt16LE(2, 16); // ET_EXEC
  header.writeUInt16LE(3, 18); // EM_386
  header.writeUInt32LE(1, 20);
  header.writeUInt32LE(0x08048054, 24);
  header.writeUInt32LE(52, 28);
  header.writeUInt16LE(52, 40);
  header.writeUInt16LE(32, 42);
  header.writeUInt16LE(1, 44);
  header.writeUInt32LE(1, 52); // PT_LOAD of the whole file
  header.writeUInt32LE(0x08048000, 60);
  header.writeUInt32LE(0x08048000, 64);
  header.writeUInt32LE(96, 68);
  header.writeUInt32LE(96, 72);
  header.writeUInt32LE(5, 76);
  header.writeUInt32LE(0x1000, 80);
  /* mov $1,%eax; mov $7,%ebx; int $0x80: exit(7) */
  return Buffer.concat([header, Buffer.from([0xb8, 1, 0, 0, 0, 0xbb, 7, 0, 0, 0, 0xcd, 0x80])]);
}

async function thirtyTwo(context) {
  context.write('small', elf32(), 0o755);
  let bare;
  try {
    bare = await context.run('./small', []);
  } catch (error) {
    bare = null; // a kernel without 32-bit programs
  }
  const recorded = await context.record('./small', []);
  if (bare) context.equal(recorded.code, bare.code, 'exit code');
  else context.equal(recorded.code, 126, 'exit code');
  context.equal(recorded.said.filter((line) => /32-bit|Exec format/.test(line)).length, 1, `lines that say why in ${JSON.stringify(recorded.said)}`);
}

async function interpreters(context) {
  context.write('script', '#!/bin/sh\necho from a script; exit 4\n', 0o755);
  const script = await context.record('./script', [], { trace: context.file('script.trace') });
  context.equal(script.code, 4, 'exit code of a script');
  context.equal(script.stdout, 'from a script\n', 'stdout of a script');
  context.write('lost', '#!/no/such/interpreter\n', 0o755);
  const lost = await context.waitscope(['record', '-o', 'lost.trace', '--', './lost']);
  context.refused(lost, 127, /lost.*No such file/, 'a script without its interpreter');
}

/* Output that cannot be taken. */
async function outputs(context) {
  await record(context);
  let result = await context.run('bash', ['-c', `${context.bin} report out.trace | head -1; echo \${PIPESTATUS[0]}`]);
  context.expect(/\n0\n$/.test(result.stdout), `report | head: ${JSON.stringify(result.stdout)}`);
  context.equal(result.stderr, '', 'report | head: stderr');
  result = await context.run('bash', ['-c', `${context.bin} export -f folded --idle -o - out.trace | true; echo \${PIPESTATUS[0]}`]);
  context.equal(result.stdout, '0\n', 'export | true');
  for (const command of ['report', 'report --json', 'export -f svg -o -', 'export -f folded -o -']) {
    result = await context.run('bash', ['-c', `${context.bin} ${command} out.trace > /dev/full`]);
    context.refused(result, REPORT_FAILED, /No space left/, `${command} > /dev/full`);
  }
}

async function doctor(context) {
  const result = await context.waitscope(['doctor']);
  context.equal(result.code, 0, `exit code (${result.stdout})`);
  context.equal(result.stderr, '', 'stderr');
  const lines = result.stdout.trim().split('\n');
  context.expect(lines.length >= 4, `doctor says only ${JSON.stringify(lines)}`);
  for (const word of [/preload|agent/i, /kernel/i]) context.expect(lines.some((line) => word.test(line)), `doctor says nothing of ${word}`);
}

/* A collector that is killed harms nobody, and what it wrote can be read. */
async function killedCollector(context) {
  const trace = context.file('out.trace');
  const child = context.begin(context.bin, ['record', '-o', trace, '--', 'sh', '-c', `${context.program('mutex')} > truth.json; echo ended > end`]);
  await context.until('the trace', () => fs.existsSync(trace) && fs.statSync(trace).size > 1000);
  process.kill(child.pid, 'SIGKILL');
  await context.until('the target to end by itself', () => fs.existsSync(context.file('end')));
  const truth = JSON.parse(fs.readFileSync(context.file('truth.json'), 'utf8'));
  context.equal(truth.locks[0].acquisitions, 200, "the target's own count");
  const report = await context.report(trace, { lossless: false, incomplete: true });
  context.equal(report.trace.state, 'recording', 'state of the trace');
  context.expect(checkTruth(report, truth).length > 0, 'a trace that was cut short says all');
}

module.exports = [
  { name: 'bad_commands', run: commands },
  { name: 'bad_no_trace', run: noTrace },
  { name: 'bad_traces', run: traces, timeout: 180 },
  { name: 'bad_unreadable', run: unreadable },
  { name: 'bad_full_disk', run: fullDisk },
  { name: 'bad_file_limit', run: fileLimit },
  { name: 'bad_static', run: staticTarget },
  { name: 'bad_setuid', run: setuid },
  { name: 'bad_32_bit', run: thirtyTwo },
  { name: 'bad_interpreters', run: interpreters },
  { name: 'bad_outputs', run: outputs },
  { name: 'doctor', run: doctor },
  { name: 'killed_collector', run: killedCollector },
];
