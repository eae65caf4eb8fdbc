// SPDX-License-Identifier: MIT
'use strict';
/* One program for each primitive: what it knows of itself against what the report says. */
const { frameIs, matching, stackHas, sum } = require('../lib/truth');
const { truthCase } = require('../lib/truth_case');

function wholeStack(context, report, truth) {
  const lock = matching(report, truth.locks[0])[0];
  if (!lock) return;
  const right = lock.waiters.filter((row) => stackHas(row.stack, truth.waiter_stack));
  context.equal(sum(right, (row) => row.count), truth.locks[0].waits, 'waits with the whole stack');
}

function threadNames(context, report, truth) {
  const names = report.threads.map((thread) => thread.name);
  for (const name of truth.names) context.expect(names.includes(name), `no thread is called ${name}: ${names}`);
  const roles = report.threads.map((thread) => thread.role);
  context.expect(roles.includes('main'), `no thread is main: ${roles}`);
  for (const routine of truth.routines) context.expect(roles.includes(routine), `no thread's role is ${routine}: ${roles}`);
  for (const lock of report.locks.filter((row) => ['join', 'sleep'].includes(row.kind)))
    context.expect(lock.idle, `waiting in a ${lock.kind} is taken for contention`);
}

function generations(context, report, truth) {
  const shelves = report.locks.filter((lock) => /\bshelf_open\b/.test(lock.name));
  context.equal(shelves.length, truth.shelves, 'locks made in shelf_open');
  if (!truth.generations) return;
  const reused = report.locks.filter((lock) => /\bgeneration_open\b/.test(lock.name)).map((lock) => lock.acquisitions);
  context.equal(String(reused.sort((a, b) => a - b)), String(truth.generations), 'acquisitions by generation of one address');
}

function cxxNames(context, report, truth) {
  const lock = matching(report, truth.locks[0])[0];
  if (!lock) return;
  const frames = lock.waiters.flatMap((row) => row.stack);
  for (const name of truth.functions) {
    const plain = (frame) => frame.replace(/\([^)]*\).*$/, '').trim();
    context.expect(frames.some((frame) => frame.startsWith(`${name}(`) || frame.startsWith(`${name} (`) || plain(frame).endsWith(name)),
      `${name} is on no waiter's stack: ${[...new Set(frames)].join('; ')}`);
  }
}

function mutexLeads(context, report, truth) {
  context.equal(report.locks[0].name, 'ledger_lock', 'the first lock');
  context.expect(report.verdict.includes('ledger_lock'), `the verdict is not about ledger_lock: ${report.verdict}`);
  const ready = report.locks.find((lock) => lock.name === 'queue_ready');
  context.expect(ready && ready.idle, 'waiting for work is not idle');
  const workers = report.threads.filter((thread) => thread.role === truth.idle_routine);
  context.equal(workers.length, 4, 'threads that are pool workers');
  for (const worker of workers)
    context.expect(worker.states_ns.idle > 0.8 * (worker.end_ns - worker.start_ns), `a worker was hardly idle: ${JSON.stringify(worker)}`);
}

function childCounts(context, report) {
  const children = report.locks.filter((lock) => lock.name === 'child_lock').map((lock) => lock.acquisitions);
  context.equal(String(children.sort((a, b) => a - b)), '600,700,800,900', 'acquisitions of child_lock in each child');
  const root = report.target.pid;
  for (const process of report.processes)
    context.expect(process.pid === root || process.parent_pid === root, `a child's parent is ${process.parent_pid}`);
}

/* What the report says of stacks that are cut off: how many, and in what. */
async function alleys(context, report, truth, trace) {
  const { no_information: bare, no_rule: lost, unreadable: beyond } = truth.stacks;
  const text = (await context.waitscope(['report', trace])).stdout.replace(/\s+/g, ' ');
  const said = `${bare + lost + beyond} end before the thread's start: ${bare} in code without call frame information, ` +
    `${lost} in code whose call frame information cannot be followed, ${beyond} where the stack could not be read`;
  context.expect(text.includes(said), `not said in the report: ${said}`);
  for (const [name, count] of [['call_without_information', bare], ['call_without_rule', lost], ['call_beyond', beyond]]) {
    const rows = report.locks.flatMap((lock) => lock.waiters).filter((row) => frameIs(row.stack[row.stack.length - 1], name));
    context.equal(sum(rows, (row) => row.count), count, `waits whose stack ends in ${name}`);
  }
}

/* The same of a program where nothing is. */
async function noAlleys(context, report, truth, trace) {
  mutexLeads(context, report, truth);
  const text = (await context.waitscope(['report', trace])).stdout.replace(/\s+/g, ' ');
  context.expect(/ [\d ]+ taken, none ends before the thread's start/.test(text), 'not said in the report that all stacks are whole');
}

/* Each child of _Fork() is a process of its own, with counts of its own. */
function bareChildCounts(context, report) {
  const counts = report.locks.filter((lock) => lock.name === 'lock').map((lock) => lock.acquisitions);
  context.equal(String(counts.sort((a, b) => a - b)), '20,100,200,300', 'acquisitions of lock in each process');
}

module.exports = [
  { name: 'mutex', serial: true },
  { name: 'mutex_fixed', serial: true },
  { name: 'rwlock', serial: true },
  { name: 'condition', serial: true, volatile: ['acquisitions', 'reacquisitions'] },
  { name: 'barrier', serial: true },
  { name: 'spin', serial: true },
  { name: 'semaphore', serial: true },
  { name: 'c11', serial: true },
  { name: 'threads', more: threadNames },
  { name: 'many_locks', serial: true, more: generations },
  /* It makes records by the megabyte: the ring holds them all, whatever the collector is kept from. */
  { name: 'heap_locks', serial: true, timeout: 120, more: generations, env: { WAITSCOPE_AGENT: 'ring=16777216' } },
  { name: 'nested_locks', except: ['held_deep'] },
  { name: 'counts', serial: true },
  { name: 'contended_counts', except: ['ring_full'] },
  { name: 'thread_storm', timeout: 120 },
  { name: 'blind_alley', serial: true, more: alleys },
  { name: 'deep_stack', serial: true, more: wholeStack },
  { name: 'deep_stack_cxx', serial: true, more: cxxNames },
  { name: 'std_sync', serial: true },
  { name: 'idle_pool', serial: true, more: noAlleys },
  { name: 'robust', serial: true },
  { name: 'small_stack', serial: true },
  { name: 'signals', volatile: ['acquisitions'], except: ['ring_full', 'nested'], truth: { nested: true } },
  { name: 'signal_birth', volatile: ['acquisitions'], except: ['nested'], truth: { nested: true } },
  { name: 'plugin_host', serial: true, more: wholeStack },
  { name: 'forks', volatile: ['acquisitions'], truth: { anyThreads: true }, timeout: 120, more: childCounts },
  { name: 'bare_fork', truth: { anyThreads: true }, more: bareChildCounts },
].concat(require('../lib/annotations')).map(truthCase).concat(['return', 'exit', '_exit', 'quick_exit', 'abort', 'kill', 'segv', 'term', 'exit_thread', 'main_exits', 'close_all']
  .map((how) => truthCase({ name: `ending_${how}`, program: 'endings', args: [how], serial: true })));
