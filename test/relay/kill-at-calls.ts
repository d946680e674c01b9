/**
 * Kills a spool driver as it enters a system call by which something becomes durable, or goes: once at each of them, or at
 * some. What the driver had been told is on disk must be there afterwards, whichever call it was.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { openSpool } from '../../relay/spool/open.ts';
import { compare, Said } from './spool-said.ts';

const DRIVER = fileURLToPath(new URL('./spool-driver.ts', import.meta.url));

/** pwrite64: WAL, database, id file. write: bodies, and what the driver says. */
export const CALLS = ['pwrite64', 'write', 'fdatasync', 'fsync', 'unlink', 'ftruncate'] as const;

export interface Scene {
  readonly call: (typeof CALLS)[number];
  readonly bytes: number;
  readonly messages: number;
}

/** @returns whether there was such a call, so that the driver was killed in it */
export async function killedAtCall({ call, bytes, messages }: Scene, number: number): Promise<boolean> {
  const folder = mkdtempSync(path.join(tmpdir(), 'calls-'));
  try {
    const rule = `inject=${call}:signal=SIGKILL:when=${number}`;
    const child = spawn(
      'strace',
      // A signal on the way into the call: it is not made. Calls are counted by thread.
      ['-f', '-o', '/dev/null', '-e', `trace=${call}`, '-e', rule, process.execPath, DRIVER, folder].concat([
        String(bytes),
        '2',
        String(messages),
      ]),
      { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, UV_USE_IO_URING: '0' } },
    );
    const exit = once(child, 'exit');
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
    const [code, signal]: unknown[] = await exit;
    const killed = signal === 'SIGKILL' || code === 137;
    assert.ok(killed || code === 0, `${String(code)} ${String(signal)} ${stderr}`);
    const said = new Said();
    // The last line may be cut off: then it was not said.
    for (const line of stdout.split('\n').slice(0, -1)) said.add(line, bytes);
    const spool = await openSpool({
      folder,
      lockWaitMs: 10_000,
      log: (level, message) => assert.ok(level !== 'error', message),
      onFatal: (error) => assert.fail(`fatal: ${error.message}`),
      now: Date.now,
    });
    try {
      await compare(spool, folder, said);
      assert.equal(spool.health().hindrance, undefined);
    } finally {
      await spool.close();
    }
    return killed;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
