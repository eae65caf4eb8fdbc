// SPDX-License-Identifier: MIT
'use strict';
/* A case that runs a program of tests/programs/ bare and recorded, and compares the report with its truth. */
const os = require('os');
const { checkTruth } = require('./truth');

/* Two runs print the same truth but for what they measured. */
function normalise(volatile) {
  return (text) => JSON.stringify(JSON.parse(text), (key, value) =>
    (key === 'wait_ns' || volatile.includes(key) ? undefined : value));
}

/*
 * A row: name, program (the name by default), args, volatile (members that differ from run to run),
 * truth (options of checkTruth), except (losses that are no fault), more(context, report, truth, trace).
 */
function truthCase(row) {
  return {
    name: row.name,
    timeout: row.timeout,
    serial: row.serial,
    async run(context) {
      const program = context.program(row.program || row.name);
      const bare = await context.run(program, row.args || []);
      if (bare.timedOut) throw new Error('the bare program hangs');
      const recorded = await context.record(program, row.args || [], { stderr: bare.stderr, env: row.env, arguments: row.record });
      context.same(bare, recorded, normalise(row.volatile || []));
      if (recorded.stdout === '') throw new Error('the recorded program printed nothing');
      const truth = JSON.parse(recorded.stdout);
      const report = await context.report(recorded.trace, { except: row.except });
      context.complaints.push(...checkTruth(report, truth, row.truth));
      const wanted = truth.stacks || { no_information: 0, no_rule: 0, unreadable: 0 };
      context.equal(JSON.stringify(report.stacks.incomplete), JSON.stringify(wanted), 'stacks that end before their thread\'s start');
      if (report.target.exit_code !== undefined) context.equal(report.target.exit_code, recorded.code, 'target.exit_code');
      else context.equal(report.target.signal, os.constants.signals[recorded.signal], 'target.signal');
      context.expect(report.processes.some((process) => process.pid === report.target.pid), 'the target is none of the processes');
      context.expect(report.processes.every((process) => process.pid > 0 && process.exe !== ''), `a process is unknown: ${JSON.stringify(report.processes)}`);
      context.expect(report.target.command.startsWith(program), `target.command is ${report.target.command}`);
      if (row.more) await row.more(context, report, truth, recorded.trace);
    },
  };
}

module.exports = { truthCase };
