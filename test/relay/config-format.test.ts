/**
 * Operator and relays are of different versions while either is upgraded. Within a format version each reads what the
 * other writes: fields are only ever added, and unknown ones are passed over. `config-format/1` keeps what the first
 * version wrote, and the schemas that it read by. Neither is ever changed: who has to is about to begin a format version.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TSchema } from 'typebox';
import Schema from 'typebox/schema';
import { ReplicaStatus } from '../../relay/admin/status.ts';
import * as documents from '../../relay/config/documents.ts';
import { buildConfig, readDocuments } from '../../relay/config/read-folder.ts';
import { AdoptAnswer, decode, encode, ForgetBody, PeerAnswer } from '../../relay/handover/protocol.ts';
import { Destination } from '../harness/destination.ts';
import { everyField } from '../harness/every-field.ts';
import { MountedFolder } from '../harness/mounted-folder.ts';
import { PASSWORD } from '../harness/receiving.ts';
import { RelayProcess } from '../harness/relay-process.ts';
import { SmtpClient } from '../harness/smtp-client.ts';

const { CERTIFICATES, INDEX, SETTINGS } = documents;
const KEPT = join(import.meta.dirname, 'config-format/1');
const FOLDER = join(KEPT, 'config');

type Documents = ReadonlyMap<string, string>;

/** By the name of the document, or its kind. */
const schemas = (): Readonly<Record<string, TSchema>> => JSON.parse(readFileSync(join(KEPT, 'schemas.json'), 'utf8'));

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const json = (texts: Documents, name: string): unknown => JSON.parse(texts.get(name) ?? '');

/** The same, under an index that names their hashes. */
function indexed(texts: Documents): Documents {
  const index: documents.IndexDocument = JSON.parse(texts.get(INDEX) ?? '');
  const hashes = [...texts].flatMap(([name, text]) => (name === INDEX ? [] : [[name, sha256(text)]]));
  return new Map([...texts, [INDEX, JSON.stringify({ ...index, documents: Object.fromEntries(hashes) })]]);
}

const NEW = 'ofALaterVersion';

/** With a field that nobody knows in each object, however deep. */
function withUnknown(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withUnknown);
  if (typeof value !== 'object' || value === null) return value;
  const fields = Object.entries(value).map(([name, field]) => [name, withUnknown(field)]);
  return { ...Object.fromEntries(fields), [NEW]: { anything: [1, 'x', null] } };
}

function without(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(without);
  if (value instanceof Map) return new Map([...value].map(([name, field]) => [name, without(field)]));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, field]) => (name === NEW ? [] : [[name, without(field)]])),
  );
}

function assertFits(schema: TSchema | undefined, value: unknown, what: string): void {
  assert.ok(schema, what);
  const [fits, problems] = Schema.Compile(schema).Errors(value);
  assert.ok(fits, `${what}: ${problems.map(({ instancePath, message }) => `${instancePath} ${message}`).join('; ')}`);
}

test('a relay reads what an operator of a later version writes, and passes over what it does not know', async () => {
  const texts = await everyField(PASSWORD);
  const config = buildConfig(texts);
  assert.deepEqual(config.rejected, []);
  const later = new Map(
    [...texts].map(([name, text]) => {
      const value: unknown = JSON.parse(text);
      // Its hashes are of documents alone.
      const unknown = name === INDEX ? { ...Object(value), [NEW]: 1 } : withUnknown(value);
      return [name, JSON.stringify(unknown)] as const;
    }),
  );
  const { hash: _, ...read } = buildConfig(indexed(new Map([...later, ['routes-00.json', '{"routes":[]}']])));
  const { hash: __, ...known } = config;
  assert.deepEqual(without(read), known);
});

test('a relay reads what an operator of the first version wrote', async () => {
  const texts = await readDocuments(FOLDER);
  const config = buildConfig(texts);
  assert.deepEqual(config.rejected, []);
  assert.deepEqual(config.settings, json(texts, SETTINGS));
  assert.deepEqual(config.certificates, json(texts, CERTIFICATES));
  assert.deepEqual([...config.domains.keys()], ['unsigned.test', 'example.test']);
  assert.deepEqual(
    config.domains.get('example.test')?.dkim.keys.map(({ algorithm }) => algorithm),
    ['RSA2048', 'Ed25519'],
  );
  assert.deepEqual([...config.users.keys()].toSorted(), ['app.default', 'off.default']);
  assert.equal(config.replicas, 3);
});

