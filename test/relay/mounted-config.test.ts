/** A relay whose config is a mounted volume, as in a pod: what the kubelet puts there is in force soon, as a whole. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { replicaStatus } from '../../cli/admin-client.ts';
import { INDEX, type IndexDocument, SETTINGS, type SettingsDocument } from '../../relay/config/documents.ts';
import { Destination } from '../harness/destination.ts';
import { samplesOf } from '../harness/monitoring.ts';
import { MountedFolder } from '../harness/mounted-folder.ts';
import { RelayProcess } from '../harness/relay-process.ts';
import { SmtpClient } from '../harness/smtp-client.ts';

type Documents = ReadonlyMap<string, string>;

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const hashOf = (documents: Documents): string => sha256(documents.get(INDEX) ?? '');

/** The config with another host name, which stands in each greeting. */
function named(documents: Documents, hostname: string): Documents {
  const settings: SettingsDocument = JSON.parse(documents.get(SETTINGS) ?? '');
  const index: IndexDocument = JSON.parse(documents.get(INDEX) ?? '');
  const text = JSON.stringify({ ...settings, hostname });
  const hashes = { ...index.documents, [SETTINGS]: sha256(text) };
  return new Map([...documents, [SETTINGS, text], [INDEX, JSON.stringify({ ...index, documents: hashes })]]);
}

/** A relay with what it runs by mounted at its config folder. */
async function mounted(destination: Destination) {
  const relay = await RelayProcess.start(destination.port);
  await relay.kill();
  const documents: Documents = new Map(
    readdirSync(relay.config).map((name) => [name, readFileSync(join(relay.config, name), 'utf8')]),
  );
  rmSync(relay.config, { recursive: true });
  const folder = new MountedFolder(relay.config, documents);
  await relay.run();
  return { relay, folder, documents };
}

async function greeting(relay: RelayProcess): Promise<string> {
  await using client = await SmtpClient.connect(relay.port);
  return client.greeting;
}

const took = (relay: RelayProcess, hash: string) =>
  relay.logged(`config ${hash} is in force`, (line) => line.message === 'config in force' && line.hash === hash);

/** What its metrics tell of its config. */
async function measured(relay: RelayProcess) {
  const samples = await samplesOf([relay.monitoring]);
  const hashes = [...samples.keys()].flatMap(
    (sample) => /^chasqui_config_info\{hash="(\w+)"\}$/.exec(sample)?.[1] ?? [],
  );
  const successful = samples.get('chasqui_config_last_reload_successful');
  const sinceSeconds = samples.get('chasqui_config_last_reload_success_timestamp_seconds') ?? Number.NaN;
  return { hashes, successful, sinceSeconds };
}

test('what is swapped into a mounted folder is in force within a second', async () => {
  await using destination = await Destination.start();
  const { relay: relayOf, folder, documents } = await mounted(destination);
  await using relay = relayOf;
  const tookMs: number[] = [];
  for (let round = 0; round < 9; round++) {
    const next = named(documents, `relay-${round}.example.test`);
    const swappedMs = performance.now();
    folder.swap(next);
    await took(relay, hashOf(next));
    tookMs.push(performance.now() - swappedMs);
    assert.match(await greeting(relay), new RegExp(`^220 relay-${round}\\.`));
  }
  // On a busy machine one of them may be late; the folder is looked at every two seconds in any case.
  const median = tookMs.toSorted((a, b) => a - b)[4] ?? Number.NaN;
  assert.ok(median < 1_000, `it took ${tookMs.map(Math.round).join(', ')} ms`);
});

test('however fast versions follow each other, each that is in force is a whole one, and the last one is', async () => {
  await using destination = await Destination.start();
  const { relay: relayOf, folder, documents } = await mounted(destination);
  await using relay = relayOf;
  const versions = Array.from({ length: 300 }, (_, index) => named(documents, `relay-${index}.example.test`));
  for (const version of versions) {
    folder.swap(version);
    // Now and then the relay gets to look.
    await new Promise((resolve) => setImmediate(resolve));
  }
  const last = versions.at(-1) ?? assert.fail();
  await took(relay, hashOf(last));
  assert.match(await greeting(relay), /^220 relay-299\./);
  const known = new Map(versions.map((version, index) => [hashOf(version), index]));
  const inForce = relay.lines().flatMap(({ message, hash = '' }) => (message === 'config in force' ? [hash] : []));
  const order = inForce.map((hash) => known.get(hash));
  assert.ok(
    order.every((index) => index !== undefined),
    'none is a mix of two',
  );
  assert.deepEqual(
    order,
    order.toSorted((a, b) => Number(a) - Number(b)),
    'none comes after a later one',
  );
});

test('a volume that mixes two versions leaves the one in force as it is, and says which document is behind', async () => {
  await using destination = await Destination.start();
  const { relay: relayOf, folder, documents } = await mounted(destination);
  await using relay = relayOf;
  const next = named(documents, 'next.example.test');
  // Secrets of one volume are fetched one by one: here the index came first.
  folder.swap(new Map([...documents, [INDEX, next.get(INDEX) ?? '']]));
  await relay.logged('it is told', ({ problem }) => problem === `${SETTINGS}: is not the version that ${INDEX} names`);
  assert.equal((await replicaStatus(relay.admin)).configHash, hashOf(documents));
  assert.match(await greeting(relay), /^220 relay\.example\.test /);
  const before = await measured(relay);
  assert.deepEqual(before.hashes, [hashOf(documents)]);
  assert.equal(before.successful, 0);
  folder.swap(next);
  await took(relay, hashOf(next));
  assert.match(await greeting(relay), /^220 next\.example\.test /);
  const after = await measured(relay);
  assert.equal(after.successful, 1);
  assert.deepEqual(after.hashes, [hashOf(next)], 'the former one is told no more');
  assert.ok(after.sinceSeconds > before.sinceSeconds);
});

test('a pod that starts with nothing mounted goes on by the last good config, and follows what is mounted then', async () => {
  await using destination = await Destination.start();
  const { relay: relayOf, folder, documents } = await mounted(destination);
  await using relay = relayOf;
  const kept = named(documents, 'kept.example.test');
  folder.swap(kept);
  await took(relay, hashOf(kept));
  relay.terminate();
  assert.equal(await relay.ended(), 0);

  folder.swap(new Map());
  await relay.run();
  assert.match(await greeting(relay), /^220 kept\.example\.test /);
  assert.equal((await replicaStatus(relay.admin)).configHash, hashOf(kept));
  const next = named(documents, 'next.example.test');
  folder.swap(next);
  await took(relay, hashOf(next));
  assert.match(await greeting(relay), /^220 next\.example\.test /);
});
