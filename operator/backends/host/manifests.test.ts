import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { readFolder, refText } from './manifests.ts';

const USER = 'apiVersion: chasqui.dev/v1alpha1\nkind: SmtpUser\nmetadata: {name: app}\n';

function folderWith(files: Record<string, string>): AsyncDisposable & { folder: string } {
  const folder = mkdtempSync(path.join(tmpdir(), 'manifests-'));
  for (const [name, content] of Object.entries(files)) writeFileSync(path.join(folder, name), content);
  return { folder, [Symbol.asyncDispose]: async () => rmSync(folder, { recursive: true }) };
}

async function read(files: Record<string, string>) {
  await using made = folderWith(files);
  const reading = await readFolder(made.folder, 0);
  const all = [...reading.files.values()];
  return {
    present: reading.present,
    objects: all.flatMap(({ objects }) => objects.map(({ ref }) => refText(ref))),
    foreign: all.flatMap(({ foreign }) => foreign),
    faults: reading.faults,
    files: reading.files,
  };
}

test('documents of YAML and JSON files are found, several in a file, in namespaces and in Lists', async () => {
  const { objects, faults } = await read({
    'a.yaml': `---\n# a comment\n---\n${USER}---\n${USER.replace('app', 'other')}`,
    'b.yml': USER.replace('{name: app}', '{name: app, namespace: shop}'),
    'c.json': JSON.stringify({
      apiVersion: 'v1',
      kind: 'List',
      items: [{ apiVersion: 'chasqui.dev/v1alpha1', kind: 'MailDomain', metadata: { name: 'example-test' } }],
    }),
  });
  assert.deepEqual(objects, [
    'SmtpUser/default/app',
    'SmtpUser/default/other',
    'SmtpUser/shop/app',
    'MailDomain/default/example-test',
  ]);
  assert.deepEqual(faults, []);
});

test('other files, drafts of editors, folders and pipes are not manifests', async () => {
  await using made = folderWith({ 'README.md': USER, 'a.yaml.swp': USER, '.b.yaml': USER, 'c.yaml~': USER });
  mkdirSync(path.join(made.folder, 'folder.yaml'));
  symlinkSync('nobody@host.1234', path.join(made.folder, '.#c.yaml'));
  execFileSync('mkfifo', [path.join(made.folder, 'pipe.yaml')]);
  const reading = await readFolder(made.folder, 0);
  assert.deepEqual([...reading.files.keys()], []);
  assert.deepEqual(reading.faults, []);
});

test('a mounted ConfigMap is read through its symbolic links, before and after it is swapped', async () => {
  await using made = folderWith({});
  const inFolder = (name: string): string => path.join(made.folder, name);
  mkdirSync(inFolder('..1'));
  writeFileSync(inFolder('..1/a.yaml'), USER);
  symlinkSync('..1', inFolder('..data'));
  symlinkSync('..data/a.yaml', inFolder('a.yaml'));
  const before = await readFolder(made.folder, 0);
  mkdirSync(inFolder('..2'));
  writeFileSync(inFolder('..2/a.yaml'), USER.replace('app', 'other'));
  symlinkSync('..2', inFolder('..data_tmp'));
  renameSync(inFolder('..data_tmp'), inFolder('..data'));
  const after = await readFolder(made.folder, 1, before);
  const names = [before, after].map(({ files }) => files.get('a.yaml')?.objects.map(({ ref }) => ref.name));
  assert.deepEqual(names, [['app'], ['other']]);
});

test('a syntax error is told with line and column, and the other files are read', async () => {
  const { objects, faults } = await read({ 'a.yaml': `${USER}---\nspec: [\n`, 'b.yaml': USER });
  assert.deepEqual(objects, ['SmtpUser/default/app']);
  assert.equal(faults.length, 1);
  assert.equal(faults[0]?.file, 'a.yaml');
  assert.match(faults[0]?.place ?? '', /^line 6, column 1$/);
});

test('a file that cannot be read is a fault', async () => {
  await using made = folderWith({});
  symlinkSync('nowhere', path.join(made.folder, 'a.yaml'));
  const { faults } = await readFolder(made.folder, 0);
  assert.match(faults[0]?.message ?? '', /^cannot be read: ENOENT/);
});

test('a document that does not say which object it is is a fault', async () => {
  for (const content of [
    'apiV',
    '- a',
    'apiVersion: chasqui.dev/v1alpha1\n',
    'apiVersion: chasqui.dev/v1alpha1\nkind: SmtpUser\nmetadata: {}\n',
    'apiVersion: chasqui.dev/v1alpha1\nkind: SmtpUsr\nmetadata: {name: app}\n',
    'apiVersion: chasqui.dev/v1alpha1\nkind: SmtpUser\nmetadata: {name: ../../app}\n',
    'apiVersion: chasqui.dev/v1alpha1\nkind: SmtpUser\nmetadata: {name: app, namespace: ..}\n',
  ]) {
    const { objects, faults } = await read({ 'a.yaml': content });
    assert.deepEqual([objects, faults.length], [[], 1], content);
  }
});

test('an object of another kind is told, and is no fault', async () => {
  const { objects, foreign, faults } = await read({
    'a.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n',
  });
  assert.deepEqual([objects, foreign, faults], [[], ['ConfigMap default/x'], []]);
});

test('a kind of ours under another apiVersion is still that object, for the validation to refuse', async () => {
  const { objects } = await read({ 'a.yaml': USER.replace('chasqui.dev', 'chasqi.dev') });
  assert.deepEqual(objects, ['SmtpUser/default/app']);
});

test('text is read as kubectl reads it: yes is true, a date stays text', async () => {
  const { files } = await read({ 'a.yaml': `${USER}spec: {yes: yes, day: 2026-11-23}\n` });
  const document = files.get('a.yaml')?.objects[0]?.document;
  assert.deepEqual((document as { spec: unknown }).spec, { true: true, day: '2026-11-23' });
});

test('what is too large is a fault and is not taken into memory', async () => {
  const large = await read({ 'a.yaml': `# ${'x'.repeat(5 * 1024 * 1024)}\n${USER}` });
  assert.match(large.faults[0]?.message ?? '', /larger than/);
  const lists = 'bcdefgh'.split('').map((name, index) => {
    const former = Array(9).fill(`*${'abcdefg'[index]}`);
    return `${name}: &${name} [${former.join(', ')}]\n`;
  });
  const bomb = await read({ 'a.yaml': `${USER}a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n${lists.join('')}` });
  assert.match(bomb.faults[0]?.message ?? '', /too many values/);
});

test('no folder and a folder that cannot be read are two things', async () => {
  await using made = folderWith({ 'file.yaml': '' });
  const missing = await readFolder(path.join(made.folder, 'nowhere'), 0);
  assert.deepEqual([missing.present, missing.faults], [false, []]);
});
