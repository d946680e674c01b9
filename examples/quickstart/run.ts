/** What `make run` runs: the quickstart's relay and a demo receiver, and what a person needs next. Ctrl-C ends both. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..', '..');
const CHASQUI = join(ROOT, 'bin', 'chasqui');
const STATE = process.env.CHASQUI_STATE ?? join(ROOT, 'state');
const LOG = join(STATE, 'chasqui.log');
const READY_S = '60';

mkdirSync(STATE, { recursive: true, mode: 0o700 });
const log = openSync(LOG, 'a', 0o600);

// Each in a process group of its own: Ctrl-C in the terminal reaches this process alone, which then ends them in order.
const standalone = spawn(
  CHASQUI,
  ['standalone', '-f', import.meta.dirname, '--state', STATE, '--listen-address', '127.0.0.1'],
  { stdio: ['ignore', log, log], detached: true },
);
const sink = spawn(CHASQUI, ['sink', '--listen', '127.0.0.1:2627', '--state', STATE], {
  stdio: ['ignore', 'inherit', 'inherit'],
  detached: true,
});
const programs = [standalone, sink];
const isRunning = (program: ChildProcess) => program.exitCode === null && program.signalCode === null;

let stopping = false;
async function stop(exitCode: number): Promise<void> {
  if (stopping) return;
  stopping = true;
  const running = programs.filter(isRunning);
  for (const program of running) program.kill('SIGTERM');
  await Promise.all(running.map((program) => once(program, 'exit')));
  console.log('\nStopped. Keys, passwords and queue are kept in', STATE);
  process.exit(exitCode);
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void stop(0));
for (const [name, program] of [
  ['standalone', standalone],
  ['sink', sink],
] as const) {
  program.once('exit', (code) => {
    if (stopping) return;
    console.error(`chasqui ${name} ended with code ${code}; its log is ${LOG}`);
    void stop(1);
  });
}

const ready = spawn(CHASQUI, ['status', '--state', STATE, '--wait', READY_S], {
  stdio: ['ignore', 'ignore', 'inherit'],
});
const [code] = await once(ready, 'exit');
if (code !== 0 && !stopping) {
  console.error(`Not ready after ${READY_S} s; see ${LOG} and "bin/chasqui status".`);
  await stop(1);
}

console.log(`
Chasqui runs. All of it listens on 127.0.0.1 only.

  Submit mail      localhost:2465 (TLS), localhost:2587 (STARTTLS); from this machine also localhost:2525, without password
  User name        app.default
  Password         ${join(STATE, 'secrets/default/app-smtp/password')}
  CA certificate   ${join(STATE, 'secrets/default/app-smtp/ca.crt')}
  Metrics          http://127.0.0.1:9465/metrics and http://127.0.0.1:9466/metrics
  Log              ${LOG}

DNS records to publish for example.test (bin/chasqui dns example.test):
`);
const dns = spawn(CHASQUI, ['dns', 'example.test', '--state', STATE], { stdio: ['ignore', 'inherit', 'inherit'] });
await once(dns, 'exit');
console.log(`
Send a first message from another terminal; it is shown below when it arrives:

  bin/chasqui send --state ${STATE} --to someone@example.org

Ctrl-C stops everything.
`);
