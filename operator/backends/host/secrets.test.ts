import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Secret, SecretConflict } from '../../backend.ts';
import { SecretFiles } from './secrets.ts';

const credential = (data: Record<string, string>, uid = 'u1'): Secret => ({
  namespace: 'default',
  name: 'app-smtp',
  owner: { kind: 'SmtpUser', name: 'app', uid },
  purpose: 'credential',
  data,
  annotations: { 'chasqui.dev/note': 'x' },
});

function root(t: TestContext): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'secrets-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return path.join(folder, 'secrets');
}

const mode = (file: string): number => statSync(file).mode & 0o777;

test('a Secret is a folder of files for their owner alone, and is read back as it was written', async (t) => {
  const folder = root(t);
  const secrets = new SecretFiles(folder);
  const secret = credential({ password: 'p', 'ca.crt': 'c\n' });
  await secrets.create(secret);
  assert.equal(readFileSync(path.join(folder, 'default/app-smtp/password'), 'utf8'), 'p');
  assert.equal(mode(path.join(folder, 'default/app-smtp')), 0o700);
  assert.equal(mode(path.join(folder, 'default')), 0o700);
  for (const file of ['password', 'ca.crt', '.metadata.json']) {
    assert.equal(mode(path.join(folder, 'default/app-smtp', file)), 0o600);
  }
  assert.deepEqual(await secrets.get('default', 'app-smtp'), secret);
  assert.deepEqual(await secrets.ownedBy('default', { kind: 'SmtpUser', name: 'app' }), [secret]);
  assert.deepEqual(await secrets.ownedBy('default', { kind: 'SmtpUser', name: 'other' }), []);
  assert.equal(await secrets.get('default', 'other'), undefined);
});

test('owners are told once each, with those of a former process; what is not ours has none', async (t) => {
  const folder = root(t);
  const former = new SecretFiles(folder);
  await former.create(credential({ password: 'p' }));
  await former.create({ ...credential({ salt: 's' }), name: 'app-verifier' });
  await former.create({ ...credential({ password: 'p' }), namespace: 'other' });
  mkdirSync(path.join(folder, 'default/foreign'));
  writeFileSync(path.join(folder, 'stray'), '');
  assert.deepEqual(
    (await new SecretFiles(folder).owners()).map(({ kind, key }) => `${kind}/${key.namespace}/${key.name}`).sort(),
    ['SmtpUser/default/app', 'SmtpUser/other/app'],
  );
});

test('what is there is never created again', async (t) => {
  const secrets = new SecretFiles(root(t));
  await secrets.create(credential({ password: 'first' }));
  await assert.rejects(secrets.create(credential({ password: 'second' })), SecretConflict);
  assert.equal((await secrets.get('default', 'app-smtp'))?.data.password, 'first');
});

test('a folder that is not ours is never written, read or deleted, an empty one neither', async (t) => {
  const folder = root(t);
  const secrets = new SecretFiles(folder);
  const theirs = path.join(folder, 'default/app-smtp');
  mkdirSync(theirs, { recursive: true });
  for (const files of [[], ['password']]) {
    for (const file of files) writeFileSync(path.join(theirs, file), 'theirs');
    assert.equal(await secrets.get('default', 'app-smtp'), undefined);
    await assert.rejects(secrets.create(credential({ password: 'ours' })), SecretConflict);
    await assert.rejects(secrets.apply(credential({ password: 'ours' })), SecretConflict);
    await assert.rejects(secrets.delete('default', 'app-smtp'), SecretConflict);
    assert.deepEqual(readdirSync(theirs), files);
  }
});

test('a Secret of another owner is not replaced; that of a predecessor of the same name is', async (t) => {
  const secrets = new SecretFiles(root(t));
  await secrets.create({ ...credential({ a: '1' }), owner: { kind: 'MailDomain', name: 'app', uid: 'u1' } });
  await assert.rejects(secrets.apply(credential({ a: '2' })), SecretConflict);
  await secrets.delete('default', 'app-smtp');
  await secrets.create(credential({ a: '1' }, 'u1'));
  await secrets.apply(credential({ a: '2' }, 'u2'));
  assert.deepEqual(await secrets.get('default', 'app-smtp'), credential({ a: '2' }, 'u2'));
});

