import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { FolderWatch } from './folder-watch.ts';

/** A watch that counts its looks; `until` resolves once there were more than so many. */
function watching(t: TestContext, folder: string, againMs?: number) {
  let looks = 0;
  let told = (): void => {};
  const watch = new FolderWatch(folder, async () => {
    looks += 1;
    told();
    return againMs;
  });
  t.after(() => watch.stop());
  watch.start();
  const more = async (than: number): Promise<void> => {
    while (looks <= than) {
      await new Promise<void>((resolve) => {
        told = resolve;
      });
    }
  };
  return { watch, more, looks: () => looks };
}

function folderOf(t: TestContext): string {
  const root = mkdtempSync(path.join(tmpdir(), 'watch-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  return path.join(root, 'manifests');
}

test('a change is looked at sooner than by the poll', async (t) => {
  const folder = folderOf(t);
  mkdirSync(folder);
  const { more, looks } = watching(t, folder);
  await more(0);
  const started = performance.now();
  writeFileSync(path.join(folder, 'a.yaml'), 'x');
  await more(looks());
  assert.ok(performance.now() - started < 1_500, 'not by the poll');
});

test('a folder that is made, and one that is put in the place of another, is watched', async (t) => {
  const folder = folderOf(t);
  const { more, looks } = watching(t, folder, 20);
  await more(0);
  mkdirSync(folder);
  await more(looks() + 1);
  renameSync(folder, `${folder}.old`);
  mkdirSync(folder);
  await more(looks() + 1);
});

test('what asks to be looked at again is, and after the stop nothing is', async (t) => {
  const folder = folderOf(t);
  mkdirSync(folder);
  const { watch, more, looks } = watching(t, folder, 5);
  await more(3);
  await watch.stop();
  const before = looks();
  writeFileSync(path.join(folder, 'a.yaml'), 'x');
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(looks(), before);
});
