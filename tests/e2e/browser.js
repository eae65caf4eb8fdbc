// SPDX-License-Identifier: MIT
'use strict';
/*
 * Drives a headless Chromium through the DevTools protocol over a pipe: Node's own modules only.
 * With --remote-debugging-pipe the browser reads commands from its descriptor 3 and writes answers
 * and events to 4, each a JSON text that ends with a NUL.
 *
 * The browser is $CHROMIUM, else the first of NAMES on the PATH.
 */
const { spawn } = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');

const NAMES = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome'];
const ANSWER_MS = 30000;

function find() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const name of NAMES) {
    for (const folder of (process.env.PATH || '').split(':')) {
      const file = path.join(folder, name);
      try {
        fs.accessSync(file, fs.constants.X_OK);
        return file;
      } catch (error) {
        continue;
      }
    }
  }
  throw new Error('no Chromium found: install the package chromium or set CHROMIUM');
}

class Browser {
  constructor() {
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'waitscope-browser-'));
    this.process = spawn(find(), [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage',
      '--no-first-run', '--disable-background-networking', '--disable-component-update',
      '--disable-sync', '--disable-extensions', '--hide-scrollbars', '--mute-audio',
      '--force-color-profile=srgb', '--remote-debugging-pipe',
      '--user-data-dir=' + this.folder, 'about:blank',
    ], { stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'] });
    this.words = '';
    this.waiting = new Map();
    this.listeners = [];
    this.last = 0;
    this.process.stderr.on('data', (data) => { this.words = (this.words + data).slice(-4000); });
    this.process.on('error', (error) => this.fail(error));
    this.process.on('exit', (code, signal) => {
      this.gone = true;
      this.fail(new Error(`the browser ended (${signal || code}):\n${this.words}`));
    });
    for (const stream of this.process.stdio.slice(3)) stream.on('error', (error) => this.fail(error));
    let rest = [];
    this.process.stdio[4].on('data', (data) => {
      let begin = 0;
      for (let end = data.indexOf(0); end >= 0; end = data.indexOf(0, begin)) {
        rest.push(data.subarray(begin, end));
        this.receive(JSON.parse(Buffer.concat(rest).toString()));
        rest = [];
        begin = end + 1;
      }
      rest.push(data.subarray(begin));
    });
  }

  fail(error) {
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }

  receive(message) {
    if (message.id === undefined) {
      for (const listener of this.listeners) listener(message.method, message.params, message.sessionId);
      return;
    }
    const waiting = this.waiting.get(message.id);
    if (!waiting) return;
    this.waiting.delete(message.id);
    if (message.error) waiting.reject(new Error(`${waiting.method}: ${message.error.message}`));
    else waiting.resolve(message.result);
  }

  send(method, params, sessionId) {
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        reject(new Error(`${method}: no answer in ${ANSWER_MS} ms`));
      }, ANSWER_MS);
      this.waiting.set(id, {
        method,
        resolve: (result) => { clearTimeout(timer); resolve(result); },
        reject: (error) => { clearTimeout(timer); reject(error); },
      });
      this.process.stdio[3].write(JSON.stringify({ id, method, params: params || {}, sessionId }) + '\0');
    });
  }

  async open() {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    const page = new Page(this, targetId, sessionId);
    await page.start();
    return page;
  }

  async close() {
    if (!this.gone) {
      const ended = new Promise((resolve) => this.process.once('exit', resolve));
      this.send('Browser.close').catch(() => {});
      const timer = setTimeout(() => this.process.kill('SIGKILL'), 5000);
      await ended;
      clearTimeout(timer);
    }
    fs.rmSync(this.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

/* One tab. `requests` are the addresses it asked for, `errors` what went wrong in it, in words. */
class Page {
  constructor(browser, targetId, sessionId) {
    this.browser = browser;
    this.targetId = targetId;
    this.sessionId = sessionId;
    this.requests = [];
    this.errors = [];
    this.loads = 0;
    browser.listeners.push((method, params, from) => {
      if (from === sessionId) this.hear(method, params);
    });
  }

  hear(method, params) {
    if (method === 'Page.loadEventFired') this.loads++;
    else if (method === 'Network.requestWillBeSent') this.requests.push(params.request.url);
    else if (method === 'Runtime.exceptionThrown') {
      const details = params.exceptionDetails;
      this.errors.push((details.exception && details.exception.description) || details.text);
    } else if (method === 'Runtime.consoleAPICalled' && params.type === 'error') {
      this.errors.push('console.error: ' + params.args.map((argument) => argument.value).join(' '));
    } else if (method === 'Log.entryAdded' && params.entry.level === 'error') {
      this.errors.push(params.entry.text);
    } else if (method === 'Page.javascriptDialogOpening') {
      this.errors.push('a dialog opened: ' + params.message);
      this.send('Page.handleJavaScriptDialog', { accept: false }).catch(() => {});
    }
  }

  send(method, params) {
    return this.browser.send(method, params, this.sessionId);
  }

  async start() {
    for (const domain of ['Page', 'Runtime', 'Network', 'Log']) await this.send(domain + '.enable');
  }

  resize(width, height) {
    return this.send('Emulation.setDeviceMetricsOverride',
      { width, height, deviceScaleFactor: 1, mobile: false });
  }

  async close() {
    await this.browser.send('Target.closeTarget', { targetId: this.targetId });
  }

  /* { 'prefers-color-scheme': 'dark' } */
  media(features) {
    return this.send('Emulation.setEmulatedMedia',
      { features: Object.entries(features).map(([name, value]) => ({ name, value })) });
  }

  scripts(enabled) {
    return this.send('Emulation.setScriptExecutionDisabled', { value: !enabled });
  }

  async load(url) {
    const loads = this.loads;
    this.requests.length = 0;
    const { errorText } = await this.send('Page.navigate', { url });
    if (errorText) throw new Error(`${url}: ${errorText}`);
    await this.until(() => this.loads > loads, 'the page to load');
  }

  /* The value of an expression, or of a function called in the page with JSON arguments. */
  async evaluate(what, ...values) {
    const expression = typeof what === 'function' ?
      `(${what})(${values.map((value) => JSON.stringify(value)).join(',')})` : what;
    const { result, exceptionDetails } = await this.send('Runtime.evaluate',
      { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails) {
      throw new Error((exceptionDetails.exception || {}).description || exceptionDetails.text);
    }
    return result.value;
  }

  async until(condition, what, limit = 10000) {
    for (const begin = Date.now(); !(await condition());) {
      if (Date.now() - begin > limit) throw new Error(`waited ${limit} ms in vain for ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async move(x, y) {
    await this.send('Input.dispatchMouseEvent', { type: 'mouseMoved', x, y });
  }

  async click(x, y) {
    await this.move(x, y);
    for (const type of ['mousePressed', 'mouseReleased']) {
      await this.send('Input.dispatchMouseEvent', { type, x, y, button: 'left', clickCount: 1 });
    }
  }

  /* A key by its DOM name: 'Enter', 'ArrowUp', '/', 'f'; control: with Ctrl held. */
  async press(key, { control = false, shift = false } = {}) {
    const codes = { Enter: 13, Escape: 27, Tab: 9, ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39,
      ArrowDown: 40, Home: 36, Backspace: 8 };
    const text = key === 'Enter' ? '\r' : key.length === 1 && !control ? key : undefined;
    const event = { key, text, modifiers: (control ? 2 : 0) + (shift ? 8 : 0),
      code: key.length === 1 && /[a-z]/i.test(key) ? 'Key' + key.toUpperCase() : key,
      windowsVirtualKeyCode: codes[key] || key.toUpperCase().charCodeAt(0) };
    await this.send('Input.dispatchKeyEvent', { type: text ? 'keyDown' : 'rawKeyDown', ...event });
    await this.send('Input.dispatchKeyEvent', { type: 'keyUp', ...event });
  }

  type(text) {
    return this.send('Input.insertText', { text });
  }

  async screenshot(file) {
    const { data } = await this.send('Page.captureScreenshot', { format: 'png' });
    const png = Buffer.from(data, 'base64');
    if (file) fs.writeFileSync(file, png);
    return png;
  }
}

module.exports = { Browser };
