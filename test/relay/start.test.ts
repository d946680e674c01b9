/** How a relay starts on a config folder that is not, or not yet, as it should be. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { openConfig } from '../../relay/config/live-config.ts';
import { CONFIG } from '../harness/receiving.ts';
import { freePorts } from '../harness/standalone.ts';

let place: string;
let folder: string;
let running: ChildProcess | undefined;
beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), 'start-'));
  folder = join(place, 'config');
  mkdirSync(folder);
});
afterEach(() => {
  running?.kill('SIGKILL');
  rmSync(place, { recursive: true, force: true });
});

/** A config folder, as the operator writes it; `left` is not written yet. */
function write(port: number, monitoring: number, left?: string): void {
  const documents = {
    'settings.json': {
      ...CONFIG.settings,
      listeners: CONFIG.settings.listeners.slice(0, 1).map((listener) => ({ ...listener, port })),
      monitoring: { port: monitoring },
    },
    'certificates.json': CONFIG.certificates,
  };
  const texts = Object.entries(documents).map(([name, document]) => [name, JSON.stringify(document)] as const);
  const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
  const hashes = Object.fromEntries(texts.map(([name, text]) => [name, sha256(text)]));
  for (const [name, text] of texts) if (name !== left) writeFileSync(join(folder, name), text);
  writeFileSync(join(folder, 'index.json'), JSON.stringify({ formatVersion: 1, replicas: 1, documents: hashes }));
}

/** The real program. */
function relay(): { readonly process: ChildProcess; readonly said: Promise<readonly string[]> } {
  const words = [
    ...['relay', '--config', folder, '--spool', join(place, 'spool'), '--ordinal', '0'],
    ...['--admin', join(place, 'admin.sock'), '--monitoring', '127.0.0.1', '--listen-address', '127.0.0.1'],
  ];
  const child = spawn(join(import.meta.dirname, '../../bin/chasqui'), words, { stdio: ['ignore', 'pipe', 'inherit'] });
  running = child;
  const messages: string[] = [];
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => {
    const { message, problem = '' } = JSON.parse(line);
    messages.push(`${message}: ${problem}`);
    if (message === 'relay started') child.kill('SIGTERM');
  });
  return { process: child, said: once(child, 'close').then(() => messages) };
}

test('a relay that meets its folder between two versions waits until it is whole', async () => {
  const [port = 0, monitoring = 0] = await freePorts(2);
  write(port, monitoring, 'settings.json');
  const opening = openConfig(folder, join(place, 'kept'), { log() {} });
  assert.equal(await Promise.race([opening, pause(200, 'waiting')]), 'waiting');
  write(port, monitoring);
  const config = await opening;
  assert.equal(config.current().settings.monitoring.port, monitoring);
  config.close();

  const { process, said } = relay();
  assert.ok((await said).some((message) => message.startsWith('relay started')));
  assert.equal(process.exitCode, 0);
});

test('a relay whose queue is missing does not start with an empty one: it says what to do, and ends', async () => {
  const [port = 0, monitoring = 0] = await freePorts(2);
  write(port, monitoring);
  await relay().said;
  const spool = join(place, 'spool');
  for (const name of readdirSync(spool)) if (name.startsWith('queue.db')) rmSync(join(spool, name));
  for (let time = 0; time < 2; time++) {
    const { process, said } = relay();
    const [last = ''] = (await said).slice(-1);
    assert.match(
      last,
      /^the relay failed, this process ends: the queue database of .* is missing: .*chasqui spool recover/,
    );
    assert.equal(process.exitCode, 70);
    assert.equal(existsSync(join(spool, 'queue.db')) && statSync(join(spool, 'queue.db')).size > 0, false);
  }
});

test('a relay that cannot start says why and ends, so that another one can be started', async () => {
  const [port = 0, monitoring = 0] = await freePorts(2);
  write(port, monitoring, 'settings.json');
  const { process, said } = relay();
  const [last = ''] = (await said).slice(-1);
  assert.match(last, /^the relay failed, this process ends: settings\.json: /);
  assert.equal(process.exitCode, 70);
});
