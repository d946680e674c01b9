import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, watch, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { drainAll, readConfig, removeConfig, writeConfig } from './config-folder.ts';

function root(t: TestContext): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'config-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return path.join(folder, 'default/outbound');
}

const index = (replicas: number): string => `${JSON.stringify({ formatVersion: 1, replicas, documents: {} })}\n`;
const documents = (entries: Record<string, string>): ReadonlyMap<string, string> => new Map(Object.entries(entries));

test('the folder holds exactly the documents, for their owner alone', (t) => {
  const folder = root(t);
  assert.equal(
    writeConfig(folder, documents({ 'index.json': index(1), 'settings.json': '1', 'users-00.json': '1' })),
    true,
  );
  assert.equal(writeConfig(folder, documents({ 'index.json': index(2), 'settings.json': '2' })), true);
  assert.deepEqual(readdirSync(folder).sort(), ['index.json', 'settings.json']);
  assert.equal(readFileSync(path.join(folder, 'settings.json'), 'utf8'), '2');
  assert.equal(statSync(path.join(folder, 'settings.json')).mode & 0o777, 0o600);
  assert.equal(statSync(folder).mode & 0o777, 0o700);
});

test('the same documents again write nothing', (t) => {
  const folder = root(t);
  const same = documents({ 'index.json': index(1), 'settings.json': '1' });
  writeConfig(folder, same);
  const inodes = () => readdirSync(folder).map((name) => statSync(path.join(folder, name)).ino);
  const before = inodes();
  assert.equal(writeConfig(folder, same), false);
  assert.deepEqual(inodes(), before);
});

test('the index is the last that is written', async (t) => {
  const folder = root(t);
  writeConfig(folder, documents({ 'index.json': index(1), 'settings.json': '1', 'users-00.json': '1' }));
  const watcher = watch(folder);
  t.after(() => watcher.close());
  const order: string[] = [];
  const { promise: removed, resolve } = Promise.withResolvers<void>();
  watcher.on('change', (_, name) => {
    order.push(String(name));
    if (name === 'users-00.json') resolve();
  });
  writeConfig(folder, documents({ 'index.json': index(2), 'settings.json': '2' }));
  await removed;
  const last = (name: string): number => order.lastIndexOf(name);
  assert.ok(last('settings.json') < last('index.json'), order.join(' '));
  assert.ok(last('index.json') < last('users-00.json'), order.join(' '));
});

test('what a crash left half written is finished by the next writing', (t) => {
  const folder = root(t);
  const whole = documents({ 'index.json': index(1), 'settings.json': '1' });
  writeConfig(folder, whole);
  writeFileSync(path.join(folder, '.index.json.next'), '{');
  writeFileSync(path.join(folder, 'settings.json'), 'half');
  assert.equal(writeConfig(folder, whole), true);
  assert.deepEqual(readdirSync(folder).sort(), ['index.json', 'settings.json']);
});

test('no document leads out of the folder, and none goes without an index', (t) => {
  const folder = root(t);
  assert.throws(() => writeConfig(folder, documents({ 'index.json': index(1), '../x.json': '1' })), RangeError);
  assert.throws(() => writeConfig(folder, documents({ 'settings.json': '1' })), RangeError);
});

test('after a restart the folder tells what draining replicas need, and can tell them to drain', (t) => {
  const folder = root(t);
  assert.equal(readConfig(folder), undefined);
  const listener = { name: 'submission', protocol: 'Submission', port: 2587, tls: 'Required', exemptNetworks: [] };
  const settings = JSON.stringify({ listeners: [listener], monitoring: { port: 9465 }, hostname: 'x' });
  writeConfig(folder, documents({ 'index.json': index(2), 'settings.json': settings }));
  assert.deepEqual(readConfig(folder), { listeners: [{ name: 'submission', port: 2587, protocol: 'Submission' }] });
  drainAll(folder);
  assert.deepEqual(JSON.parse(readFileSync(path.join(folder, 'index.json'), 'utf8')), JSON.parse(index(0)));
  removeConfig(folder);
  assert.equal(readConfig(folder), undefined);
});
