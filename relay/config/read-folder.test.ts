import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { CONFIG } from '../../test/harness/receiving.ts';
import { CERTIFICATES, INDEX, SETTINGS } from './documents.ts';
import { buildConfig, ConfigError, readDocuments } from './read-folder.ts';

const { chain, key } = CONFIG.certificates.default;

function documents(settings: object = CONFIG.settings, certificate = { chain, key }): Map<string, string> {
  const texts = new Map([
    [SETTINGS, JSON.stringify(settings)],
    [CERTIFICATES, JSON.stringify({ default: certificate })],
  ]);
  const hashes = [...texts].map(([name, text]) => [name, createHash('sha256').update(text).digest('hex')]);
  const index = { formatVersion: 1, replicas: 2, documents: Object.fromEntries(hashes) };
  return texts.set(INDEX, JSON.stringify(index));
}

function folderOf(t: TestContext, texts: ReadonlyMap<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), 'read-folder-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const [name, text] of texts) writeFileSync(join(folder, name), text);
  return folder;
}

test('a folder that is whole is a config', async (t) => {
  const config = buildConfig(await readDocuments(folderOf(t, documents())));
  assert.deepEqual([config.replicas, config.settings], [2, CONFIG.settings]);
});

test('a certificate that TLS would not take is refused before it is in force, and no key is told', () => {
  const other = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  for (const wrong of [
    { chain: 'x', key },
    { chain, key: 'x' },
    { chain, key: other },
  ]) {
    assert.throws(
      () => buildConfig(documents(CONFIG.settings, wrong)),
      (error) =>
        error instanceof ConfigError && /^certificates\.json: /.test(error.message) && !/PRIVATE/.test(error.message),
    );
  }
});

test('a certificate for a name that TLS would not take leaves that name to the default, and is told', () => {
  const texts = documents();
  const good = { names: ['mail.example.test'], chain, key };
  const named = [good, { ...good, key: 'x' }, { ...good, names: [] }, { ...good, names: ['Mail.example.test'] }, 'x'];
  texts.set(CERTIFICATES, JSON.stringify({ default: { chain, key }, named }));
  const { certificates, rejected } = buildConfig(texts);
  assert.deepEqual(certificates.named, [good]);
  assert.deepEqual(
    rejected.map((text) => text.replace(/:.*/, '')),
    [1, 2, 3, 4].map((index) => `certificates.json[${index}]`),
  );
  assert.doesNotMatch(rejected.join(), /PRIVATE/);
});

test('a host name that would break a line is refused', () => {
  for (const hostname of ['relay.test\r\nX: y', 'relay test', '']) {
    assert.throws(
      () => buildConfig(documents({ ...CONFIG.settings, hostname })),
      /^ConfigError: settings\.json: \/hostname /,
    );
  }
});

test('a pipe in place of a document is not waited for', async (t) => {
  const folder = folderOf(t, documents());
  rmSync(join(folder, SETTINGS));
  assert.equal(spawnSync('mkfifo', [join(folder, SETTINGS)]).status, 0);
  await assert.rejects(readDocuments(folder), /^ConfigError: settings\.json: is no file$/);
});
