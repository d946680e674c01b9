import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openSpool } from '../../relay/spool/open.ts';
import type { Spool } from '../../relay/spool/spool.ts';
import { contentOf } from './spool-driver.ts';

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

/** What the driver said of its messages, over all its lives. */
class Said {
  /** Bytes of those that got their 250 and were not finished. */
  readonly kept = new Map<string, number>();
  /** Killed between `finishing` and `finished`: either may be true. */
  readonly unsure = new Set<string>();
  readonly given = new Set<string>();

  add(line: string, bytes: number): void {
    const [what, queueId = ''] = line.split(' ');
    if (what === '250') {
      assert.ok(!this.given.has(queueId), `${queueId} was given twice`);
      this.given.add(queueId);
      this.kept.set(queueId, bytes);
    } else if (what === 'finishing') {
      this.kept.delete(queueId);
      this.unsure.add(queueId);
    } else if (what === 'finished') {
      this.unsure.delete(queueId);
    } else {
      assert.fail(line);
    }
  }
}

async function compare(spool: Spool, folder: string, said: Said): Promise<void> {
  const found = new Set((await spool.list(100_000)).map(({ queueId }) => queueId));
  const inFiles = new Set<string>();
  for (const [queueId, size] of said.kept) {
    assert.ok(found.has(queueId), `${queueId} got its 250 and is lost`);
    const { data } = await spool.read(queueId);
    if (!Buffer.isBuffer(data)) inFiles.add(queueId);
    const content = Buffer.isBuffer(data) ? data : await buffer(data.open());
    assert.ok(content.equals(contentOf(queueId, size)), `${queueId} is not what it was`);
  }
  const others = [...found].filter((queueId) => !said.kept.has(queueId));
  const finished = others.filter((queueId) => said.given.has(queueId) && !said.unsure.has(queueId));
  assert.deepEqual(finished, [], 'finished, and back');
  for (const queueId of readdirSync(path.join(folder, 'bodies'))) {
    assert.ok(inFiles.has(queueId) || others.includes(queueId), `body ${queueId} belongs to no message`);
  }
  assert.equal((await spool.stats()).messages, found.size);
  // Committed when the kill came before the 250 was written: as good as any from now on.
  for (const queueId of others) {
    said.given.add(queueId);
    said.unsure.add(queueId);
  }
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
