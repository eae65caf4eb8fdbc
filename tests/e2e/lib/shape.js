// SPDX-License-Identifier: MIT
'use strict';
/*
 * The whole shape of `report --json`: every member that must be there and none that must not, and what
 * holds between them. Throws with the path of the first thing that is wrong.
 */

const LOSSES = ['ring_full', 'no_slot', 'nested', 'too_long', 'held_deep', 'corrupt', 'collector'];
const STACKS_INCOMPLETE = ['no_information', 'no_rule', 'unreadable'];
const STATES = ['running', 'runnable', 'lock_wait', 'blocked', 'idle', 'unknown'];
const OFF_CPU = ['io', 'page_fault', 'sleep', 'poll', 'futex', 'stopped', 'other'];
const KINDS = ['mutex', 'rwlock', 'condition', 'barrier', 'spin', 'semaphore', 'join', 'sleep', 'poll', 'futex', 'unknown'];

const number = (value) => (Number.isSafeInteger(value) && value >= 0 ? null : 'is no integer of 0 or more');
/* Of today in nanoseconds: past what JavaScript keeps exactly. */
const integer = (value) => (Number.isInteger(value) && value >= 0 ? null : 'is no integer of 0 or more');
const string = (value) => (typeof value === 'string' ? null : 'is no string');
const text = (value) => (typeof value === 'string' && value.length > 0 ? null : 'is no text');
const boolean = (value) => (typeof value === 'boolean' ? null : 'is no boolean');
const nullable = (rule) => (value, path) => (value === null ? null : rule(value, path));
const optional = (rule) => Object.assign((value, path) => rule(value, path), { optional: true });
const oneOf = (values) => (value) => (values.includes(value) ? null : `is none of ${values.join(' ')}`);
const address = (value) => (/^0x[0-9a-f]+$/.test(value) ? null : 'is no address');
const site = (value) => (/^.+:\d+$/.test(value) ? null : 'is no file:line');
const signalName = (value) => (/^SIG[A-Z0-9+-]+$/.test(value) ? null : 'is no signal');

function fail(path, why) {
  throw new Error(`report.json: ${path} ${why}`);
}

function list(rule) {
  return (value, path) => {
    if (!Array.isArray(value)) return 'is no array';
    value.forEach((item, index) => check(item, rule, `${path}[${index}]`));
    return null;
  };
}

function object(members) {
  return (value, path) => {
    if (value === null || typeof value !== 'object' || Array.isArray(value)) return 'is no object';
    for (const key of Object.keys(members)) {
      if (key in value) check(value[key], members[key], `${path}.${key}`);
      else if (!members[key].optional) fail(`${path}.${key}`, 'is missing');
    }
    for (const key of Object.keys(value)) if (!(key in members)) fail(`${path}.${key}`, 'is not documented');
    return null;
  };
}

function check(value, rule, path) {
  const why = rule(value, path);
  if (why) fail(path, `${why}: ${JSON.stringify(value)}`);
}

const all = (names, rule) => object(Object.fromEntries(names.map((name) => [name, rule])));

