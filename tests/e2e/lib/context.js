// SPDX-License-Identifier: MIT
'use strict';
/* What a case has at hand: a folder of its own, the programs under test, and ways to complain. */
const fs = require('fs');
const os = require('os');
const path = require('path');
const { run, start, until } = require('./process');
const { checkReport } = require('./shape');
const { checkLossless } = require('./truth');

const SUMMARY_LINES_MAX = 8;

class Context {
  constructor(build, name) {
    this.build = build;
    this.bin = path.join(build, 'bin', 'waitscope');
    this.agent = path.join(build, 'lib', 'libwaitscope-agent.so');
    this.dir = fs.mkdtempSync(path.join(os.tmpdir(), `waitscope-e2e-${name.replace(/\W+/g, '-')}-`));
    this.complaints = [];
    this.started = [];
    for (const file of [this.bin, this.agent])
      if (!fs.existsSync(file)) throw new Error(`${file} is not there: build it first`);
  }

  file(name) {
    return path.join(this.dir, name);
  }

  write(name, data, mode) {
    fs.writeFileSync(this.file(name), data, { mode: mode || 0o644 });
    if (mode) fs.chmodSync(this.file(name), mode);
    return this.file(name);
  }

  program(name) {
    const file = path.join(this.build, 'tests', 'programs', name);
    if (!fs.existsSync(file)) throw new Error(`${file} is not there: build it first`);
    return file;
  }

  /* The path of a program of the system; a machine without it cannot run the case, and that is a failure. */
  tool(name) {
    for (const folder of (process.env.PATH || '').split(':').concat('/usr/sbin', '/sbin')) {
      const file = path.join(folder, name);
      try {
        fs.accessSync(file, fs.constants.X_OK);
        return file;
      } catch (error) {
        continue;
      }
    }
    throw new Error(`this machine has no ${name}: install it (scripts/install-packages)`);
  }

  expect(condition, why) {
    if (!condition) this.complaints.push(why);
    return Boolean(condition);
  }

  equal(found, wanted, what) {
    return this.expect(found === wanted, `${what}: ${JSON.stringify(found)}, wanted ${JSON.stringify(wanted)}`);
  }

  /* Runs something in the case's folder. */
  run(command, args, options = {}) {
    return this.begin(command, args, options).done;
  }

  begin(command, args, options = {}) {
    const child = start(command, args, { cwd: this.dir, ...options });
    this.started.push(child);
    return child;
  }

  waitscope(args, options) {
    return this.run(this.bin, args, options);
  }

  /* Ends what a case that failed in the middle has left running. */
  end() {
    for (const child of this.started) {
      if (!child.pid || child.exitCode !== null || child.signalCode !== null) continue;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch (error) {
        continue;
      }
    }
  }

  until(what, condition, ms) {
    return until(what, condition, ms);
  }

  /*
   * Records a command. options: trace, arguments (of record), stderr (what the target itself will say
   * there), and those of run. The result has trace and said: our own lines on stderr.
   */
  async record(command, args = [], options = {}) {
    const trace = options.trace || this.file('out.trace');
    const result = await this.waitscope(['record', '-o', trace, ...(options.arguments || []), '--', command, ...args], options);
    return this.finish(result, trace, options.stderr);
  }

  finish(result, trace, stderr = '') {
    result.trace = trace;
    this.expect(!result.timedOut, 'it ran too long and was killed');
    const whole = this.expect(result.stderr.startsWith(stderr),
      `the target's stderr: ${JSON.stringify(result.stderr)}, wanted first ${JSON.stringify(stderr)}`);
    result.said = result.stderr.slice(whole ? stderr.length : 0).split('\n').filter((line) => line !== '');
    this.expect(result.said.length <= SUMMARY_LINES_MAX, `${result.said.length} lines of our own on stderr: ${result.said.join(' | ')}`);
    return result;
  }

  /* The report of a trace, its shape checked. lossless: complain about any loss, but
   * for the reasons in except. incomplete: the recording was cut short, and one line must say so. */
  async report(trace, { lossless = true, except = [], incomplete = false } = {}) {
    const result = await this.waitscope(['report', '--json', trace]);
    if (result.code !== 0) throw new Error(`report --json ended with ${result.code}: ${result.stderr}`);
    if (incomplete) this.expect(/^waitscope: [^\n]*incomplete[^\n]*\n$/.test(result.stderr), `not said in one line that the trace is incomplete: ${result.stderr}`);
    else if (lossless) this.equal(result.stderr, '', 'report --json on stderr');
    fs.writeFileSync(`${trace}.json`, result.stdout);
    const report = JSON.parse(result.stdout);
    checkReport(report);
    if (lossless) this.complaints.push(...checkLossless(report, except));
    return report;
  }

  /* Bare and recorded must not differ in what the user sees; stderr is compared by record(). */
  same(bare, recorded, normalise = (text) => text) {
    this.equal(recorded.code, bare.code, 'exit code');
    this.equal(recorded.signal, bare.signal, 'signal');
    this.equal(normalise(recorded.stdout), normalise(bare.stdout), 'stdout');
  }

  /* A failure of ours: one line on stderr, this exit code, and the line says this. */
  refused(result, code, pattern, what) {
    const lines = result.stderr.split('\n').filter((line) => line !== '');
    this.equal(result.code, code, `${what}: exit code`);
    this.equal(lines.length, 1, `${what}: lines on stderr (${JSON.stringify(lines)})`);
    this.expect(/^waitscope: /.test(lines[0] || ''), `${what}: the line is not ours: ${lines[0]}`);
    this.expect(pattern.test(lines[0] || ''), `${what}: the line does not say ${pattern}: ${lines[0]}`);
  }
}

module.exports = { Context };
