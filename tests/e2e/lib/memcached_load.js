// SPDX-License-Identifier: MIT
'use strict';
/* A load for memcached: connections that set and get, each answer checked. */
const net = require('net');

/* Returns a promise of how many operations were answered; rejects on a wrong answer. */
function client(path, operations, seed) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(path);
    let done = 0;
    let buffer = '';
    let expected = null;
    const value = (index) => `value-${seed}-${index}-`.padEnd(64 + (index % 50) * 16, 'x');
    const next = () => {
      if (done === operations) {
        socket.end('quit\r\n');
        resolve(done);
        return;
      }
      /* Everybody shares 20 keys per connection, so that items and LRU lists are fought for. */
      const key = `key-${seed}-${(done >> 1) % 20}`;
      if (done % 2 === 0) {
        const data = value(done);
        expected = 'STORED\r\n';
        socket.write(`set ${key} 0 0 ${data.length}\r\n${data}\r\n`);
      } else {
        const data = value(done - 1);
        expected = `VALUE ${key} 0 ${data.length}\r\n${data}\r\nEND\r\n`;
        socket.write(`get ${key}\r\n`);
      }
    };
    socket.on('data', (chunk) => {
      buffer += chunk;
      if (buffer.length < expected.length) return;
      if (buffer !== expected) {
        reject(new Error(`memcached answered ${JSON.stringify(buffer.slice(0, 200))}`));
        socket.destroy();
        return;
      }
      buffer = '';
      done++;
      next();
    });
    socket.on('error', reject);
    socket.on('connect', next);
  });
}

async function load(path, connections, operations) {
  const all = [];
  for (let i = 0; i < connections; i++) all.push(client(path, operations, i));
  return (await Promise.all(all)).reduce((sum, count) => sum + count, 0);
}

module.exports = { load };
