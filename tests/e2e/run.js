#!/usr/bin/env node
// SPDX-License-Identifier: MIT
'use strict';
/*
 * The end-to-end tests: records real programs with the built waitscope and looks at what comes out.
 *
 *     run.js --list                  a line a case: name, timeout in seconds, serial or parallel
 *     run.js --build DIR CASE…       runs cases; the folder of one that fails is kept and named
 *
 * A case is a row of an array in cases/: {name, run(context), timeout, serial}. It fails when it throws
 * or complains; where only times are off, it is tried again (TRIES). What it needs and the machine does not have is a failure too.
 */
const fs = require('fs');
const path = require('path');
const { Context } = require('./lib/context');

const TIMEOUT_S = 60;
/* A program on a shared machine can lose its CPU between its own reading of the clock and the agent's, and
 * then the two differ by a time slice. Where nothing but such times are wrong, the case is tried again. */
const TRIES = 3;
const ABOUT_TIME = /\(allowed \d+ off\)$|the holder is right for \d+ of \d+ ns$/;

const cases = fs.readdirSync(path.join(__dirname, 'cases')).filter((name) => name.endsWith('.js')).sort()
  .flatMap((name) => require(path.join(__dirname, 'cases', name)));

async function tryCase(build, row) {
  const context = new Context(build, row.name);
  try {
    await row.run(context);
  } catch (error) {
    context.complaints.push(error.stack || String(error));
  }
  context.end();
  return context;
}

async function runCase(build, row) {
  let context = await tryCase(build, row);
  for (let n = 1; n < TRIES && context.complaints.length > 0 &&
       context.complaints.every((complaint) => ABOUT_TIME.test(complaint)); n++) {
    console.log(`${row.name}: off in time, once more: ${context.complaints.join('; ')}`);
    fs.rmSync(context.dir, { recursive: true, force: true });
    context = await tryCase(build, row);
  }
  if (context.complaints.length === 0) {
    fs.rmSync(context.dir, { recursive: true, force: true });
    console.log(`${row.name}: right`);
    return true;
  }
  console.log(`${row.name}: WRONG, see ${context.dir}`);
  for (const complaint of context.complaints) console.log(`  ${complaint.slice(0, 4000)}`);
  return false;
}

async function main(args) {
  if (args[0] === '--list') {
    for (const row of cases) console.log(`${row.name} ${row.timeout || TIMEOUT_S} ${row.serial ? 'serial' : 'parallel'}`);
    return 0;
  }
  if (args[0] !== '--build' || args.length < 3) {
    console.error('usage: run.js --list | run.js --build DIR CASE…');
    return 2;
  }
  let good = true;
  for (const name of args.slice(2)) {
    const row = cases.find((candidate) => candidate.name === name);
    if (!row) {
      console.error(`no case ${name}`);
      return 2;
    }
    good = (await runCase(path.resolve(args[1]), row)) && good;
  }
  return good ? 0 : 1;
}

main(process.argv.slice(2)).then((code) => process.exit(code));
