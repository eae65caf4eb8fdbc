// SPDX-License-Identifier: MIT
'use strict';
/* Compares a report with what a program of tests/programs/ knows about itself. Each check returns a list
 * of complaints. */
const path = require('path');
const { LOSSES } = require('./shape');

const WAIT_SHARE = 0.02;
const WAIT_NS = 200000;
const HOLDER_SHARE = 0.99;

/* The locks of a report that one lock of the truth stands for. */
function matching(report, truth) {
  return report.locks.filter((lock) => lock.kind === truth.kind &&
    (truth.by_site ? new RegExp(`\\b${truth.name}\\b`).test(lock.name) : lock.name.replace(/ \(.*\)$/, '') === truth.name));
}

const sum = (rows, value) => rows.reduce((total, row) => total + value(row), 0);

/* "function (file:line)" in its parts. */
function frameParts(text) {
  const match = /^(.*?)(?: \((.*):(\d+)\))?$/.exec(text);
  return { function: match[1], file: match[2] || null, line: match[3] ? Number(match[3]) : null };
}

/* A frame names the function if its qualified name ends with it. */
function frameIs(text, name) {
  const plain = frameParts(text).function.replace(/\[[^\]]*\]/g, '');
  const bare = plain.replace(/\(.*\)( const)?$/, '');
  return bare === name || bare.endsWith(`::${name}`) || bare.endsWith(` ${name}`);
}

function checkHolders(truth, locks, complaints) {
  const all = sum(truth.holders, (holder) => holder.count);
  const time = sum(truth.holders, (holder) => holder.wait_ns);
  if (all === 0) return;
  let counted = 0;
  let timed = 0;
  for (const holder of truth.holders.filter((row) => row.count > 0)) {
    const rows = locks.flatMap((lock) => lock.holders).filter((row) => row.stack.some((frame) => frameIs(frame, holder.function)));
    counted += Math.min(holder.count, sum(rows, (row) => row.count));
    timed += Math.min(holder.wait_ns, sum(rows, (row) => row.blame_ns));
    const lines = new Set([holder.taken_line, holder.released_line]);
    for (const row of rows) {
      const frame = frameParts(row.stack.find((text) => frameIs(text, holder.function)));
      if (!lines.has(frame.line))
        complaints.push(`${truth.name}: holder ${holder.function} is placed at line ${frame.line}, not ${[...lines]}`);
    }
  }
  if (counted < all * HOLDER_SHARE && !truth.crowd)
    complaints.push(`${truth.name}: the holder is right in ${counted} of ${all} waits: ` +
      JSON.stringify(locks.flatMap((lock) => lock.holders.map((row) => `${row.count} x ${row.stack[0]}`))));
  if (timed < time * (HOLDER_SHARE - WAIT_SHARE))
    complaints.push(`${truth.name}: the holder is right for ${timed} of ${time} ns`);
}

function checkWaiter(truth, locks, complaints) {
  if (!truth.waiter_function) return;
  const rows = locks.flatMap((lock) => lock.waiters);
  const right = rows.filter((row) => row.stack.some((frame) => frameIs(frame, truth.waiter_function)));
  /* Several functions may wait for one lock; the one named is the last that did. */
  if (right.length === 0)
    complaints.push(`${truth.name}: no waiter is ${truth.waiter_function}: ${JSON.stringify(rows.map((row) => row.stack[0]))}`);
}

/* nested: what a signal handler takes while it interrupts the agent itself may be lost, if that is said. */
function checkLock(report, truth, complaints, nested) {
  const locks = matching(report, truth);
  if (locks.length === 0) {
    complaints.push(`${truth.name}: no ${truth.kind} of this name in the report`);
    return;
  }
  const acquisitions = sum(locks, (lock) => lock.acquisitions);
  const least = truth.acquisitions - (nested ? report.loss.dropped.nested : 0);
  if (acquisitions < least || acquisitions > truth.acquisitions)
    complaints.push(`${truth.name}: ${acquisitions} acquisitions, in truth ${truth.acquisitions}`);
  if (truth.wait_ns === null) return;
  const contended = sum(locks, (lock) => lock.contended);
  if (contended !== truth.contended) complaints.push(`${truth.name}: ${contended} contended, in truth ${truth.contended}`);
  const waits = sum(locks, (lock) => lock.waits);
  if (waits !== truth.waits) complaints.push(`${truth.name}: ${waits} waits, in truth ${truth.waits}`);
  for (const key of ['total', 'counted']) {
    const wait = sum(locks, (lock) => lock.wait_ns[key]);
    const allowed = Math.max(truth.wait_ns * WAIT_SHARE, WAIT_NS);
    if (Math.abs(wait - truth.wait_ns) > allowed)
      complaints.push(`${truth.name}: wait ${key} ${wait} ns, in truth ${truth.wait_ns} (allowed ${Math.round(allowed)} off)`);
  }
  checkHolders(truth, locks, complaints);
  checkWaiter(truth, locks, complaints);
}

/* Locks that stand for one lock in each process must be one row there. */
function checkUnsplit(report, truth, complaints) {
  if (truth.by_site) return;
  const perProcess = new Map();
  for (const lock of matching(report, truth)) {
    const key = `${lock.pid} ${lock.address}`;
    perProcess.set(key, (perProcess.get(key) || 0) + 1);
  }
  for (const [key, count] of perProcess)
    if (count > 1) complaints.push(`${truth.name}: one lock is shown as ${count} (process and address ${key})`);
}

function checkTruth(report, truth, options = {}) {
  const complaints = [];
  for (const lock of truth.locks) {
    checkLock(report, lock, complaints, options.nested);
    if (!options.split) checkUnsplit(report, lock, complaints);
  }
  if (report.threads.length !== truth.threads && !options.anyThreads)
    complaints.push(`${report.threads.length} threads, in truth ${truth.threads}`);
  if (truth.processes !== undefined && report.processes.length !== truth.processes)
    complaints.push(`${report.processes.length} processes, in truth ${truth.processes}`);
  return complaints;
}

function checkLossless(report, except = []) {
  const complaints = LOSSES.filter((name) => report.loss.dropped[name] !== 0 && !except.includes(name))
    .map((name) => `${report.loss.dropped[name]} records lost: ${name}`);
  if (report.trace.state !== 'complete') complaints.push(`the trace is ${report.trace.state}`);
  if (report.trace.torn_bytes || report.trace.damaged_bytes || report.trace.bad_rows)
    complaints.push(`the trace is damaged: ${JSON.stringify(report.trace)}`);
  return complaints;
}

/* names in this order, leaf first, with nothing but other frames' inlined parts between them. */
function stackHas(stack, names) {
  let at = 0;
  for (const frame of stack) if (at < names.length && frameIs(frame, names[at])) at++;
  return at === names.length;
}

module.exports = { checkTruth, checkLossless, matching, frameParts, frameIs, stackHas, sum, base: path.basename };