test('apply replaces the whole content, leaves files of others alone, and writes nothing that is there', async (t) => {
  const folder = root(t);
  const secrets = new SecretFiles(folder);
  await secrets.apply(credential({ old: '1', both: '1' }));
  writeFileSync(path.join(folder, 'default/app-smtp/note.txt'), 'theirs');
  await secrets.apply(credential({ both: '2', new: '2' }));
  const files = () => readdirSync(path.join(folder, 'default/app-smtp')).sort();
  assert.deepEqual(files(), ['.metadata.json', 'both', 'new', 'note.txt']);
  assert.deepEqual(readdirSync(path.join(folder, 'default')), ['app-smtp']);
  const inode = statSync(path.join(folder, 'default/app-smtp/both')).ino;
  await secrets.apply(credential({ both: '2', new: '2' }));
  assert.equal(statSync(path.join(folder, 'default/app-smtp/both')).ino, inode);
});

test('a crash in the middle of replacing leaves the whole new Secret after the next start', async (t) => {
  const whole = { 'tls.crt': 'new', 'tls.key': 'new' };
  // The crash comes after this many of the files were moved into place.
  for (const moved of [0, 1, 2]) {
    const folder = root(t);
    await new SecretFiles(folder).create(credential({ 'tls.crt': 'old', 'tls.key': 'old', gone: 'old' }));
    await new SecretFiles(folder).create({ ...credential(whole), name: 'made' });
    renameSync(path.join(folder, 'default/made'), path.join(folder, 'default/.next-app-smtp'));
    for (const key of Object.keys(whole).slice(0, moved)) {
      renameSync(path.join(folder, 'default/.next-app-smtp', key), path.join(folder, 'default/app-smtp', key));
    }
    assert.deepEqual((await new SecretFiles(folder).get('default', 'app-smtp'))?.data, whole, `${moved} moved`);
    assert.deepEqual(readdirSync(path.join(folder, 'default')), ['app-smtp']);
    assert.equal(existsSync(path.join(folder, 'default/app-smtp/gone')), false);
  }
});

test('a Secret that was being made when the process ended is removed, whatever of it was written', async (t) => {
  const folder = root(t);
  mkdirSync(path.join(folder, 'default/.draft-1'), { recursive: true });
  writeFileSync(path.join(folder, 'default/.draft-1/password'), 'half');
  const secrets = new SecretFiles(folder);
  assert.deepEqual(readdirSync(path.join(folder, 'default')), []);
  await secrets.create(credential({ password: 'p' }));
});

test('no name leads out of the folder', async (t) => {
  const secrets = new SecretFiles(root(t));
  const secret = credential({ password: 'p' });
  await assert.rejects(secrets.create({ ...secret, name: '../x' }), RangeError);
  await assert.rejects(secrets.create({ ...secret, namespace: '..' }), RangeError);
  await assert.rejects(secrets.create({ ...secret, data: { '../x': 'p' } }), RangeError);
  await assert.rejects(secrets.create({ ...secret, data: { '.metadata.json': 'p' } }), RangeError);
  await assert.rejects(secrets.get('default', '.next-app'), RangeError);
});

test('a Secret that a foreign hand removes is told', async (t) => {
  const folder = root(t);
  const secrets = new SecretFiles(folder);
  t.after(() => secrets.close());
  await secrets.create(credential({ password: 'p' }));
  const told = new Promise<string>((resolve) => {
    secrets.watch((namespace, name) => resolve(`${namespace}/${name}`));
  });
  rmSync(path.join(folder, 'default/app-smtp'), { recursive: true });
  assert.equal(await told, 'default/app-smtp');
});
