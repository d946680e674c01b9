/** The whole of it, as a newcomer runs it: the quickstart's manifests in, signed mail out. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test from 'node:test';
import { promisify } from 'node:util';

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, '..');
const CHASQUI = join(ROOT, 'bin', 'chasqui');
const PORTS = [2465, 2525, 2587, 2627, 9465, 9466];

const isFree = async (port: number): Promise<boolean> => {
  const socket = connect({ host: '127.0.0.1', port });
  const free = await once(socket, 'connect').then(
    () => false,
    () => true,
  );
  socket.destroy();
  return free;
};

interface Quickstart {
  readonly process: ChildProcess;
  /** Resolves with the text printed so far once it contains the pattern. */
  shown(pattern: RegExp): Promise<string>;
}

function quickstart(state: string): Quickstart {
  const child = spawn(process.execPath, [join(ROOT, 'examples/quickstart/run.ts')], {
    env: { ...process.env, CHASQUI_STATE: state },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  const waiting = new Set<() => void>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    text += `${line}\n`;
    for (const look of waiting) look();
  });
  const shown = (pattern: RegExp) =>
    new Promise<string>((resolve, reject) => {
      const look = () => {
        if (!pattern.test(text)) return;
        waiting.delete(look);
        resolve(text);
      };
      waiting.add(look);
      child.once('exit', () => reject(new Error(`ended before it showed ${pattern}:\n${text}`)));
      look();
    });
  return { process: child, shown };
}

async function interrupt({ process: child }: Quickstart): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGINT');
  assert.deepEqual(await ended, [0, null]);
}

test('make run carries a message, signed with both keys, to the demo receiver, and keeps keys over a restart', async () => {
  const state = await mkdtemp(join(tmpdir(), 'chasqui-'));
  for (const port of PORTS) assert.ok(await isFree(port), `port ${port} is in use: stop what listens there`);
  const passwordFile = join(state, 'secrets/default/app-smtp/password');
  const keyFile = join(state, 'secrets/default/example-test-dkim-chasqui-r1/private.pem');

  const first = quickstart(state);
  const told = await first.shown(/Ctrl-C stops everything/);
  for (const needed of [
    'app.default',
    passwordFile,
    'chasqui-r1._domainkey.example.test',
    'v=spf1',
    'v=DMARC1',
    '9465/metrics',
  ]) {
    assert.ok(told.includes(needed), `it tells ${needed}`);
  }
  assert.equal((await stat(passwordFile)).mode & 0o777, 0o600);
  const sent = await run(CHASQUI, ['send', '--state', state, '--to', 'someone@example.org', '--subject', 'first']);
  assert.match(sent.stdout, /250 2\.6\.0 queued as /);
  const arrived = await first.shown(/Subject: first\n(.*\n){2}/);
  assert.match(arrived, /chasqui-r1\._domainkey\.example\.test rsa-sha256: pass/);
  assert.match(arrived, /chasqui-e1\._domainkey\.example\.test ed25519-sha256: pass/);
  const metrics = await Promise.all(
    [9465, 9466].map(async (port) => (await fetch(`http://127.0.0.1:${port}/metrics`)).text()),
  );
  const received = metrics.map((page) => Number(/^chasqui_messages_received_total\{.*\} (\d+)$/m.exec(page)?.[1] ?? 0));
  assert.equal(
    received.reduce((sum, count) => sum + count),
    1,
  );
  const password = await readFile(passwordFile, 'utf8');
  const key = await readFile(keyFile, 'utf8');
  await interrupt(first);
  for (const port of PORTS) assert.ok(await isFree(port), `port ${port} is left open`);

  const second = quickstart(state);
  await second.shown(/Ctrl-C stops everything/);
  assert.equal(await readFile(passwordFile, 'utf8'), password);
  assert.equal(await readFile(keyFile, 'utf8'), key);
  await run(CHASQUI, ['send', '--state', state, '--to', 'someone@example.org', '--subject', 'second']);
  await second.shown(/Subject: second\n.*: pass\n.*: pass\n/);
  await interrupt(second);
  await rm(state, { recursive: true });
});
