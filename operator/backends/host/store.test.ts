import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { validateManifest } from '../../../crds/validate.ts';
import { ObjectStore } from './store.ts';

const ID = 'SmtpUser/default/app';
const KEY = { namespace: 'default', name: 'app' };

function manifest(sender: string) {
  const { object } = validateManifest({
    apiVersion: 'chasqui.dev/v1alpha1',
    kind: 'SmtpUser',
    metadata: { name: 'app', labels: { team: 'shop' } },
    spec: { relayRef: { name: 'outbound' }, senders: [sender] },
  });
  assert.ok(object);
  return { manifest: object, file: 'a.yaml' };
}

function storeFolder(t: TestContext): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'store-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

const open = (folder: string) => new ObjectStore(folder, () => Date.UTC(2026, 0, 1));

test('an accepted object is on disk before anybody is told, for its owner alone', (t) => {
  const folder = storeFolder(t);
  const store = open(folder);
  const file = path.join(folder, 'SmtpUser/default/app.json');
  let told = '';
  store.watch((kind, { namespace, name }) => {
    told = `${kind} ${namespace} ${name} ${JSON.parse(readFileSync(file, 'utf8')).metadata.generation}`;
  });
  assert.equal(store.accept(manifest('*@example.test')), 'created');
  assert.equal(told, 'SmtpUser default app 1');
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(statSync(path.dirname(file)).mode & 0o777, 0o700);
});

test('after a restart everything is as it was', async (t) => {
  const folder = storeFolder(t);
  const store = open(folder);
  store.accept(manifest('*@example.test'));
  await store.setFinalizer('SmtpUser', KEY, true);
  await store.patchStatus('SmtpUser', KEY, { username: 'app.default' });
  store.refuse(ID, 'a.yaml: spec.x: unknown field');
  store.delete(ID);
  const before = store.get('SmtpUser', KEY);
  assert.deepEqual(open(folder).get('SmtpUser', KEY), before);
  assert.deepEqual(before?.metadata.finalizers, ['chasqui.dev/drain']);
  assert.equal(before?.metadata.deletionTimestamp, '2026-01-01T00:00:00.000Z');
});

test('a status that says nothing new is not written and wakes nobody', async (t) => {
  const store = open(storeFolder(t));
  store.accept(manifest('*@example.test'));
  await store.patchStatus('SmtpUser', KEY, { username: 'app.default' });
  let told = 0;
  store.watch(() => told++);
  await store.patchStatus('SmtpUser', KEY, { username: 'app.default' });
  assert.equal(store.accept(manifest('*@example.test')), 'same');
  assert.equal(store.refuse(ID, 'wrong'), true);
  assert.equal(store.refuse(ID, 'wrong'), false);
  assert.equal(told, 1);
});

test('an edit makes a new generation and keeps the status', async (t) => {
  const store = open(storeFolder(t));
  store.accept(manifest('*@example.test'));
  await store.patchStatus('SmtpUser', KEY, { username: 'app.default' });
  assert.equal(store.accept(manifest('*@other.test')), 'changed');
  assert.deepEqual(store.get('SmtpUser', KEY)?.status, { username: 'app.default' });
  assert.equal(store.get('SmtpUser', KEY)?.metadata.generation, 2);
});

test('a version that was being written when the process ended is not seen', (t) => {
  const folder = storeFolder(t);
  open(folder).accept(manifest('*@example.test'));
  writeFileSync(path.join(folder, 'SmtpUser/default/.app.json.next'), '{');
  writeFileSync(path.join(folder, 'SmtpUser/default/.app.json'), '{');
  assert.equal(open(folder).list('SmtpUser').length, 1);
});

test('a file that is not a stored object is refused, since going on would make a new object of its name', (t) => {
  const folder = storeFolder(t);
  open(folder).accept(manifest('*@example.test'));
  const file = path.join(folder, 'SmtpUser/default/app.json');
  const { metadata, ...rest } = JSON.parse(readFileSync(file, 'utf8'));
  for (const content of ['{}', '{', JSON.stringify({ metadata: { ...metadata, uid: 3 }, ...rest })]) {
    writeFileSync(file, content);
    assert.throws(() => open(folder), /app\.json is not an object that chasqui stored/);
  }
});
