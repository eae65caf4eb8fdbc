// SPDX-License-Identifier: MIT
'use strict';
/*
 * The kernel's side and pid namespaces, as containers have them: the target in one of its own, the collector in one,
 * both. The scheduler knows threads by their numbers in the initial one. It takes root.
 */
const POINTS = 3; /* of a hundred, that shares may be off */

const life = (thread) => thread.end_ns - thread.start_ns;
const states = (thread) => Object.values(thread.states_ns).reduce((all, ns) => all + ns, 0);

/* A command line that runs the rest of it as process 1 of a pid namespace, with a /proc of that. */
const inside = (context) => [context.tool('unshare'), '-pf', '--mount-proc'];

/* Records behind outer what runs behind inner. */
async function recordBetween(context, outer, inner, program, args = []) {
  const trace = context.file('out.trace');
  const [command, ...rest] = [...outer, context.bin, 'record', '-o', trace, ...args, '--', ...inner, program];
  const recorded = context.finish(await context.run(command, rest), trace);
  context.equal(recorded.code, 0, `exit status (${recorded.stderr})`);
  context.expect(!/without the kernel's side/.test(recorded.stderr), `no kernel side: ${recorded.stderr}`);
  return { recorded, told: await context.report(trace) };
}

/* Threads of their own numbers, once each, with what they did and who woke them; and nobody else's. */
async function seen(context, outer, inner, args) {
  const { recorded, told } = await recordBetween(context, outer, inner, context.program('states'), args);
  for (const process of told.processes)
    context.expect(/\/(states|unshare)$/.test(process.exe), `a process that was not to be recorded: ${process.exe}`);
  for (const truth of JSON.parse(recorded.stdout)) {
    const found = told.threads.filter((thread) => thread.name === truth.name);
    if (!context.equal(found.length, 1, `threads called ${truth.name}`)) continue;
    const [thread] = found;
    const near = (what, ns, wanted) => context.expect(Math.abs(ns - wanted) <= (POINTS / 100) * life(thread),
      `${truth.name}: ${what} ${ns} ns of ${life(thread)}, in truth ${wanted} (allowed ${Math.round((POINTS / 100) * life(thread))} off)`);
    context.equal(thread.tid, truth.tid, `tid of ${truth.name}`);
    context.equal(states(thread), life(thread), `${truth.name}: sum of states`);
    context.equal(thread.states_ns.unknown, 0, `${truth.name}: unknown`);
    if (/^hog/.test(truth.name)) {
      near('running', thread.states_ns.running, truth.cpu);
      context.expect(thread.run_queue.ran_instead.every((row) => row.name), `${truth.name}: what ran instead has no name`);
    }
    if (truth.name === 'sleeper') context.expect(thread.states_ns.idle >= 180e6 /* of 20 naps of 10 ms */, `the sleeper slept ${thread.states_ns.idle} ns`);
    if (truth.name === 'writer') context.expect(thread.off_cpu_ns.io > 0, 'the writer did not wait for storage');
    if (truth.name === 'waiter') context.expect(thread.woken_by.some((row) => row.name === 'sleeper'), `the waiter is woken by ${JSON.stringify(thread.woken_by.map((row) => row.name))}`);
  }
  context.expect(told.kernel.stacks.complete > 20 * (told.kernel.stacks.unknown + told.kernel.stacks.truncated), `stacks: ${JSON.stringify(told.kernel.stacks)}`);
  context.expect(told.kernel.samples > 0, 'no sample');
  return told;
}

async function bothSides(context, outer, inner) {
  const told = await seen(context, outer, inner, ['--kernel']);
  const lock = told.locks.find((row) => row.name === 'bed_lock');
  if (!context.expect(lock, 'bed_lock is not in the report')) return;
  const waited = lock.wait_ns.total - lock.wait_ns.idle;
  context.expect(lock.holder_states_ns.idle + lock.holder_states_ns.runnable + lock.holder_states_ns.handing_over > 0.8 * waited,
    `its holder slept for ${JSON.stringify(lock.holder_states_ns)} of ${waited} ns`);
}

const target = (context) => bothSides(context, [], inside(context));
const collector = (context) => bothSides(context, inside(context), []);
const both = (context) => bothSides(context, inside(context), inside(context));
const alone = (context) => seen(context, inside(context), inside(context), ['--no-agent']);

/* A second thread executes: it gets its process' number, and nobody tells any more what it had in ours. As without a
 * namespace, and each thread that told the agent has the kernel's word too. */
async function execs(context) {
  for (const args of [['--kernel'], ['--no-agent']]) {
    const shapes = [];
    for (const outer of [[], inside(context)]) {
      const { told } = await recordBetween(context, outer, [], context.program('exec_thread'), args);
      shapes.push([told.processes.length, ...told.threads.map((thread) => thread.name).sort()].join());
      for (const thread of told.threads) {
        context.equal(states(thread), life(thread), `${thread.name}: sum of states`);
        context.expect(thread.run_queue && thread.states_ns.running > 0, `the kernel tells nothing of ${thread.name} ${thread.tid}`);
      }
      if (outer.length === 0) continue;
      const tids = new Set(told.threads.map((thread) => thread.tid));
      for (let tid = 2; tid <= (args[0] === '--kernel' ? 7 : 2); tid++) context.expect(tids.has(tid), `no thread ${tid} in ${[...tids]}`);
    }
    context.equal(shapes[1], shapes[0], `${args[0]}: processes and threads in a namespace`);
  }
}

/* A process that runs already, by its number in the namespace, and the children that it makes. */
async function attached(context) {
  const trace = context.file('out.trace');
  const [command, ...rest] = [...inside(context), 'sh', '-c', `sh -c 'while :; do sleep 0.05; done' & echo $!; sleep 0.3
"$0" record -p $! -d 1 -o "$1"; code=$?; kill $!; exit $code`, context.bin, trace];
  const result = await context.run(command, rest);
  context.equal(result.code, 0, `exit status (${result.stderr})`);
  const told = await context.report(trace);
  const shell = told.threads.filter((thread) => thread.tid === Number(result.stdout));
  context.equal(shell.map((thread) => thread.name).join(), 'sh', 'the shell');
  for (const thread of told.threads) context.equal(states(thread), life(thread), `${thread.name}: sum of states`);
  /* The first may have slept before anybody looked. */
  const sleeps = told.threads.filter((thread) => thread.name === 'sleep' && thread.off_cpu_ns.sleep > 0.04e9);
  context.expect(sleeps.length >= 3, `${sleeps.length} children that slept`);
  context.expect(sleeps.every((thread) => thread.tid > Number(result.stdout) && thread.tid < 1000), `children's numbers: ${sleeps.map((thread) => thread.tid)}`);
}

/* With the /proc of the namespace above all numbers there are others'. */
async function proc(context) {
  const trace = context.file('out.trace');
  const result = context.finish(await context.run(context.tool('unshare'), ['-pf', context.bin, 'record', '--kernel', '-o', trace, '--', 'sh', '-c', '"$0"; exit 7', context.program('nested_locks')]), trace);
  context.equal(result.code, 7, `exit status (${result.stderr})`);
  context.expect(result.said.includes("waitscope: without the kernel's side: /proc is of another pid namespace (waitscope doctor tells more)"), result.stderr);
  const told = await context.report(trace);
  context.expect(told.locks.some((lock) => lock.acquisitions > 0), 'no lock was recorded');
}

module.exports = [
  { name: 'namespace_target', run: target, serial: true },
  { name: 'namespace_collector', run: collector, serial: true },
  { name: 'namespace_both', run: both, serial: true },
  { name: 'namespace_alone', run: alone, serial: true },
  { name: 'namespace_exec', run: execs },
  { name: 'namespace_attached', run: attached },
  { name: 'namespace_proc', run: proc },
];
