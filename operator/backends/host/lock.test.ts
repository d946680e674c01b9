import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { lockState, StateLocked } from './lock.ts';

function state(t: TestContext): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'lock-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** Another process that holds the state folder. */
async function holder(t: TestContext, folder: string) {
  const module = JSON.stringify(new URL('./lock.ts', import.meta.url).href);
  const program = `import { lockState } from ${module}; lockState(process.argv[1]); console.log('held'); setInterval(() => {}, 60_000);`;
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', program, folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return child;
}

test('a second process is refused, and told who holds the folder', async (t) => {
  const folder = state(t);
  const child = await holder(t, folder);
  assert.throws(
    () => lockState(folder),
    (error) => error instanceof StateLocked && error.message.includes(`process ${child.pid}`),
  );
});

test('the lock dies with its process', async (t) => {
  const folder = state(t);
  const child = await holder(t, folder);
  child.kill('SIGKILL');
  await once(child, 'exit');
  lockState(folder).release();
});

test('the lock can be taken again once it is released', (t) => {
  const folder = state(t);
  const lock = lockState(folder);
  assert.throws(() => lockState(folder), StateLocked);
  lock.release();
  lockState(folder).release();
});
