// SPDX-License-Identifier: MIT
'use strict';
/* Flame graphs and the text report of a real recording. What an SVG does in a browser: svg_browser.js. */
const fs = require('fs');
const { frameIs, sum } = require('../lib/truth');
const { parseXml, walk } = require('../lib/xml');

async function recorded(context, program) {
  const result = await context.record(context.program(program), []);
  context.equal(result.code, 0, 'exit code');
  return context.report(result.trace);
}

const export_ = (context, ...args) => context.waitscope(['export', ...args, 'out.trace']);

/* "a;b;c 12", every line; returns [{stack, count}]. */
function folded(context, text) {
  return text.split('\n').filter((line) => line !== '').map((line) => {
    const match = /^(.+) (\d+)$/.exec(line);
    if (!context.expect(match, `no folded line: ${line}`)) return { stack: [], count: 0 };
    return { stack: match[1].split(';'), count: Number(match[2]) };
  });
}

async function foldedFormat(context) {
  const report = await recorded(context, 'mutex');
  const busy = report.locks.filter((lock) => !lock.idle);
  const waited = sum(busy, (lock) => lock.wait_ns.total - lock.wait_ns.idle) / 1000;
  for (const kind of ['wait', 'blame']) {
    const result = await export_(context, '-f', 'folded', '--kind', kind, '-o', '-');
    context.equal(result.code, 0, `exit code of ${kind}`);
    const rows = folded(context, result.stdout);
    const total = sum(rows, (row) => row.count);
    context.expect(Math.abs(total - waited) <= 0.01 * waited + rows.length, `${kind}: ${total} µs in all, the locks say ${waited}`);
    const name = kind === 'wait' ? 'wait_plainly' : 'hold_often';
    context.expect(rows.some((row) => row.stack.some((frame) => frameIs(frame, name))), `${kind}: no ${name}`);
    context.expect(rows.every((row) => !row.stack.includes('')), `${kind}: an empty frame`);
  }
  const idle = await export_(context, '-f', 'folded', '--idle', '-o', '-');
  context.expect(sum(folded(context, idle.stdout), (row) => row.count) > waited, '--idle adds nothing');
}

async function svgFormat(context) {
  await recorded(context, 'deep_stack_cxx');
  for (const args of [['--kind', 'wait'], ['--kind', 'blame'], ['--kind', 'wait', '--inverted']]) {
    const result = await export_(context, '-f', 'svg', ...args, '-o', '-');
    context.equal(result.code, 0, `exit code of ${args}`);
    const root = parseXml(result.stdout);
    context.equal(root.name, 'svg', 'root element');
    const titles = [];
    walk(root, (node) => {
      if (node.name === 'title') titles.push(node.text);
      for (const [key, value] of Object.entries(node.attributes)) {
        const outside = /^(xlink:)?href$/.test(key) && !value.startsWith('#');
        context.expect(!outside, `${key}="${value}" leads outside`);
      }
    });
    const name = args.includes('blame') ? 'deep::hold' : 'deep::wait_here';
    context.expect(titles.some((title) => title.includes(name)), `no frame's title names ${name}: ${titles.slice(0, 20)}`);
    const links = (result.stdout.match(/https?:\/\/[^"'\s<]+/g) || []).filter((link) => !link.startsWith('http://www.w3.org/'));
    context.equal(links.length, 0, `addresses on a network (${links})`);
  }
}

async function files(context) {
  await recorded(context, 'small_stack');
  let result = await export_(context, '-f', 'svg');
  context.equal(result.code, 0, 'exit code');
  context.expect(fs.existsSync(context.file('out.wait.svg')), `no out.wait.svg: ${fs.readdirSync(context.dir)}`);
  result = await export_(context, '-f', 'svg');
  context.refused(result, 1, /out\.wait\.svg.*exists/, 'an export over a file');
  result = await export_(context, '-f', 'svg', '--force');
  context.equal(result.code, 0, 'exit code with --force');
  result = await export_(context, '-f', 'svg', '-o', 'no/such/folder/x.svg');
  context.refused(result, 1, /No such file/, 'an export into no folder');
  result = await export_(context, '-f', 'nonsense');
  context.refused(result, 2, /nonsense/, 'a format that is none');
  result = await export_(context, '-f', 'folded', '--kind', 'nonsense');
  context.refused(result, 2, /nonsense/, 'a kind that is none');
}

/* Nothing to show is said, not drawn. */
async function nothing(context) {
  const result = await context.record('true', []);
  context.equal(result.code, 0, 'exit code');
  await context.report(result.trace);
  context.refused(await export_(context, '-f', 'svg', '-o', '-'), 1, /nothing/i, 'an export of nothing');
}

async function textReport(context) {
  const report = await recorded(context, 'mutex');
  const result = await context.waitscope(['report', 'out.trace']);
  context.equal(result.code, 0, 'exit code');
  context.equal(result.stderr, '', 'stderr');
  for (const name of ['ledger_lock', 'crowd_lock', 'hold_often', 'wait_plainly', 'mutex.c:'])
    context.expect(result.stdout.includes(name), `the report does not name ${name}`);
  const [first] = report.verdict.split(' ');
  context.expect(result.stdout.replace(/\s+/g, ' ').includes(report.verdict.replace(/\s+/g, ' ').slice(0, 60)), `the verdict (${first}…) is not in the report`);
  context.expect(!/\x1b/.test(result.stdout), 'colours where there is no terminal');
  const colours = await context.waitscope(['report', '--color', 'always', 'out.trace'], { env: { TERM: 'xterm' } });
  context.expect(/\x1b\[/.test(colours.stdout), 'no colours where they are wanted');
}

module.exports = [
  { name: 'export_folded', run: foldedFormat },
  { name: 'export_svg', run: svgFormat },
  { name: 'export_files', run: files },
  { name: 'export_nothing', run: nothing },
  { name: 'report_text', run: textReport },
];