const PROCESS = object({
  pid: number, parent_pid: number, command: string, exe: string, start_ns: number, end_ns: number,
  cpu_ns: number, exit_code: optional(number), signal: optional(number), signal_name: optional(nullable(signalName)),
});
const THREAD = object({
  pid: number, tid: number, name: string, role: text, start_ns: number, end_ns: number, cpu_ns: number,
  states_ns: all(STATES, number), lost: number,
  /* From the scheduler: all of these or none. */
  off_cpu_ns: optional(all(OFF_CPU, number)),
  off_cpu_calls: optional(list(object({ kind: oneOf(OFF_CPU), call: nullable(text), ns: number, count: number }))),
  run_queue: optional(object({
    delay_ns: number, worst_ns: number,
    ran_instead: list(object({ name: text, tid: nullable(number), ns: number, count: number })),
  })),
  switches: optional(all(['voluntary', 'preempted'], number)),
  woken_by: optional(list(object({ name: text, tid: nullable(number), ns: number, count: number, stack: list(text) }))),
  schedule: optional(all(['begin_ns', 'end_ns', 'lost', 'lost_ns'], number)),
});
const SCHEDULE = ['off_cpu_ns', 'off_cpu_calls', 'run_queue', 'switches', 'woken_by', 'schedule'];
const stackSide = (key) => list(object({ [key]: number, count: number, idle_ns: number, stack: list(text) }));
const LOCK = object({
  id: number, pid: number, name: text, kind: oneOf(KINDS), site: nullable(site), file: nullable(text),
  line: number, address, generation: number, event: boolean, idle: boolean, acquisitions: number,
  contended: number, read_acquisitions: optional(number), read_contended: optional(number),
  wait_ns: all(['total', 'max', 'p50', 'p99', 'idle', 'counted'], number), waits: number, open_waits: number,
  brief_waits: all(['count', 'ns'], number),
  hold_ns: object({ total: number, max: number, estimated: boolean }),
  holder_states_ns: optional(all([...STATES, 'handing_over'], number)),
  holder_doings: optional(list(object({
    state: oneOf(STATES), lock_id: nullable(number), lock: nullable(text), kind: nullable(oneOf(OFF_CPU)),
    call: nullable(text), ns: number,
  }))),
  waiters: stackSide('wait_ns'), holders: stackSide('blame_ns'),
});
const REGION = object({
  name: text, count: number, open: number, threads: number,
  ns: all(['total', 'mean', 'p50', 'p99', 'max'], number), waited_ns: all(['lock_wait', 'blocked', 'idle', 'runnable'], number),
});
const STACKS = object({ complete: number, truncated: number, unknown: number, incomplete: all(STACKS_INCOMPLETE, number) });
const REPORT = object({
  version: (value) => (value === 1 ? null : 'is not 1'),
  verdict: text,
  target: object({ command: optional(string), pid: optional(number), exit_code: optional(number), signal: optional(number), signal_name: optional(nullable(signalName)) }),
  duration_ns: number,
  processes: list(PROCESS),
  threads: list(THREAD),
  locks: list(LOCK),
  regions: list(REGION),
  loss: object({ emitted: number, stored: number, dropped: all(LOSSES, number) }),
  stacks: STACKS,
  kernel: optional(object({ off_cpu: number, off_cpu_lost: number, samples: number, stacks: STACKS })),
  overhead: all(['target_cpu_ns', 'agent_ns', 'agent_setup_ns', 'agent_slow_paths', 'collector_cpu_ns', 'file_bytes', 'events'], number),
  trace: object({
    state: oneOf(['recording', 'complete', 'stopped']), stop_errno: number, begin_ns: number, end_ns: number,
    wall_ns: integer, torn_bytes: number, damaged_bytes: number, bad_rows: number,
  }),
  environment: (value, path) => {
    if (value === null || typeof value !== 'object' || Array.isArray(value)) return 'is no object';
    for (const key of Object.keys(value)) check(value[key], string, `${path}.${key}`);
    return null;
  },
});

function descending(path, values) {
  values.forEach((value, index) => {
    if (index > 0 && value > values[index - 1]) fail(`${path}[${index}]`, 'is worse than the one before it');
  });
}

function checkThread(thread, path) {
  if (thread.end_ns < thread.start_ns) fail(path, 'ends before it starts');
  const sum = STATES.reduce((total, state) => total + thread.states_ns[state], 0);
  const life = thread.end_ns - thread.start_ns;
  if (sum !== life) fail(`${path}.states_ns`, `add up to ${sum}, but its life is ${life}`);
  const told = SCHEDULE.filter((name) => name in thread);
  if (told.length !== 0 && told.length !== SCHEDULE.length) fail(path, `has of the schedule only ${told}`);
  if (told.length > 0) checkSchedule(thread, path);
}

const sumOf = (rows) => rows.reduce((total, row) => total + row.ns, 0);

function checkSchedule(thread, path) {
  const { delay_ns: delay, worst_ns: worst, ran_instead: ran } = thread.run_queue;
  if (sumOf(ran) !== delay || worst > delay) fail(`${path}.run_queue`, 'does not add up');
  if (thread.schedule.end_ns > 0 && delay !== thread.states_ns.runnable) fail(`${path}.run_queue.delay_ns`, 'is not what is runnable');
  for (const kind of OFF_CPU)
    if (sumOf(thread.off_cpu_calls.filter((call) => call.kind === kind)) !== thread.off_cpu_ns[kind])
      fail(`${path}.off_cpu_calls`, `do not add up for ${kind}`);
  for (const rows of ['off_cpu_calls', 'woken_by']) descending(`${path}.${rows}`, thread[rows].map((row) => row.ns));
  descending(`${path}.run_queue.ran_instead`, ran.map((row) => row.ns));
}

