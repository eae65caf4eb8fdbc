// SPDX-License-Identifier: MIT
'use strict';
/*
 * Opens flame graphs in Chromium as a reader would and tries all that they promise.
 *
 *   node svg_browser.js FILE.svg… [--screenshots FOLDER]
 *
 * What is expected is worked out from the file as it is without its script. Exit 1 if a check failed.
 */
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const { pathToFileURL } = require('url');
const { Browser } = require('./browser.js');

const WIDTH = 1280, HEIGHT = 800, NARROW = 700;

/* In the page: what the file says of its frames, and how they are drawn. */
function readFrames() {
  return Array.from(document.querySelectorAll('#frames>g'), (g) => {
    const title = g.querySelector('title'), [begin, total, , , row] = g.dataset.t.split(',').map(Number);
    const rect = g.querySelector('rect');
    return { lines: title ? title.textContent.split('\n') : null, begin, total, end: begin + total, row,
      place: g.dataset.l || null, merged: g.classList.contains('m0'),
      width: rect.getBoundingClientRect().width };
  });
}

function readDrawn() {
  return Array.from(document.querySelectorAll('#frames>g'), (g) => {
    const box = g.querySelector('rect').getBoundingClientRect(), text = g.querySelector('text');
    return { shown: getComputedStyle(g).display !== 'none', x: box.x, y: box.y, width: box.width,
      height: box.height, label: text ? text.textContent : '',
      labelWidth: text ? text.getComputedTextLength() : 0,
      up: g.classList.contains('up'), hit: g.classList.contains('hit'),
      focused: document.activeElement === g };
  });
}

function readPage() {
  const svg = document.documentElement, text = (id) => (document.getElementById(id) || {}).textContent;
  const tip = document.getElementById('tip'), reset = document.getElementById('reset');
  return { still: svg.dataset.still, width: svg.getBoundingClientRect().width, found: text('found'),
    details: text('details'), tip: tip && tip.getAttribute('visibility') === 'visible' ? tip.textContent : '',
    tipRight: tip ? tip.getBoundingClientRect().right : 0,
    tipBottom: tip ? tip.getBoundingClientRect().bottom : 0,
    bottom: Math.min(innerHeight, svg.getBoundingClientRect().bottom),
    reset: reset ? getComputedStyle(reset).display !== 'none' : false,
    typing: !!document.activeElement && document.activeElement.localName === 'input' };
}

/* As the page writes it: the same words for the same figures are part of what is promised. */
function share(part, whole) {
  const percent = 100 * part / whole;
  if (!part) return '0 %';
  if (percent < 0.01) return '< 0.01 %';
  return percent.toFixed(percent < 9.995 ? 2 : percent < 99.95 ? 1 : 0) + ' %';
}

/* Sum of what intervals cover, each nanosecond once. */
function covered(intervals) {
  let sum = 0, end = -1;
  for (const frame of intervals.slice().sort((a, b) => a.begin - b.begin)) {
    if (frame.end <= end) continue;
    sum += frame.end - Math.max(frame.begin, end);
    end = frame.end;
  }
  return sum;
}

/* The one that most frames have in their name or place. */
function commonLetter(frames) {
  const texts = frames.slice(1).filter(({ merged }) => !merged)
    .map(({ lines }) => lines.slice(0, -1).join('\n').toLowerCase());
  const having = (letter) => texts.filter((text) => text.includes(letter)).length;
  return Array.from('abcdefghijklmnopqrstuvwxyz').reduce((a, b) => (having(b) > having(a) ? b : a));
}

function nameOf(frame) {
  return frame.place ? frame.lines[0].slice(0, -frame.place.length - 3) : frame.lines[0];
}

