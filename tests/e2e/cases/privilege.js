// SPDX-License-Identifier: MIT
'use strict';
/*
 * What the kernel's side takes, really taken away, and what the collector gives up by itself. All of these need
 * root, to have something to take away, and fail without.
 */
const fs = require('fs');

const WITHOUT = /^waitscope: without the kernel's side: (.*) \(waitscope doctor tells more\)$/;
const BTF = 'no type information (BTF): /sys/kernel/btf/vmlinux: No such file or directory';
const NO_BPF = 'no CAP_BPF: no program can be loaded';
const NO_PERFMON = 'no CAP_PERFMON: no program can be attached';
const KEPT = [2, 5, 19, 23, 38, 39, 40]; /* the numbers of what collector/privilege.h keeps */

/* A command line that starts the rest of it without these capabilities (CAP_SYS_ADMIN stands for both). */
const bare = (context, ...names) => [context.tool('setpriv'), '--bounding-set', ['sys_admin', ...names].map((name) => `-${name}`).join(), '--inh-caps', '-all'];
/* The same, with a folder of the kernel's hidden from it; file: put there instead. */
const hidden = (context, folder, file = '') => [context.tool('unshare'), '-m', 'sh', '-c',
  `mount -t tmpfs none ${folder} && ${file || ':'} && exec "$@"`, 'sh'];

async function behind(context, wall, args) {
  return context.run(wall[0], [...wall.slice(1), context.bin, ...args]);
}

/* The agent's recording is whole, the program's status is passed on, and one line names what was in the way. */
async function goesOn(context, wall, wanted) {
  const trace = context.file('out.trace');
  const result = context.finish(await behind(context, wall,
    ['record', '--kernel', '-o', trace, '--', 'sh', '-c', '"$0"; exit 7', context.program('nested_locks')]), trace);
  context.equal(result.code, 7, `exit status (${result.stderr})`);
  const lines = result.said.filter((line) => WITHOUT.test(line));
  context.equal(lines.length, 1, `lines on the kernel's side (${result.stderr})`);
  context.equal((WITHOUT.exec(lines[0]) || [])[1], wanted, 'what is in the way');
  context.expect(result.said.every((line) => !/libbpf/.test(line)), `libbpf speaks: ${result.stderr}`);
  const report = await context.report(trace);
  context.equal(report.environment.kernel_side, lines[0].slice('waitscope: '.length), 'what the trace says of it');
  context.equal(report.environment.collector_privileges, undefined, 'nothing to give up');
  context.expect(report.locks.some((lock) => lock.acquisitions > 0), 'no lock was recorded');
  context.expect(report.threads.every((thread) => thread.states_ns.runnable === 0), 'nobody told of a run queue');
}

async function noCapabilities(context) {
  await goesOn(context, bare(context, 'bpf', 'perfmon'), `${NO_BPF}; ${NO_PERFMON}`);
  await goesOn(context, bare(context, 'bpf'), NO_BPF);
  await goesOn(context, bare(context, 'perfmon'), NO_PERFMON);
}

async function noTypes(context) {
  await goesOn(context, hidden(context, '/sys/kernel/btf'), BTF);
}

