/** The whole of it, as a newcomer runs it: `make run`, a first message, Ctrl-C, and `make run` again. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test from 'node:test';
import { promisify } from 'node:util';
import { halt } from './harness/halted.ts';
import { isRunning } from './harness/local-relay.ts';

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, '..');
const CHASQUI = join(ROOT, 'bin', 'chasqui');
const PORTS = [2465, 2525, 2587, 2627, 9465, 9466];

async function isFree(port: number, host = '127.0.0.1'): Promise<boolean> {
  const socket = connect({ host, port });
  const free = await once(socket, 'connect').then(
    () => false,
    () => true,
  );
  socket.destroy();
  return free;
}

/** `make run` as a terminal runs it: in a process group of its own, which Ctrl-C signals as a whole. */
class MakeRun {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #text = '';
  readonly #waiting = new Set<() => void>();

  constructor(state: string) {
    const { MAKEFLAGS: _flags, MAKELEVEL: _level, ...env } = process.env;
    // What is installed stays: other tests run on it.
    const words = ['-o', 'node_modules/.installed', 'run'];
    const stdio = ['ignore', 'pipe', 'pipe'] as const;
    this.#child = spawn('make', words, {
      cwd: ROOT,
      env: { ...env, CHASQUI_STATE: state },
      detached: true,
      stdio: [...stdio],
    });
    this.#ended = once(this.#child, 'close');
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      assert.ok(stream);
      createInterface({ input: stream }).on('line', (line) => {
        this.#text += `${line}\n`;
        for (const look of this.#waiting) look();
      });
    }
  }

  get pid(): number {
    return this.#child.pid ?? assert.fail('make could not be started');
  }

  /** Printed so far. */
  get text(): string {
    return this.#text;
  }

  /** Resolves with the text printed so far once it contains the pattern. */
  shown(pattern: RegExp): Promise<string> {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (!pattern.test(this.#text)) return;
        this.#waiting.delete(look);
        resolve(this.#text);
      };
      this.#waiting.add(look);
      this.#child.once('close', () => reject(new Error(`make run ended before it showed ${pattern}:\n${this.#text}`)));
      look();
    });
  }

  /** All processes below make, by pid, with their command lines. */
  processes(pid = this.pid): ReadonlyMap<number, string> {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
    const lines = children.map((child) => [child, readFileSync(`/proc/${child}/cmdline`, 'utf8')] as const);
    return new Map([...lines, ...children.flatMap((child) => [...this.processes(child)])]);
  }

  /** Ctrl-C. Resolves when make has ended and everybody who could write to the terminal with it. */
  async interrupt(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) process.kill(-this.pid, 'SIGINT');
    await this.#ended;
  }

  ended(): Promise<unknown> {
    return this.#ended;
  }
}

/** A state folder, and what runs on it one after the other. */
class Quickstart implements AsyncDisposable {
  readonly state = mkdtempSync(join(tmpdir(), 'chasqui-'));
  readonly #runs: MakeRun[] = [];

  async run(): Promise<MakeRun> {
    for (const port of PORTS) assert.ok(await isFree(port), `port ${port} is in use: stop what listens there`);
    const run = new MakeRun(this.state);
    this.#runs.push(run);
    await run.shown(/Ctrl-C stops everything/);
    return run;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const run of this.#runs) await run.interrupt();
    rmSync(this.state, { recursive: true });
  }
}

test('make run tells how to send a first message, which arrives signed with both keys; Ctrl-C leaves nothing, keys and password stay', async () => {
  await using quickstart = new Quickstart();
  const { state } = quickstart;
  const passwordFile = join(state, 'secrets/default/app-smtp/password');
  const keyFile = join(state, 'secrets/default/example-test-dkim-chasqui-r1/private.pem');

  const first = await quickstart.run();
  const told = first.text;
  for (const needed of [
    ...['localhost:2465', 'localhost:2587', 'localhost:2525', 'app.default', passwordFile],
    ...['chasqui-r1._domainkey.example.test', 'chasqui-e1._domainkey.example.test', 'v=spf1', 'v=DMARC1'],
    ...['http://127.0.0.1:9465/metrics', 'http://127.0.0.1:9466/metrics'],
  ]) {
    assert.ok(told.includes(needed), `it tells ${needed}`);
  }
  assert.equal(statSync(passwordFile).mode & 0o777, 0o600);
  for (const port of PORTS) {
    assert.ok(!(await isFree(port)), `port ${port} is open`);
    for (const other of ['127.0.0.2', '::1']) assert.ok(await isFree(port, other), `port ${port} is open at ${other}`);
  }

  const [command = ''] = /^ *bin\/chasqui send .*$/m.exec(told) ?? [];
  assert.match((await run('sh', ['-c', command], { cwd: ROOT })).stdout, /^250 2\.6\.0 queued as /);
  const arrived = await first.shown(/ed25519-sha256: /);
  assert.match(arrived, /chasqui-r1\._domainkey\.example\.test rsa-sha256: pass/);
  assert.match(arrived, /chasqui-e1\._domainkey\.example\.test ed25519-sha256: pass/);
  const pages = PORTS.slice(-2).map(async (port) => (await fetch(`http://127.0.0.1:${port}/metrics`)).text());
  const received = (await Promise.all(pages)).map((page) =>
    /^chasqui_messages_received_total\{.*\} (\d+)$/m.exec(page),
  );
  assert.equal(
    received.reduce((sum, match) => sum + Number(match?.[1] ?? 0), 0),
    1,
  );

  const kept = () => [passwordFile, keyFile].map((file) => readFileSync(file, 'utf8'));
  const before = kept();
  const processes = first.processes();
  assert.ok(processes.size >= 5, 'the quickstart, standalone, two replicas, sink');
  await first.interrupt();
  for (const port of PORTS) assert.ok(await isFree(port), `port ${port} is left open`);
  assert.deepEqual(
    [...processes].filter(([pid]) => isRunning(pid)),
    [],
  );
  await quickstart.run();
  assert.deepEqual(kept(), before);
});

test('make run again delivers what was queued when the first one ended', async () => {
  await using quickstart = new Quickstart();
  const { state } = quickstart;
  const first = await quickstart.run();
  const [sink = 0] = [...first.processes()].find(([, line]) => line.includes('sink')) ?? [];
  await halt(sink);
  const words = ['send', '--state', state, '--to', 'someone@example.org', '--subject', 'late'];
  const { stdout } = await run(CHASQUI, words);
  const [, queueId = ''] = /queued as (\S+)/.exec(stdout) ?? [];
  process.kill(sink, 'SIGKILL');
  // Without its receiver the quickstart ends.
  await first.ended();

  const second = await quickstart.run();
  const arrived = await second.shown(/Subject: late\n(.*\n){2}/);
  assert.match(arrived, /ed25519-sha256: pass/);
  const left = await run(CHASQUI, ['queue', 'list', '--state', state, '-o', 'json']);
  assert.ok(!left.stdout.includes(queueId), 'it is delivered');
});
