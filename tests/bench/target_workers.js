// SPDX-License-Identifier: MIT
// JavaScript, builtins, native code and the thread pool, in two workers and the main thread, for ever.
'use strict';
const { Worker, isMainThread } = require('worker_threads');
const crypto = require('crypto');
const fs = require('fs');

function deep(frames) {
    if (frames > 0)
        return deep(frames - 1) + 1;
    let sum = 0;
    for (let i = 0; i < 20000; i++)
        sum += Math.sqrt(i);
    return JSON.parse(JSON.stringify({ numbers: [1, 2, 3, sum] })).numbers[3];
}

function turn() {
    deep(15);
    [5, 3, 9].map((x) => x * 2).sort((a, b) => a - b);
    fs.readFile(__filename, () => {});
    crypto.pbkdf2('a', 'b', 200, 32, 'sha256', () => setTimeout(turn, 1));
}

if (isMainThread)
    for (let i = 0; i < 2; i++)
        new Worker(__filename);
turn();
turn();