async function tryFile(browser, file, screenshots) {
  const page = await browser.open();
  const url = pathToFileURL(path.resolve(file)).href;
  const shoot = (name) => page.screenshot(screenshots &&
    path.join(screenshots, path.basename(file, '.svg') + '-' + name + '.png'));
  const state = () => page.evaluate(readPage), drawn = () => page.evaluate(readDrawn);
  const still = (index) => page.until(async () => (await state()).still === String(index),
    `frame ${index} to fill the width`);
  const labelsFit = async (when) => {
    for (const [i, frame] of (await drawn()).entries()) {
      if (frame.shown && frame.label !== '') {
        assert(frame.labelWidth <= frame.width - 4, `label ${i} leaves its frame ${when}: ${frame.label}`);
      }
    }
  };
  const calm = { 'prefers-reduced-motion': 'reduce' };

  await page.resize(WIDTH, HEIGHT);
  await page.media({ ...calm, 'prefers-color-scheme': 'light' });

  const search = async (sought) => { // from an empty field
    const caseless = sought === sought.toLowerCase();
    const hits = frames.filter((frame, i) => {
      const text = frame.lines.slice(0, -1).join('\n');
      return i > 0 && !frame.merged && (caseless ? text.toLowerCase() : text).includes(sought);
    });
    assert(hits.length > 0, `somewhere is ${sought}`);
    await page.type(sought);
    const { found } = await state(), all = frames[0].total;
    assert(found.startsWith(`matched ${share(covered(hits), all)}, `), `the share of ${sought}: ${found}`);
    assert(found.endsWith(`, ${hits.length} frame${hits.length === 1 ? '' : 's'}`), found);
    assert.strictEqual((await drawn()).filter((frame) => frame.hit).length, hits.length);
  };

  // Without scripts it is a picture with a title on each frame.
  await page.scripts(false);
  await page.load(url);
  assert.strictEqual(await page.evaluate(() => document.documentElement.localName), 'svg');
  assert.strictEqual(await page.evaluate(() => document.getElementsByTagName('parsererror').length), 0);
  const frames = await page.evaluate(readFrames);
  assert(frames.length >= 2, 'a flame graph has more than its root');
  for (const frame of frames) {
    assert(frame.lines && / of all, \d+ waits?$/.test(frame.lines[frame.lines.length - 1]), 'a title for each');
  }
  assert((await drawn()).filter((frame) => frame.label !== '').length > 0, 'labels without scripts');
  await labelsFit('without scripts');
  await shoot('plain');
  await page.scripts(true);

  await page.load(url);
  await still(0);
  const svg = await page.evaluate(() => document.documentElement.outerHTML);
  assert.strictEqual((svg.match(/<script/g) || []).length, 1, 'one script, ours');
  assert.strictEqual(await page.evaluate(() =>
    document.querySelectorAll('image,use,a,iframe,link,[href],[onload],[onclick],[onerror]').length), 0);
  const first = await drawn(), whole = frames[0].total;
  assert(Math.abs(first[0].width - (WIDTH - 20)) < 1.5, 'the root is as wide as the window');
  assert.strictEqual((await state()).width, WIDTH);
  await labelsFit('at first');
  await shoot('light');

  // The widest frame that is not all of it; the deepest where all are.
  const visible = frames.map((frame, i) => ({ ...frame, i })).filter(({ i, merged }) =>
    i > 0 && !merged && first[i].shown && first[i].width >= 4);
  const narrower = visible.filter(({ total }) => total < 0.9 * whole);
  const target = narrower.length ? narrower.reduce((a, b) => (b.total > a.total ? b : a)) :
    visible[visible.length - 1];
  const isAbove = (frame) => frame.row < target.row && frame.begin <= target.begin && frame.end >= target.end;
  const bring = async (i) => { // into the window, and where it is then
    await page.evaluate((at) => document.querySelectorAll('#frames>g')[at].querySelector('rect')
      .scrollIntoView({ block: 'center' }), i);
    const box = (await drawn())[i];
    return [box.x + box.width / 2, box.y + box.height / 2];
  };

  // The tip.
  let [x, y] = await bring(target.i);
  await page.move(x, y);
  await page.until(async () => (await state()).tip !== '', 'the tip');
  let now = await state();
  const begins = (text, name) => text.replace(/\u2026/g, '').startsWith(name.slice(0, 60));
  assert(begins(now.tip, target.lines[0]), `the tip names the frame: ${now.tip}`);
  assert(now.tip.includes(share(target.total, whole) + ' of all'), `the tip tells the share: ${now.tip}`);
  assert(now.tipRight <= WIDTH && now.tipBottom <= now.bottom, 'the tip stays in the window');
  assert(begins(now.details, target.lines[0]), `so do the details: ${now.details}`);
  await shoot('tip');

  await page.move(WIDTH - 2, 2);
  now = await state();
  assert.strictEqual(now.tip, '', 'it goes when the mouse does');

  // Zoom by the mouse, smoothly, and back.
  await page.media({ 'prefers-reduced-motion': 'no-preference' });
  assert.strictEqual(now.reset, false);
  await page.click(x, y);
  await still(target.i);
  let after = await drawn();
  assert(Math.abs(after[target.i].width - (WIDTH - 20)) < 1.5, 'the clicked frame fills the width');
  frames.forEach((frame, i) => {
    assert.strictEqual(after[i].up, isAbove(frame), 'its ancestors, and no others, are dimmed');
    if (isAbove(frame)) assert(Math.abs(after[i].width - (WIDTH - 20)) < 1.5, 'and fill the width');
    const pixels = (Math.min(frame.end, target.end) - Math.max(frame.begin, target.begin)) *
      (WIDTH - 20) / target.total;
    if (pixels > 1) assert(Math.abs(after[i].width - pixels) < 1, `frame ${i} is drawn to scale`);
    assert.strictEqual(after[i].shown, pixels >= 0.3, `frame ${i} is there if it can be seen`);
  });
  await labelsFit('when zoomed');
  now = await state();
  assert(now.reset, 'there is a button to go back');
  await page.move(...await bring(target.i));
  await page.until(async () => (await state()).tip.includes('100 % of the zoomed'), 'the zoomed share');
  await shoot('zoomed');
  await page.media({ ...calm, 'prefers-color-scheme': 'light' });
  await page.press('Escape');
  await still(0);
  const same = (a, b) => a.every((frame, i) => frame.shown === b[i].shown && frame.label === b[i].label &&
    Math.abs(frame.width - b[i].width) < 0.02);
  assert(same(first, await drawn()), 'Esc brings the first picture back');
  assert.strictEqual((await state()).reset, false);

  // Search, by both ways into the field.
  await page.press('/');
  assert((await state()).typing, '/ goes to the field');
  await page.press('Escape');
  assert(!(await state()).typing, 'Esc leaves it');
  await page.press('f', { control: true });
  assert((await state()).typing, 'Ctrl-F goes to the field');
  await search(nameOf(target).trim());
  assert((await drawn())[target.i].hit);
  await shoot('searched');
  await page.press('Enter');
  assert((await drawn()).some((frame) => frame.focused && frame.hit), 'Enter goes to a match');
  await page.press('/');
  await page.type('no such function \u2603');
  assert((await state()).found.startsWith('matched 0 %, 0, 0 frames'), 'nothing found is said');
  await page.press('Escape');
  now = await state();
  assert.strictEqual(now.found, '', 'Esc ends the search');
  assert.strictEqual((await drawn()).filter((frame) => frame.hit).length, 0);
  assert(!now.typing);
  await page.press('/');
  await search(commonLetter(frames)); // matches upon matches
  await page.press('Escape');
  await page.press('/');
  await page.type('/(/');
  assert.strictEqual((await state()).found, 'not a regular expression');
  await page.press('Escape');

  // The same by the keys alone.
  await page.load(url);
  await still(0);
  for (let i = 0; i < 4 && !(await drawn())[0].focused; i++) await page.press('Tab');
  assert((await drawn())[0].focused, 'Tab comes to the root');
  const upward = first[1].y < first[0].y, deeper = upward ? 'ArrowUp' : 'ArrowDown';
  await page.press(deeper);
  let at = (await drawn()).findIndex((frame) => frame.focused);
  assert.strictEqual(frames[at].row, 1, 'an arrow goes to a child');
  await page.press(upward ? 'ArrowDown' : 'ArrowUp');
  assert((await drawn())[0].focused, 'the other one back');
  await page.press(deeper);
  const row = frames.map((frame, i) => i).filter((i) => frames[i].row === 1 && first[i].shown);
  if (row.length > 1) {
    await page.press('ArrowRight');
    at = (await drawn()).findIndex((frame) => frame.focused);
    assert.strictEqual(at, row[1], 'and along the row');
  }
  await page.press('Enter');
  await still(at);
  assert(Math.abs((await drawn())[at].width - (WIDTH - 20)) < 1.5, 'Enter zooms');
  await page.press('Escape');
  await still(0);

  // Other windows, other colours.
  await page.resize(NARROW, HEIGHT);
  await page.until(async () => Math.abs((await drawn())[0].width - (NARROW - 20)) < 1.5, 'the new width');
  await labelsFit('in a narrow window');
  await shoot('narrow');
  await page.resize(WIDTH, HEIGHT);
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const light = await ground();
  await page.media({ ...calm, 'prefers-color-scheme': 'dark' });
  assert.notStrictEqual(await ground(), light, 'there is a dark mode');
  await shoot('dark');

  assert.deepStrictEqual(page.requests, [url], 'one request, for the file itself');
  assert.deepStrictEqual(page.errors, [], 'no error and no dialog');
  await page.close();
  return frames.length;
}

async function main(argv) {
  const files = [];
  let screenshots = null;
  for (let i = 0; i < argv.length; i++) {
    if (argv[i] === '--screenshots') screenshots = argv[++i];
    else files.push(argv[i]);
  }
  if (files.length === 0 || screenshots === undefined) {
    console.error('usage: node svg_browser.js FILE.svg… [--screenshots FOLDER]');
    return 2;
  }
  if (screenshots) fs.mkdirSync(screenshots, { recursive: true });
  let failed = 0;
  const browser = new Browser();
  try {
    for (const file of files) {
      try {
        console.log(`ok: ${file}, ${await tryFile(browser, file, screenshots)} frames`);
      } catch (error) {
        failed++;
        console.log(`failed: ${file}: ${error.stack || error}`);
      }
    }
  } finally {
    await browser.close();
  }
  return failed > 0 ? 1 : 0;
}

main(process.argv.slice(2)).then((status) => { process.exitCode = status; }, (error) => {
  console.error(error);
  process.exitCode = 1;
});