/* By --no-agent the kernel's side was all there was to be; by -p too, and then there is nothing to go on with. */
async function nothingLeft(context) {
  const wall = bare(context, 'bpf');
  const child = context.begin('sleep', ['30']);
  const attached = await behind(context, wall, ['record', '-p', String(child.pid), '-o', context.file('p.trace')]);
  context.refused(attached, 125, /without the kernel's side: no CAP_BPF/, 'record -p');
  const alone = await behind(context, wall, ['record', '--no-agent', '-o', context.file('alone.trace'), '--', 'sh', '-c', 'exit 3']);
  context.equal(alone.code, 3, 'exit status');
  context.equal(alone.stderr.split('\n').filter((line) => WITHOUT.test(line)).length, 1, `lines (${alone.stderr})`);
}

/* The two capabilities are enough: nothing else of root's is needed to load. */
async function enough(context) {
  const wall = [context.tool('setpriv'), '--bounding-set', '-all,+bpf,+perfmon', '--inh-caps', '-all'];
  const trace = context.file('out.trace');
  const result = context.finish(await behind(context, wall, ['record', '--kernel', '-o', trace, '--', context.program('nested_locks')]), trace);
  context.equal(result.code, 0, `exit status (${result.stderr})`);
  context.expect(!result.said.some((line) => WITHOUT.test(line)), result.stderr);
  const report = await context.report(trace);
  context.equal(report.environment.collector_privileges, 'uid 0, CAP_PERFMON CAP_BPF', 'privileges');
  context.expect(report.kernel && report.kernel.off_cpu > 0, 'the scheduler told nothing');
}

/* Rows that are in the way, with all others all right: {name: what it says}. */
async function doctorSays(context, wall, wanted) {
  const result = await behind(context, wall, ['doctor']);
  context.equal(result.code, 0, `exit status of doctor (${result.stderr})`);
  context.equal(result.stderr, '', 'doctor on stderr');
  const rows = new Map(result.stdout.split('\n').filter((line) => line).map((line) => [line.slice(6, 23).trim(), [line.slice(0, 6).trim(), line.slice(23)]]));
  for (const name of ['BTF', 'lockdown', 'CAP_BPF', 'CAP_PERFMON', 'bpf calls', 'perf events', 'kernel probes']) {
    const [grade, text] = rows.get(name) || ['none', ''];
    context.equal(grade, name in wanted ? 'less' : 'OK', `grade of ${name} (${text})`);
    if (name in wanted) context.expect(text.startsWith(wanted[name]), `${name}: ${text}, wanted ${wanted[name]}`);
  }
}

async function doctor(context) {
  const setting = (name) => fs.readFileSync(`/proc/sys/kernel/${name}`, 'utf8').trim();
  const bpf = { CAP_BPF: `${NO_BPF};`, 'kernel probes': `the probes do not load: ${NO_BPF}` };
  const perfmon = { CAP_PERFMON: `${NO_PERFMON};`, 'kernel probes': 'the probes do not load: ' };
  if (setting('unprivileged_bpf_disabled') !== '0') bpf['bpf calls'] = `bpf() is refused (unprivileged_bpf_disabled ${setting('unprivileged_bpf_disabled')}): Operation not permitted; it takes CAP_BPF`;
  if (Number(setting('perf_event_paranoid')) > 0) perfmon['perf events'] = `perf_event_open() is refused (perf_event_paranoid ${setting('perf_event_paranoid')}): Permission denied; it takes CAP_PERFMON`;
  await doctorSays(context, ['env'], {});
  await doctorSays(context, bare(context, 'bpf'), bpf);
  await doctorSays(context, bare(context, 'perfmon'), perfmon);
  await doctorSays(context, hidden(context, '/sys/kernel/btf'), { BTF, 'kernel probes': `the probes do not load: ${BTF}` });
  /* What the kernel would say of itself; this one is not really locked, so the probes load. */
  await doctorSays(context, hidden(context, '/sys/kernel/security', 'echo "none integrity [confidentiality]" >/sys/kernel/security/lockdown'),
    { lockdown: 'kernel lockdown is confidentiality; boot without' });
  await doctorSays(context, [context.tool('unshare'), '-r'], {
    ...bpf, ...perfmon, CAP_BPF: 'CAP_BPF in a user namespace only', CAP_PERFMON: 'CAP_PERFMON in a user namespace only', 'kernel probes': 'the probes do not load: CAP_BPF in a user namespace only',
  });
}

const status = (pid) => new Map(fs.readFileSync(`/proc/${pid}/status`, 'utf8').split('\n').map((line) => line.split(':\t')));

/* While it records: the target has what it was started with, the collector what it needs. */
async function givesUp(context) {
  const mine = status('self');
  const kept = KEPT.reduce((all, number) => all | (1n << BigInt(number)), 0n);
  const left = (BigInt(`0x${mine.get('CapPrm')}`) & kept).toString(16).padStart(16, '0');
  for (const user of [null, { SUDO_UID: '1234', SUDO_GID: '2345' }]) {
    const trace = context.file(user ? 'sudo.trace' : 'root.trace');
    const child = context.begin(context.bin, ['record', '--kernel', '-o', trace, '--', 'sh', '-c', 'echo $$; exec sleep 1'], { env: user || { SUDO_UID: null } });
    const target = await context.until('the target to run', () => /\d+\n/.test(child.text('stdout')) && parseInt(child.text('stdout'), 10));
    await context.until('privileges to be given up', () => status(child.pid).get('NoNewPrivs') === '1');
    await context.until('the capabilities to be set', () => status(child.pid).get('CapPrm') === left);
    const [collector, started] = [status(child.pid), status(target)];
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'Uid', 'Gid', 'Groups', 'NoNewPrivs'])
      context.equal(started.get(set), mine.get(set), `the target's ${set}`);
    context.equal(collector.get('CapEff'), left, "the collector's CapEff");
    context.equal(collector.get('Uid'), Array(4).fill(user ? '1234' : '0').join('\t'), "the collector's users");
    context.equal(collector.get('Gid'), Array(4).fill(user ? '2345' : '0').join('\t'), "the collector's groups");
    context.finish(await child.done, trace);
    context.equal(fs.statSync(trace).uid, user ? 1234 : 0, 'whose the trace is');
    const report = await context.report(trace);
    context.expect(report.environment.collector_privileges.startsWith(user ? 'uid 1234, ' : 'uid 0, '), report.environment.collector_privileges);
    context.equal(report.environment.collector_privileges_kept, undefined, 'kept against its will');
    context.expect(report.threads.some((thread) => thread.name === 'sleep' && thread.states_ns.idle > 5e8), 'the sleep was not seen');
    context.expect(report.kernel && report.kernel.stacks.complete > 0, 'no stack from the kernel: tables of what was mapped later are missing');
  }
}

