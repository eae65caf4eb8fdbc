// SPDX-License-Identifier: MIT
'use strict';
/*
 * The kernel's side. It takes root, or CAP_BPF and CAP_PERFMON: without them these cases see that it is said, and
 * fail, for a machine that cannot try this has not tried it.
 */
const fs = require('fs');
const { sum } = require('../lib/truth');

const POINTS = 3; /* of a hundred, that shares may be off */

const find = (report, name) => report.threads.find((thread) => thread.name === name);
const life = (thread) => thread.end_ns - thread.start_ns;
const states = (thread) => Object.values(thread.states_ns).reduce((all, ns) => all + ns, 0);

async function report(context, program, args, record) {
  const recorded = await context.record(program, args, { arguments: record });
  context.expect(!/without the kernel's side/.test(recorded.said.join('\n')), `no kernel side here: ${recorded.said.join('\n')}`);
  return { recorded, report: await context.report(recorded.trace) };
}

/* Shares of each thread's life, as the thread itself measured them. */
async function shares(context, record) {
  const { recorded, report: told } = await report(context, context.program('states'), [], record);
  const truths = JSON.parse(recorded.stdout);
  for (const truth of truths) {
    const thread = find(told, truth.name);
    if (!context.expect(thread, `no thread is called ${truth.name}`)) continue;
    const near = (what, ns, wanted) => context.expect(Math.abs(ns - wanted) <= (POINTS / 100) * life(thread),
      `${truth.name}: ${what} ${ns} ns of ${life(thread)}, in truth ${wanted} (allowed ${Math.round((POINTS / 100) * life(thread))} off)`);
    /* Ready to run it also is outside of what it measures. */
    const waited = (what, ns, wanted) => near(what, Math.min(Math.max(wanted, ns), ns + thread.states_ns.runnable), wanted);
    context.equal(states(thread), life(thread), `${truth.name}: sum of states`);
    context.equal(thread.states_ns.unknown, 0, `${truth.name}: unknown`);
    if (/^hog/.test(truth.name)) {
      near('running', thread.states_ns.running, truth.cpu);
      near('runnable', thread.states_ns.runnable, truth.wall - truth.cpu);
      context.expect(thread.run_queue.ran_instead.some((row) => /^hog/.test(row.name)), `${truth.name}: another hog had its CPU`);
    }
    if (truth.name === 'sleeper') waited('asleep', thread.states_ns.idle, truth.slept);
    if (truth.name === 'writer') waited('I/O', thread.states_ns.blocked, truth.synced);
    if (truth.name === 'waiter') {
      waited('lock wait', thread.states_ns.lock_wait, truth.waited);
      const woken = thread.woken_by.filter((row) => row.name === 'sleeper');
      context.expect(sum(woken, (row) => row.count) > 0, `the waiter is woken by ${JSON.stringify(thread.woken_by.map((row) => row.name))}`);
    }
  }
  return { told, truths, trace: recorded.trace };
}

/* Who called pthread_mutex_lock is right above it in the stack of the wait, in code without frame pointers. By name where
 * libc's is known, and by its place in the stack: what wait_for_sleeper waits in is that lock and truth_gate_await. */
async function callers(context, trace, truth) {
  const result = await context.waitscope(['export', '-f', 'folded', '--kind', 'offcpu', '--idle', '-o', '-', trace]);
  context.equal(result.code, 0, `exit status of export (${result.stderr})`);
  const lines = result.stdout.split('\n');
  const strange = lines.filter((line) => /\bpthread_mutex_lock\b/.test(line) &&
    !/;(wait_for_sleeper|sleep_under_lock);(\[unknown code\];)?pthread_mutex_lock;/.test(line));
  context.equal(strange.length, 0, `stacks in pthread_mutex_lock without its caller: ${strange[0]}`);
  const waits = lines.filter((line) => /\bpart_run;wait_for_sleeper;(?!truth_gate_await).*;off-CPU: futex \d+$/.test(line));
  const ns = 1000 * sum(waits, (line) => Number(line.split(' ').pop()));
  const allowed = Math.round(truth.waited / 5); /* it is ready to run, or runs, for a part of it */
  context.expect(waits.length > 0 && Math.abs(ns - truth.waited) <= allowed,
    `off a CPU right below wait_for_sleeper: ${ns} ns, in truth ${truth.waited} (allowed ${allowed} off)`);
}

async function bothSides(context) {
  const { told, truths, trace } = await shares(context, ['--kernel']);
  await callers(context, trace, truths.find((row) => row.name === 'waiter'));
  const lock = told.locks.find((row) => row.name === 'bed_lock');
  if (!context.expect(lock, 'bed_lock is not in the report')) return;
  const waited = lock.wait_ns.total - lock.wait_ns.idle;
  const holder = lock.holder_states_ns;
  const allowed = Math.round((POINTS / 100) * waited);
  context.expect(Math.abs(holder.idle + holder.runnable + holder.handing_over - waited) <= allowed,
    `its holder slept, or was waking up, for ${JSON.stringify(holder)} of ${waited} ns (allowed ${allowed} off)`);
  context.expect(holder.idle >= 0.5 * waited, `its holder slept for ${holder.idle} of ${waited} ns`);
  context.equal(lock.holder_doings[0].lock, 'sleep', 'what the holder did longest');
  context.equal(truths.length, 5, 'threads that told');
}

/* A program that nothing is preloaded into. Its threads, their names and what they wait at are seen, and who held
 * that, by the words of the C library's mutex. */
async function kernelAlone(context) {
  const { told, truths, trace } = await shares(context, ['--no-agent']);
  await callers(context, trace, truths.find((row) => row.name === 'waiter'));
  context.expect(told.threads.every((thread) => thread.states_ns.unknown === 0), 'every instant of every thread is known');
  const waited = truths.find((truth) => truth.name === 'waiter').waited;
  futexIs(context, told, 'bed_lock', waited, 'sleep_under_lock');
  context.expect(/^bed_lock .* is waited for most: .* Only waiter waits, in wait_for_sleeper .*sleeper holds it, released in sleep_under_lock/.test(told.verdict), `verdict: ${told.verdict}`);
}

function futexIs(context, told, name, waited, holder) {
  const lock = told.locks.find((row) => row.name.split(/[.[]/)[0] === name && row.wait_ns.total > 0);
  if (!context.expect(lock, `${name} is not among ${told.locks.map((row) => row.name)}`)) return;
  context.equal(lock.kind, 'futex', `${name}: kind`);
  context.expect(Math.abs(lock.wait_ns.total - waited) <= (POINTS / 100) * waited + 500000, `${name}: ${lock.wait_ns.total} ns waited, in truth ${waited}`);
  context.expect(lock.holders[0].stack.some((frame) => frame.startsWith(holder)), `${name}: woken in ${lock.holders[0].stack}, in truth ${holder}`);
}

/* Locks that no library knows of, one by one as the program timed them, in a program with nothing in it, in one
 * that nothing can be put into, and beside an agent that does not know them either. */
const WAKERS = {
  plain_word: 'plain_give', owned_word: 'owned_give', kernel_word: 'kernel_give', second_word: 'second_wake', many_words: 'many_wake', timed_word: '[timed out]',
};

async function futexes(context) {
  for (const [program, record] of [['futexes', ['--no-agent']], ['futexes_static', ['--no-agent']], ['futexes', ['--kernel']]]) {
    const { recorded, report: told } = await report(context, context.program(program), [], record);
    const truth = JSON.parse(recorded.stdout);
    for (const name of Object.keys(truth)) futexIs(context, told, name, truth[name], WAKERS[name]);
    for (const name of ['owned_word', 'kernel_word']) {
      const lock = told.locks.find((row) => row.name === name);
      context.equal(lock && lock.wait_ns.idle, 0, `${name}: idle`);
    }
  }
}

/* Its samples have what it did in the kernel on top of the function that called it. */
async function inKernel(context) {
  for (const record of [['--kernel'], ['--no-agent']]) {
    await report(context, context.program('reading'), [], record);
    const result = await context.waitscope(['export', '-f', 'folded', '--kind', 'cpu', '-o', '-', 'out.trace']);
    context.equal(result.code, 0, `exit code of the export (${result.stderr})`);
    let all = 0, named = 0;
    for (const line of result.stdout.split('\n').filter((row) => row !== '')) {
      const [, stack, count] = /^(.+) (\d+)$/.exec(line);
      const frames = stack.split(';');
      const caller = frames.findIndex((frame) => /^read_zeros/.test(frame)), first = frames.findIndex((frame) => frame.endsWith('_[k]'));
      all += Number(count);
      if (caller >= 0 && first > caller && frames.slice(first).every((frame) => /^[a-zA-Z_].*_\[k\]$/.test(frame)) &&
        frames[caller + 1].includes('read') && frames.slice(first).some((frame) => /read/.test(frame))) named += Number(count);
    }
    context.expect(named >= 0.8 * all && all > 0, `${record}: read_zeros called the kernel in ${named} of ${all} µs:\n${result.stdout}`);
  }
}

/* Where functions are is hidden from whoever may not see it: that is said, once, and the rest is as ever. */
async function inKernelHidden(context) {
  const without = ['--bounding-set=-syslog', '--inh-caps=-syslog'], setpriv = context.tool('setpriv');
  const symbols = await context.run(setpriv, [...without, 'head', '-n', '1', '/proc/kallsyms']);
  const hidden = /^0+ /.test(symbols.stdout); // perf_event_paranoid below 2 shows them to all
  const recorded = await context.run(setpriv, [...without, context.bin, 'record', '--no-agent', '-o', 'out.trace', '--', context.program('reading')]);
  context.equal(recorded.code, 0, `exit code (${recorded.stderr})`);
  const said = recorded.stderr.split('\n').filter((line) => /\/proc\/kallsyms hides/.test(line));
  context.equal(said.length, hidden ? 1 : 0, `times that it is said (${recorded.stderr})`);
  const result = await context.waitscope(['export', '-f', 'folded', '--kind', 'cpu', '-o', '-', 'out.trace']);
  const wanted = hidden ? /;read_zeros;.*\[kernel\]\+0x[0-9a-f]+_\[k\] \d+$/m : /;read_zeros;.*read\w*_\[k\]/m;
  context.expect(wanted.test(result.stdout), `no frames of the kernel as ${wanted}:\n${result.stdout}`);
}

/*
 * Each for one reason off a CPU, by the kernel's accounts of the thread itself: what it ran, what it was ready to
 * run, and so what it was blocked.
 */
const REASONS = { reader: 'io', faulter: 'page_fault', toucher: 'page_fault' };

async function offCpu(context, record) {
  const { recorded, report: told } = await report(context, context.program('off_cpu'), [context.dir], record);
  const truths = JSON.parse(recorded.stdout);
  context.equal(truths.length, 10, 'threads that told');
  for (const truth of truths) {
    const thread = find(told, truth.name);
    if (!context.expect(thread, `no thread is called ${truth.name}`)) continue;
    const allowed = Math.round((POINTS / 100) * life(thread));
    /* From being woken to being put on the queue of a CPU that has to come out of its sleep, a thread is ready to run
     * by the report and not yet by the kernel's account of it. */
    const idle = thread.run_queue.ran_instead.find((row) => row.name === '[idle]');
    const waking = idle ? idle.ns : 0;
    const within = (what, low, high, wanted) => context.expect(wanted >= low - allowed && wanted <= high + allowed,
      `${truth.name}: ${what} ${low} to ${high} ns of ${life(thread)}, in truth ${wanted} (allowed ${allowed} off)`);
    const blocked = (what, ns, wanted) => within(what, ns, ns + waking, wanted);
    const much = (what, ns) => context.expect(ns >= 3 * allowed, `${truth.name}: in truth ${what} for ${ns} ns only (allowed ${allowed} off)`);
    const off = life(thread) - truth.cpu - truth.delay;
    context.equal(states(thread), life(thread), `${truth.name}: sum of states`);
      context.expect(thread.start_ns <= truth.begin && thread.end_ns >= truth.end, `${truth.name}: lived from ${truth.begin} to ${truth.end} at least, not ${thread.start_ns} to ${thread.end_ns}`);
    within('running', thread.states_ns.running, thread.states_ns.running, truth.cpu);
    within('runnable', thread.states_ns.runnable - waking, thread.states_ns.runnable, truth.delay);
    blocked('neither', thread.states_ns.blocked + thread.states_ns.lock_wait + thread.states_ns.idle, off);
    if (truth.name === 'behind') {
      much('behind the hog', truth.delay);
      const hog = thread.run_queue.ran_instead.find((row) => row.name === 'hog');
      context.expect(hog, `ran instead of it: ${JSON.stringify(thread.run_queue.ran_instead)}`);
      const ns = hog ? hog.ns : 0;
      context.expect(ns >= truth.delay / 2, `behind: the hog ran for ${ns} of ${truth.delay} ns (allowed ${Math.round(truth.delay / 2)} off)`);
    }
    const reason = REASONS[truth.name];
    if (!reason) continue;
    much('blocked', off);
    blocked('blocked', thread.states_ns.blocked, off);
    blocked(reason, thread.off_cpu_ns[reason], off);
    if (truth.name === 'reader') context.expect(thread.off_cpu_calls.some((row) => row.kind === 'io' && row.call === 'pread64'), `reader: calls ${JSON.stringify(thread.off_cpu_calls)}`);
    if (truth.name === 'faulter') context.expect(truth.faults >= 1, `faulter: ${truth.faults} major faults`);
  }
  return { told, truths };
}

/* The holder of a lock that others wait for does not run: two more want its CPU. */
async function offCpuHolder(context) {
  const { told, truths } = await offCpu(context, ['--kernel']);
  const lock = told.locks.find((row) => row.name === 'crowded_lock');
  if (!context.expect(lock, 'crowded_lock is not in the report')) return;
  const { held } = truths.find((row) => row.name === 'holder');
  const { held: waited } = truths.find((row) => row.name === 'waiter');
  const allowed = Math.round((POINTS / 100) * lock.wait_ns.total);
  const near = (what, ns, wanted) => context.expect(Math.abs(ns - wanted) <= allowed,
    `the holder: ${what} ${ns} ns of ${lock.wait_ns.total}, in truth ${wanted} (allowed ${allowed} off)`);
  near('waited for', lock.wait_ns.total, waited.wall);
  near('runnable', lock.holder_states_ns.runnable, held.delay);
  near('running', lock.holder_states_ns.running, held.cpu);
  context.expect(held.delay >= held.cpu, `the holder was without a CPU for ${held.delay} ns only, of ${held.wall} (allowed ${allowed} off)`);
  context.equal(lock.holder_doings[0].state, 'runnable', 'what the holder did longest beside running');
  context.expect(/Its holder was waiting for a CPU for/.test(told.verdict), `verdict: ${told.verdict}`);
}

async function offCpuAlone(context) {
  const { told, truths } = await offCpu(context, ['--no-agent']);
  const lock = told.locks.find((row) => row.name === 'crowded_lock');
  if (!context.expect(lock, `crowded_lock is not among ${told.locks.map((row) => row.name)}`)) return;
  const { held: waited } = truths.find((row) => row.name === 'waiter');
  context.expect(Math.abs(lock.wait_ns.total - waited.wall) <= (POINTS / 100) * waited.wall,
    `crowded_lock: waited for ${lock.wait_ns.total} ns, in truth ${waited.wall} (allowed ${Math.round((POINTS / 100) * waited.wall)} off)`);
}

async function agentAlone(context) {
  const { report: told } = await report(context, context.program('states'), [], ['--no-kernel']);
  context.expect(told.threads.every((thread) => thread.states_ns.runnable === 0), 'nobody told of a run queue');
}

async function neither(context) {
  const result = await context.waitscope(['record', '--no-kernel', '--no-agent', '--', 'true']);
  context.equal(result.code, 125, 'exit status');
  context.expect(/^waitscope: neither agent nor kernel/.test(result.stderr), result.stderr);
}

/* It sleeps since before anybody looks, and goes on when nobody does any more. */
async function attached(context) {
  const child = context.begin('sleep', ['30']);
  await context.until('sleep to sleep', () => /^State:\tS/m.test(fs.readFileSync(`/proc/${child.pid}/status`, 'utf8')) &&
    fs.readlinkSync(`/proc/${child.pid}/exe`).endsWith('sleep'));
  const trace = context.file('attached.trace');
  const result = await context.waitscope(['record', '-p', String(child.pid), '-d', '0.5', '-o', trace]);
  context.equal(result.code, 0, `exit status (${result.stderr})`);
  const told = await context.report(trace);
  context.equal(told.threads.length, 1, 'threads');
  const [thread] = told.threads;
  context.equal(thread.name, 'sleep', 'name');
  context.equal(thread.tid, child.pid, 'tid');
  context.equal(states(thread), life(thread), 'sum of states');
  context.expect(thread.off_cpu_ns.sleep >= 0.97 * life(thread), `asleep for ${thread.off_cpu_ns.sleep} of ${life(thread)} ns`);
  context.expect(/^State:\tS/m.test(fs.readFileSync(`/proc/${child.pid}/status`, 'utf8')), 'it does not sleep any more');
  process.kill(child.pid, 'SIGTERM');
  await child.done;
  const gone = await context.waitscope(['record', '-p', String(child.pid), '-o', trace]);
  context.equal(gone.code, 125, 'exit status for a process that is not');
  context.equal(gone.stderr, `waitscope: cannot record process ${child.pid}: No such process\n`, 'what is said');
}

/* Where each thread slept before anybody looked, and so all the time; the last frame is of the kernel's side. */
const SLEEPERS = [
  ['main', 'read'], ['by_clock', 'sleep_by_clock', 'clock_nanosleep'], ['on_futex', 'sleep_on_futex', 'futex'],
  ['in_read', 'sleep_in_read', 'read'], ['in_handler', 'raise', 'sleep_in_handler', 'pause'],
];

async function attachedAsleep(context) {
  const child = context.begin(context.program('sleepers'), [], { stdin: true });
  const tasks = `/proc/${child.pid}/task`;
  await context.until('its threads to sleep', () => {
    const threads = fs.readdirSync(tasks);
    const calls = threads.map((tid) => Number.parseInt(fs.readFileSync(`${tasks}/${tid}/syscall`, 'utf8'), 10)).sort((a, b) => a - b);
    return String(calls) === '0,0,34,202,230'; // read twice, pause, futex, clock_nanosleep
  });
  const recorded = await context.waitscope(['record', '-p', String(child.pid), '-d', '0.5', '-o', 'out.trace']);
  context.equal(recorded.code, 0, `exit status (${recorded.stderr})`);
  context.expect(/^waitscope: it is recorded without the agent: /m.test(recorded.stderr), `what is missing is not said: ${recorded.stderr}`);
  const told = await context.report(context.file('out.trace'));
  const result = await context.waitscope(['export', '-f', 'folded', '--kind', 'offcpu', '--idle', '-o', '-', 'out.trace']);
  context.equal(result.code, 0, `exit code of the export (${result.stderr})`);
  const rows = result.stdout.split('\n').filter((row) => row !== '').map((row) => /^(.+) (\d+)$/.exec(row));
  const whole = Math.max(...told.threads.map(life)) / 1000;
  for (const names of SLEEPERS) {
    const found = rows.filter(([, stack]) => {
      const frames = stack.split(';');
      let at = -1;
      return frames[0] === names[0] && frames[frames.length - 1].endsWith(names[names.length - 1]) &&
        names.every((name) => (at = frames.findIndex((frame, i) => i > at && frame.includes(name))) >= 0);
    });
    const slept = sum(found, (row) => Number(row[2]));
    context.expect(slept >= 0.97 * whole && slept <= whole + 1, `${names.join(';')}: ${slept} of ${whole} µs:\n${result.stdout}`);
  }
  child.stdin.end('x');
  context.equal((await child.done).code, 0, 'exit status of the program');
}

/* Two threads that have blocked each other since before anybody looked: which, where, and for what. */
async function attachedDeadlock(context) {
  const child = context.begin(context.program('deadlock'), []);
  const asleep = () => {
    const threads = fs.readdirSync(`/proc/${child.pid}/task`);
    return threads.length === 3 && threads.every((tid) => /^202 /.test(fs.readFileSync(`/proc/${child.pid}/task/${tid}/syscall`, 'utf8')));
  };
  await context.until('all threads to be stuck', asleep);
  await context.until('them to stay so', asleep);
  const trace = context.file('deadlock.trace');
  const result = await context.waitscope(['record', '-p', String(child.pid), '-d', '0.5', '-o', trace]);
  context.equal(result.code, 0, `exit status (${result.stderr})`);
  const told = await context.report(trace);
  for (const [name, waiter] of [['right_lock', 'left_then_right'], ['left_lock', 'right_then_left']]) {
    const lock = told.locks.find((row) => row.name === name);
    if (!context.expect(lock, `${name} is not among ${told.locks.map((row) => row.name)}`)) continue;
    context.equal(lock.open_waits, 1, `${name}: open waits`);
    context.expect(lock.waiters[0].stack.some((frame) => frame.startsWith(waiter)), `${name}: ${lock.waiters[0].stack}`);
    context.expect(/^\[still held by (left|right)_run\]$/.test(lock.holders[0].stack[0]), `${name}: ${lock.holders[0].stack}`);
  }
  context.expect(/deadlock/i.test(told.verdict) && /left_run/.test(told.verdict) && /right_run/.test(told.verdict), `verdict: ${told.verdict}`);
  process.kill(child.pid, 'SIGKILL');
  await child.done;
}

module.exports = [
  { name: 'kernel_states', run: bothSides, serial: true },
  { name: 'kernel_alone', run: kernelAlone, serial: true },
  { name: 'kernel_futexes', run: futexes, serial: true },
  { name: 'kernel_frames', run: inKernel, serial: true },
  { name: 'kernel_frames_hidden', run: inKernelHidden, serial: true },
  { name: 'kernel_off_cpu', run: offCpuHolder, serial: true },
  { name: 'kernel_off_cpu_alone', run: offCpuAlone, serial: true },
  { name: 'kernel_not_wanted', run: agentAlone },
  { name: 'kernel_attached', run: attached },
  { name: 'kernel_attached_asleep', run: attachedAsleep, serial: true },
  { name: 'kernel_attached_deadlock', run: attachedDeadlock },
  { name: 'kernel_neither', run: neither },
];
