// SPDX-License-Identifier: MIT
// A Node program with a problem, for `make demo`: three worker threads share a cache file that only
// one may rebuild at a time. They agree on who by a lock in shared memory (Atomics), and whoever has
// it hashes a password with the lock held, so the others stand still. Meanwhile all of them keep
// libuv's thread pool busy with files and checksums, and meet at the pool's own lock.
'use strict';

const { Worker, isMainThread, workerData, parentPort } = require('worker_threads');
const crypto = require('crypto');
const fs = require('fs');
const os = require('os');
const path = require('path');

const WORKERS = 3;
const REBUILDS = 25;
const FREE = 0;
const TAKEN = 1;

function cacheLock(word) {
  while (Atomics.compareExchange(word, 0, FREE, TAKEN) !== FREE) Atomics.wait(word, 0, TAKEN);
}

function cacheUnlock(word) {
  Atomics.store(word, 0, FREE);
  Atomics.notify(word, 0, 1);
}

function cacheRebuild(word, file, round) {
  cacheLock(word);
  const key = crypto.pbkdf2Sync('secret', 'salt' + round, 6000, 32, 'sha256');
  fs.writeFileSync(file, key);
  cacheUnlock(word);
}

function cacheRead(file) {
  return new Promise((resolve, reject) => {
    fs.readFile(file, (error, data) => (error ? reject(error) : resolve(data.length)));
  });
}

function keyDerive(round) {
  return new Promise((resolve, reject) => {
    crypto.pbkdf2('secret', 'salt' + round, 500, 32, 'sha256', (error) => (error ? reject(error) : resolve(1)));
  });
}

async function workerMain() {
  const word = new Int32Array(workerData.shared);
  let jobs = 0;
  for (let round = 0; round < REBUILDS; round++) {
    cacheRebuild(word, workerData.file, round);
    const pending = [];
    for (let i = 0; i < 12; i++) pending.push(cacheRead(workerData.file), keyDerive(i));
    jobs += (await Promise.all(pending)).length;
  }
  parentPort.postMessage(jobs);
}

async function main() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'workers-'));
  const file = path.join(folder, 'cache');
  fs.writeFileSync(file, 'empty');
  const shared = new SharedArrayBuffer(4);
  const counts = [];
  for (let i = 0; i < WORKERS; i++) {
    counts.push(
      new Promise((resolve, reject) => {
        const worker = new Worker(__filename, { workerData: { shared, file } });
        worker.on('message', resolve);
        worker.on('error', reject);
      })
    );
  }
  const jobs = (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
  fs.unlinkSync(file);
  fs.rmdirSync(folder);
  console.log(jobs + ' pool jobs done by ' + WORKERS + ' workers');
}

(isMainThread ? main() : workerMain()).catch((error) => {
  console.error(error);
  process.exit(1);
});
