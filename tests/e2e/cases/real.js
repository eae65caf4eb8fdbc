// SPDX-License-Identifier: MIT
'use strict';
/* Programs that nobody here wrote: they behave as without us, and the report names what they did. */
const fs = require('fs');
const net = require('net');
const { frameParts } = require('../lib/truth');
const { load } = require('../lib/memcached_load');

const waited = (report) => report.locks.filter((lock) => lock.waits > 0);
const frames = (report) => [...new Set(report.locks.flatMap((lock) => [...lock.waiters, ...lock.holders]).flatMap((row) => row.stack))];

/* Every frame is a name, or at least a place in a module. */
function named(context, report) {
  for (const frame of frames(report)) {
    const { function: name } = frameParts(frame);
    context.expect(!/^(0x|\[unknown\]$)/.test(name), `a frame without a name or module: ${frame}`);
  }
}

async function memcachedOnce(context, name, command) {
  const socket = context.file(`${name}.sock`);
  const user = process.getuid() === 0 ? ['-u', 'root'] : [];
  const child = context.begin(command[0], [...command.slice(1), context.tool('memcached'), ...user, '-t', '4', '-m', '64', '-s', socket]);
  /* The socket's file is there before it is listened at. */
  await context.until(`${name} memcached to listen`, () => ask(socket, 'version\r\n', /\r\n$/).then(() => true, () => false));
  const answered = await load(socket, 12, 1500);
  const stats = await ask(socket, 'stats\r\n', /END\r\n$/);
  /* The target, not us: memcached ends by itself on SIGTERM. */
  process.kill(Number(/STAT pid (\d+)/.exec(stats)[1]), 'SIGTERM');
  const result = await child.done;
  return { result, answered, gets: Number(/STAT cmd_get (\d+)/.exec(stats)[1]), sets: Number(/STAT cmd_set (\d+)/.exec(stats)[1]) };
}

function ask(socket, text, end) {
  return new Promise((resolve, reject) => {
    const connection = net.connect(socket, () => connection.write(text));
    let answer = '';
    connection.on('data', (chunk) => {
      answer += chunk;
      if (end.test(answer)) {
        connection.end();
        resolve(answer);
      }
    });
    connection.on('error', reject);
  });
}

async function memcached(context) {
  const bare = await memcachedOnce(context, 'bare', ['env']);
  const trace = context.file('out.trace');
  const recorded = await memcachedOnce(context, 'recorded', [context.bin, 'record', '-o', trace, '--']);
  context.equal(recorded.answered, bare.answered, 'right answers');
  context.equal(recorded.gets, bare.gets, 'gets');
  context.equal(recorded.sets, bare.sets, 'sets');
  context.equal(recorded.result.code, bare.result.code, 'exit code');
  context.equal(recorded.result.stdout, bare.result.stdout, 'stdout');
  context.finish(recorded.result, trace, bare.result.stderr);

  const report = await context.report(trace);
  context.expect(report.threads.length >= 5, `${report.threads.length} threads, started with -t 4`);
  const mutexes = report.locks.filter((lock) => lock.kind === 'mutex');
  const taken = mutexes.reduce((sum, lock) => sum + lock.acquisitions, 0);
  context.expect(taken > bare.answered, `${taken} acquisitions of mutexes for ${bare.answered} operations`);
  named(context, report);
  /* Debian strips it and exports nothing of it: its own code is module+offset, its threads have their names. */
  const names = report.threads.map((thread) => thread.name);
  context.expect(names.some((name) => /^mc-/.test(name)) || names.every((name) => name === 'memcached'), `threads are called ${names}`);
  context.expect(frames(report).some((frame) => /^memcached\+0x[0-9a-f]+/.test(frame) || /^(item|assoc|slabs|lru|conn|thread|worker|do)_/.test(frame)),
    `no frame is memcached's: ${frames(report)}`);
  context.expect(report.verdict.length > 10, 'no verdict');
}

/* stress-ng's own account of what it did, less figures that measure time. */
function metrics(text) {
  return text.split('\n').filter((line) => /passed|failed|skipped|unsuccessful|successful/.test(line))
    .map((line) => line.replace(/\[\d+\]/, '[]').replace(/in [\d.]+ ?s.*$/, '')).join('\n');
}

async function stressNg(context) {
  const args = ['--mutex', '4', '--timeout', '3', '--metrics-brief', '--temp-path', context.dir];
  const tool = context.tool('stress-ng');
  const bare = await context.run(tool, args);
  const trace = context.file('out.trace');
  const recorded = await context.run(context.bin, ['record', '-o', trace, '--', tool, ...args]);
  context.equal(recorded.code, bare.code, 'exit code');
  context.equal(metrics(recorded.stdout + recorded.stderr.replace(/^(?!stress-ng).*$/gm, '')), metrics(bare.stdout + bare.stderr), 'its own account');
  const operations = (text) => Number((/mutex +(\d+)/.exec(text) || [0, 0])[1]);
  context.expect(operations(recorded.stdout + recorded.stderr) > 0.2 * operations(bare.stdout + bare.stderr),
    `${operations(recorded.stdout + recorded.stderr)} operations, bare ${operations(bare.stdout + bare.stderr)}`);
  const report = await context.report(trace, { except: ['ring_full'] });
  context.expect(report.processes.length >= 5, `${report.processes.length} processes: itself and 4 workers are 5`);
  const locks = waited(report).filter((lock) => lock.kind === 'mutex');
  context.expect(locks.length >= 4, `${locks.length} mutexes were waited for, one for each worker is 4`);
  named(context, report);
  const own = locks.flatMap((lock) => lock.waiters).flatMap((row) => row.stack).filter((frame) => /stress/.test(frame));
  context.expect(own.length > 0, `no frame is stress-ng's: ${frames(report)}`);
  context.expect(locks.every((lock) => lock.holders.length > 0), 'a mutex without holders');
}

