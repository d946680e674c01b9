/** Manifests that are lost without anybody meaning it: a file half written, a folder emptied or not mounted. */
import assert from 'node:assert/strict';
import { readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { DOMAIN, domain, greeting, RELAY, relay, USER, userManifest } from '../harness/local-relay.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

/** What is gone in two readings two seconds apart may be deleted: twice that is enough for what must not be. */
const LONG_ENOUGH_MS = 5_000;
const ALL = [RELAY, DOMAIN, USER];

async function three(): Promise<{ standalone: Standalone; port: number; text: string }> {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  const text = [relay({ port, submission, monitoring }), domain(), userManifest].join('---');
  const standalone = await Standalone.start({ 'all.yaml': text });
  for (const id of ALL) await standalone.untilReady(id);
  return { standalone, port, text };
}

const uids = (standalone: Standalone) => ALL.map((id) => standalone.object(id)?.metadata.uid);

test('a file that is half written deletes nothing, though another object goes meanwhile', async () => {
  const { standalone, text } = await three();
  await using _ = standalone;
  const before = uids(standalone);
  standalone.write('other.yaml', domain('other', 'other.test'));
  await standalone.untilReady('MailDomain/default/other');

  // It parses, and lacks the user.
  standalone.write('all.yaml', text.slice(0, text.lastIndexOf('---')).trimEnd());
  standalone.remove('other.yaml');
  await standalone.until('the other goes', () => standalone.object('MailDomain/default/other') === undefined);
  assert.deepEqual(uids(standalone), before);
  standalone.write('all.yaml', text);
  for (const id of ALL) await standalone.untilReady(id);
  assert.deepEqual(uids(standalone), before);
});

test('a folder that is emptied or not mounted deletes nothing, over a restart too', async () => {
  const { standalone, port, text } = await three();
  await using _ = standalone;
  const before = uids(standalone);

  for (const file of readdirSync(standalone.manifests)) standalone.remove(file);
  await pause(LONG_ENOUGH_MS);
  assert.deepEqual(uids(standalone), before);

  const elsewhere = join(standalone.root, 'elsewhere');
  renameSync(standalone.manifests, elsewhere);
  await standalone.until('it is told', () =>
    standalone.lines.some(({ message }) => message?.includes('there is no such folder') ?? false),
  );
  await standalone.kill();
  standalone.run();
  await standalone.until('the relay runs again', () => {
    const started = standalone.lines.filter(({ message }) => message === 'relay started').length;
    return started === 2 && standalone.replicas(RELAY) === 'Ready';
  });
  await pause(LONG_ENOUGH_MS);
  assert.deepEqual(uids(standalone), before);
  for (const id of ALL) await standalone.untilReady(id);
  assert.equal(await greeting(port), '220 relay');

  // The folder is there again, and is followed: an object that goes now is meant to go.
  renameSync(elsewhere, standalone.manifests);
  standalone.write('all.yaml', text.slice(0, text.lastIndexOf('---')));
  await standalone.until('the user goes', () => standalone.object(USER) === undefined);
  assert.deepEqual(uids(standalone).slice(0, 2), before.slice(0, 2));
});
