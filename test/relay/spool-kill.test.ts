import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openSpool } from '../../relay/spool/open.ts';
import { compare, Said } from './spool-said.ts';

const DRIVER = fileURLToPath(new URL('./spool-driver.ts', import.meta.url));

/** Runs the driver until it has written so many 250s, kills it there, and gives all that it wrote. */
async function killedAfter(replies: number, folder: string, bytes: number): Promise<string[]> {
  const child = spawn(process.execPath, [DRIVER, folder, String(bytes), '8', '1000000'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exit = once(child, 'exit');
  const lines: string[] = [];
  let left = replies;
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    if (line.startsWith('250 ') && --left === 0) child.kill('SIGKILL');
  }
  const [, signal]: unknown[] = await exit;
  assert.equal(signal, 'SIGKILL');
  return lines;
}

test('whatever got its 250 before a SIGKILL is there after it, whole, over many kills', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'kill-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const said = new Said();
  // Past 16 MiB of WAL, so that checkpoints are among what the kills come after.
  for (const [bytes, replies] of [
    [4096, 10],
    [4096, 700],
    [300_000, 30],
    [100_000, 200],
    [0, 50],
  ] as const) {
    for (const line of await killedAfter(replies, folder, bytes)) said.add(line, bytes);
    const spool = await openSpool({
      folder,
      lockWaitMs: 10_000,
      log: () => undefined,
      onFatal: (error) => assert.fail(`fatal: ${error.message}`),
      now: Date.now,
    });
    try {
      await compare(spool, folder, said);
    } finally {
      await spool.close();
    }
  }
  assert.ok(said.kept.size > 500);
});