test('a relay of the first version reads what the operator writes today', async () => {
  const texts = await everyField(PASSWORD);
  const kept = schemas();
  for (const [name, text] of texts) {
    const [, kind] = /^(domains|users)-\d\d\.json$/.exec(name) ?? [];
    const value: unknown = JSON.parse(text);
    assertFits(kept[kind ?? name], value, name);
    if (kind === undefined || typeof value !== 'object' || value === null) continue;
    const entries: unknown = Object.values(value)[0];
    assert.ok(Array.isArray(entries) && entries.length > 0);
    for (const entry of entries) assertFits(kept[`${kind} entry`], entry, `an entry of ${name}`);
  }
  const { named = [] }: documents.CertificatesDocument = JSON.parse(texts.get(CERTIFICATES) ?? '');
  assert.equal(named.length, 1);
  for (const entry of named) assertFits(kept['named certificate'], entry, 'a named certificate');
  assert.deepEqual(
    Object.keys(kept).filter((name) => name.endsWith('.json') && !texts.has(name)),
    [],
    'each document is written',
  );
});

test('a relay takes, signs and delivers mail by the config that the first version wrote', async () => {
  await using destination = await Destination.start();
  await using relay = await RelayProcess.start(destination.port);
  await relay.kill();
  // Where it listens and where mail goes is a matter of this test.
  const here: documents.SettingsDocument = JSON.parse(readFileSync(join(relay.config, SETTINGS), 'utf8'));
  const texts = new Map(readdirSync(FOLDER).map((name) => [name, readFileSync(join(FOLDER, name), 'utf8')]));
  const settings: documents.SettingsDocument = JSON.parse(texts.get(SETTINGS) ?? '');
  const [listener] = settings.listeners;
  assert.ok(listener);
  texts.set(
    SETTINGS,
    JSON.stringify({
      ...settings,
      listeners: [{ ...listener, port: relay.port }],
      delivery: { ...settings.delivery, routes: here.delivery.routes, suspended: false },
      monitoring: here.monitoring,
    }),
  );
  const mounted = new MountedFolder(join(relay.config, '../mounted'), indexed(texts));
  await relay.run([], ['--config', mounted.path]);

  await using client = await SmtpClient.connect(relay.port);
  await client.startTls();
  assert.match(await client.authenticate('app.default', PASSWORD), /^235 /);
  await client.talk(['MAIL FROM:<app@example.test>', '250 '], ['RCPT TO:<ann@dest.test>', '250 '], ['DATA', '354 ']);
  assert.match(await client.content('From: app@example.test\r\n\r\nHello\r\n'), /^250 /);
  await relay.untilEmpty();
  const [message] = destination.messages;
  assert.equal([...(message?.data.toString('latin1') ?? '').matchAll(/^DKIM-Signature: /gm)].length, 2);
});

test('replicas of different versions understand each other, and so do operator and replicas', async () => {
  for (const [shape, value] of [
    [PeerAnswer, { spool: '01234567', takes: true }],
    [AdoptAnswer, { adopted: 'new' }],
    [ForgetBody, { source: '01234567', upTo: 7 }],
    [
      ReplicaStatus,
      {
        ...{ ordinal: 0, version: '0', configHash: 'x', rejected: [], ready: true, draining: false, reasons: [] },
        queue: { messages: 0, deliveries: 0 },
      },
    ],
  ] as const) {
    assertFits(shape, value, 'what the first version says');
    assertFits(shape, withUnknown(value), 'what a later version says');
  }

  const recipients = [{ address: 'ann@dest.test', state: 'deferred' as const, attempts: 1, [NEW]: 1 }];
  const envelope = {
    ...({ version: 1, mailFrom: 'app@example.test', smtputf8: false, bodyType: '7BIT' } as const),
    ...{ arrivedMs: 1, sizeBytes: 5, headerBytes: 0, [NEW]: { deep: 1 } },
  };
  const moving = {
    ...{ source: '01234567', sequence: 1, queueId: '0123456789', envelope },
    deliveries: [{ destination: 'dest.test', attempts: 1, due: 5, recipients, [NEW]: 1 }],
    [NEW]: 1,
  };
  const sent = encode(moving, { signature: undefined, data: Buffer.from('Hello') });
  const arrived = await decode(sent.chunks());
  assert.deepEqual(arrived.moving.envelope, envelope, 'of the envelope nothing is lost, known or not');
  assert.deepEqual(arrived.moving.deliveries[0]?.recipients, recipients);
});