/* Root's target, recorded below sudo: agents and maps are another user's by then, and its end is still told. */
async function bySudo(context) {
  const trace = context.file('out.trace');
  const folder = context.file('temporary');
  fs.mkdirSync(folder);
  fs.chmodSync(folder, 0o1777);
  const env = { SUDO_UID: '1234', SUDO_GID: '2345', TMPDIR: folder, XDG_RUNTIME_DIR: null };
  const result = await context.record('sh', ['-c', '"$0"; "$0"; exit 7', context.program('nested_locks')], { trace, env, arguments: ['--kernel'] });
  context.equal(result.code, 7, `exit status (${result.stderr})`);
  const report = await context.report(trace);
  context.equal(report.environment.refused_agents, undefined, 'agents that were not believed');
  context.equal(report.processes.filter((process) => /nested_locks/.test(process.exe)).length, 2, 'processes');
  context.expect(report.locks.some((lock) => lock.acquisitions > 0), 'no lock was recorded');
  context.expect(report.kernel && report.kernel.stacks.complete > 0, 'no stack from the kernel');
  context.equal(fs.readdirSync(folder).join(), '', 'left behind in the folder for temporary files');
}

module.exports = [
  { name: 'kernel_without_capabilities', run: noCapabilities },
  { name: 'kernel_without_types', run: noTypes },
  { name: 'kernel_nothing_left', run: nothingLeft },
  { name: 'kernel_capabilities_enough', run: enough },
  { name: 'kernel_doctor', run: doctor },
  { name: 'kernel_privileges', run: givesUp },
  { name: 'kernel_sudo', run: bySudo },
];