function checkLock(lock, path) {
  const { total, max, p50, p99, idle } = lock.wait_ns;
  if (!(p50 <= p99 && p99 <= max && max <= total)) fail(`${path}.wait_ns`, 'is in no order');
  if (idle > total) fail(`${path}.wait_ns.idle`, 'is more than the total');
  if (lock.contended > lock.acquisitions) fail(`${path}.contended`, 'is more than all acquisitions');
  if (lock.kind !== 'rwlock' && 'read_acquisitions' in lock) fail(`${path}.read_acquisitions`, 'but it is no rwlock');
  if ((lock.file === null) !== (lock.site === null)) fail(`${path}.site`, 'and file disagree');
  if ('holder_states_ns' in lock) {
    const meanwhile = Object.values(lock.holder_states_ns).reduce((sum, ns) => sum + ns, 0);
    if (meanwhile !== total - idle) fail(`${path}.holder_states_ns`, `add up to ${meanwhile}, not ${total - idle}`);
    descending(`${path}.holder_doings`, lock.holder_doings.map((row) => row.ns));
  }
  descending(`${path}.waiters`, lock.waiters.map((row) => row.wait_ns));
  descending(`${path}.holders`, lock.holders.map((row) => row.blame_ns));
  for (const [side, key] of [['waiters', 'wait_ns'], ['holders', 'blame_ns']]) {
    const sum = lock[side].reduce((all_, row) => all_ + row[key], 0);
    if (sum > total * 1.001 + 1000) fail(`${path}.${side}`, `have ${sum} ns, more than the wait of ${total}`);
  }
}

function checkReport(report) {
  check(report, REPORT, 'report');
  const pids = new Set(report.processes.map((process) => process.pid));
  report.processes.forEach((process, index) => {
    if (process.end_ns < process.start_ns) fail(`processes[${index}]`, 'ends before it starts');
    if ('exit_code' in process && 'signal' in process) fail(`processes[${index}]`, 'ended twice');
  });
  report.threads.forEach((thread, index) => {
    if (!pids.has(thread.pid)) fail(`threads[${index}].pid`, 'is of no process');
    checkThread(thread, `threads[${index}]`);
  });
  report.locks.forEach((lock, index) => {
    if (!pids.has(lock.pid)) fail(`locks[${index}].pid`, 'is of no process');
    checkLock(lock, `locks[${index}] (${lock.name})`);
  });
  const ids = new Set(report.locks.map((lock) => lock.id));
  if (ids.size !== report.locks.length) fail('locks', 'share ids');
  const busy = report.locks.filter((lock) => !lock.idle && lock.wait_ns.total > 0);
  const firstIdle = report.locks.findIndex((lock) => lock.idle);
  if (firstIdle >= 0 && busy.some((lock) => report.locks.indexOf(lock) > firstIdle))
    fail('locks', 'rank idle waiting above contention');
  descending('locks (contended)', busy.map((lock) => lock.wait_ns.total - lock.wait_ns.idle));
  const { complete, truncated, unknown, incomplete } = report.stacks;
  const stacks = STACKS_INCOMPLETE.reduce((sum, why) => sum + incomplete[why], complete + truncated + unknown);
  const events = report.locks.reduce((sum, lock) => sum + (lock.kind === 'futex' ? 0 : lock.open_waits), report.overhead.events);
  if (stacks !== events) fail('stacks', `are ${stacks} in ${events} waits and releases`);
  const dropped = LOSSES.reduce((sum, name) => sum + report.loss.dropped[name], 0);
  if (report.loss.emitted !== report.loss.stored + dropped)
    fail('loss', `emitted ${report.loss.emitted} is not stored ${report.loss.stored} + dropped ${dropped}`);
}

module.exports = { checkReport, LOSSES };
