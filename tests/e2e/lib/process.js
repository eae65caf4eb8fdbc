// SPDX-License-Identifier: MIT
'use strict';
/* Runs programs and keeps what they said. Nothing here knows of waitscope. */
const { spawn } = require('child_process');

const OUTPUT_MAX = 128 << 20;

/*
 * Starts a program. options: cwd, env (added to ours; a null value removes), input (text for stdin),
 * stdin (true: left open, for the caller to write), timeout in ms (then SIGKILL to its process group), stdio.
 * Returns the child, with child.done: a promise of {code, signal, stdout, stderr, ms, timedOut, pid}.
 */
function start(command, args, options = {}) {
  const env = { ...process.env, ...options.env };
  for (const key of Object.keys(env)) if (env[key] === null) delete env[key];
  const begin = process.hrtime.bigint();
  const child = spawn(command, args, {
    cwd: options.cwd,
    env,
    detached: true, // a process group of its own, so that all of it can be ended
    stdio: options.stdio || ['pipe', 'pipe', 'pipe'],
  });
  const texts = { stdout: [], stderr: [] };
  let size = 0;
  for (const name of ['stdout', 'stderr']) {
    if (!child[name]) continue;
    child[name].on('data', (data) => {
      size += data.length;
      if (size <= OUTPUT_MAX) texts[name].push(data);
    });
  }
  if (child.stdin) {
    child.stdin.on('error', () => {}); // it may not read
    if (!options.stdin) child.stdin.end(options.input || '');
  }
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch (error) {
      child.kill('SIGKILL');
    }
  }, options.timeout || Number(process.env.E2E_TIMEOUT_MS) || 60000);
  child.text = (name) => Buffer.concat(texts[name]).toString('utf8');
  child.done = new Promise((resolve, reject) => {
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({
        code,
        signal,
        stdout: child.text('stdout'),
        stderr: child.text('stderr'),
        ms: Number(process.hrtime.bigint() - begin) / 1e6,
        timedOut,
        pid: child.pid,
      });
    });
  });
  return child;
}

function run(command, args, options) {
  return start(command, args, options).done;
}

/* Waits until condition() is truthy; polls. Throws with what was awaited after ms. */
async function until(what, condition, ms = 10000) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited ${ms} ms in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

module.exports = { start, run, until };
