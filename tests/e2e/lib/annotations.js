// SPDX-License-Identifier: MIT
'use strict';
/* Programs that use include/waitscope.h: rows of cases/primitives.js. */

const WAIT_SHARE = 0.05;
const WAIT_NS = 500000;

function region(context, report, name, count, more = {}) {
  const found = report.regions.filter((row) => row.name === name);
  context.equal(found.length, 1, `regions called ${name}`);
  if (found.length !== 1) return null;
  context.equal(found[0].count, count, `count of ${name}`);
  context.equal(found[0].open, more.open || 0, `open ones of ${name}`);
  context.equal(found[0].threads, 1, `threads of ${name}`);
  return found[0];
}

function near(context, found, truth, what) {
  const allowed = Math.max(truth * WAIT_SHARE, WAIT_NS);
  context.expect(Math.abs(found - truth) <= allowed, `${what}: ${found} ns, in truth ${truth} (allowed ${Math.round(allowed)} off)`);
}

function annotated(context, report, truth) {
  const names = report.threads.map((thread) => thread.name).sort();
  context.equal(names.join(), ['chief', truth.clerk].sort().join(), 'names of threads');
  const transfer = region(context, report, 'transfer', truth.transfers);
  if (transfer) {
    near(context, transfer.ns.total, truth.transfer_ns, 'time in transfers');
    near(context, transfer.waited_ns.lock_wait, truth.transfer_wait_ns, 'lock waiting in transfers');
    context.expect(transfer.ns.p50 <= transfer.ns.p99 && transfer.ns.p99 <= transfer.ns.max, 'percentiles are out of order');
    context.equal(report.regions[0].name, 'transfer', 'the region that waited most');
  }
  const lookUp = region(context, report, 'look-up', truth.transfers);
  if (lookUp) context.equal(lookUp.waited_ns.lock_wait, 0, 'lock waiting in look-ups');
  region(context, report, 'left open', 1, { open: 1 });
  region(context, report, 'whole run', 1, { open: 1 });
  region(context, report, 'in a library', 1);
  region(context, report, '[unnamed]', 1);
  context.equal(report.regions.length, 6, 'names of regions');
  /* The place is still the one of its declaration. */
  const ledger = report.locks.find((lock) => lock.name === 'the ledger');
  context.expect(ledger && ledger.file && ledger.file.endsWith('annotated.c'), `where the ledger is declared: ${ledger && ledger.site}`);
}

function annotatedCxx(context, report) {
  region(context, report, 'post', 10);
  region(context, report, 'in a library', 1);
  region(context, report, 'whole run', 1, { open: 0 });
  context.expect(report.threads.some((thread) => thread.name === 'poster'), 'no thread is called poster');
  const nameless = report.locks.filter((lock) => lock.kind === 'mutex' && lock.acquisitions === 4000);
  context.equal(nameless.length, 1, 'locks that were taken 4000 times');
  context.expect(!/^account/.test(nameless[0].name), `the nameless lock is called ${nameless[0].name}`);
  /* The address had four tenants in turn; the two of one name were not one. */
  const tenants = report.locks.filter((lock) => lock.address === nameless[0].address && lock.kind === 'mutex');
  context.equal(tenants.map((lock) => lock.acquisitions).sort((a, b) => a - b).join(), '1,20,300,4000', 'acquisitions of the tenants');
}

function annotatedDeep(context, report) {
  region(context, report, 'deep', 32);
  region(context, report, 'after', 1);
  context.equal(report.loss.dropped.held_deep, 8, 'regions too deep to be kept');
}

const VOLATILE = ['transfer_ns', 'transfer_wait_ns'];

module.exports = [
  { name: 'annotated', volatile: VOLATILE, more: annotated, serial: true },
  { name: 'annotated_fixed', volatile: VOLATILE, more: annotated, serial: true },
  { name: 'annotated_cxx', more: annotatedCxx, truth: { split: true } },
  { name: 'annotated_deep', program: 'annotated', args: ['deep'], more: annotatedDeep, except: ['held_deep'] },
];