const WORKERS_SCRIPT = `
const { Worker, isMainThread, parentPort, workerData, threadId } = require('worker_threads');
const { createHash, pbkdf2 } = require('crypto');
const fs = require('fs');
if (isMainThread) {
  const shared = new SharedArrayBuffer(8);
  const count = 4;
  const results = [];
  for (let i = 0; i < count; i++) {
    const worker = new Worker(__filename, { workerData: { index: i, shared } });
    worker.on('message', (message) => results.push(message));
    worker.on('exit', (code) => {
      if (results.length === count && code === 0 && !results.told) {
        results.told = true;
        results.sort((a, b) => a.index - b.index);
        console.log(JSON.stringify(results));
        console.log('counter', new Int32Array(shared)[0]);
        for (let k = 0; k < 8; k++) pbkdf2('secret', String(k), 20000, 32, 'sha256', (error, key) => {
          if (error) throw error;
          process.exitCode = 0;
          if (k === 7) fs.readFile(__filename, (problem, data) => console.log('read', problem, data.length));
        });
      }
    });
  }
} else {
  const counter = new Int32Array(workerData.shared);
  let digest = String(workerData.index);
  for (let i = 0; i < 20000; i++) {
    digest = createHash('sha256').update(digest).digest('hex');
    Atomics.add(counter, 0, 1);
  }
  parentPort.postMessage({ index: workerData.index, digest });
}
`;

async function node(context) {
  context.write('workers.js', WORKERS_SCRIPT);
  const args = ['workers.js'];
  const bare = await context.run(process.execPath, args);
  if (bare.code !== 0) throw new Error(`the bare script ended with ${bare.code}: ${bare.stderr}`);
  const recorded = await context.record(process.execPath, args, { stderr: bare.stderr });
  context.same(bare, recorded);
  const report = await context.report(recorded.trace);
  named(context, report);
  const roles = report.threads.map((thread) => thread.role);
  const names = report.threads.map((thread) => thread.name);
  context.equal(roles.filter((role) => role === 'main').length, 1, 'main threads');
  context.equal(roles.filter((role) => role === 'libuv-worker').length, 4, `libuv's workers (${roles})`);
  const workers = report.threads.filter((thread) => /[Ww]orker/.test(thread.role) && thread.role !== 'libuv-worker');
  context.expect(workers.length >= 4, `4 worker_threads are not to be told: roles ${roles}, names ${names}`);
  for (const thread of report.threads.filter((row) => row.role === 'libuv-worker'))
    context.expect(thread.states_ns.lock_wait < 0.5 * (thread.end_ns - thread.start_ns), 'a pool worker that waits for work is taken for contention');
  const top = report.locks[0];
  context.expect(!top || !top.idle || report.locks.every((lock) => lock.idle || lock.waits === 0), 'idle waiting leads the locks');
}

/* Threads, children and sockets: what a server in Node does all day. */
async function nodeChildren(context) {
  context.write('children.js', `
const { execFileSync, fork } = require('child_process');
if (process.argv[2]) { process.send('child ' + process.argv[2]); process.disconnect(); }
else {
  console.log(execFileSync('/bin/sh', ['-c', 'echo from sh; exit 0']).toString().trim());
  const child = fork(__filename, ['one']);
  child.on('message', (message) => console.log(message));
  child.on('exit', (code) => { console.log('exit', code); process.exitCode = 3; });
}`);
  const bare = await context.run(process.execPath, ['children.js']);
  const recorded = await context.record(process.execPath, ['children.js'], { stderr: bare.stderr });
  context.same(bare, recorded);
  const report = await context.report(recorded.trace);
  context.equal(report.processes.filter((process_) => /node/.test(process_.exe)).length, 2, 'node processes');
}

/* A tree of short-lived processes. */
async function compiler(context) {
  context.write('one.c', '#include <stdio.h>\nint main(void) { puts("compiled"); return 0; }\n');
  const recorded = await context.record('sh', ['-c', 'gcc -O2 one.c -o one && ./one']);
  context.equal(recorded.code, 0, 'exit code');
  context.equal(recorded.stdout, 'compiled\n', 'stdout');
  const report = await context.report(recorded.trace);
  context.expect(report.processes.length >= 2, 'the compiler has processes');
}

module.exports = [
  { name: 'real_memcached', run: memcached, timeout: 120 },
  { name: 'real_stress_ng', run: stressNg, timeout: 120 },
  { name: 'real_node_workers', run: node, timeout: 120 },
  { name: 'real_node_children', run: nodeChildren },
  { name: 'real_compiler', run: compiler },
];
