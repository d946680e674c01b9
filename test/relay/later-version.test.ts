/**
 * A relay that meets what a later version wrote, as when an operator is upgraded before its relays, or a relay goes back:
 * what it would not do right it does not begin, and it leaves the queue to those who understand it.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { replicaStatus } from '../../cli/admin-client.ts';
import { at, Destination } from '../harness/destination.ts';
import { CHASQUI } from '../harness/program.ts';
import { RelayProcess } from '../harness/relay-process.ts';
import { SmtpClient } from '../harness/smtp-client.ts';

const OLDER = /: it is older than its operator; upgrade the relay, or /;

async function send(relay: RelayProcess): Promise<void> {
  await using client = await SmtpClient.connect(relay.port);
  await client.talk(['EHLO client.test', '250'], ['MAIL FROM:<app@example.test>', '250']);
  await client.talk(['RCPT TO:<ann@dest.test>', '250'], ['DATA', '354']);
  assert.match(await client.content('From: app@example.test\r\n\r\nHello\r\n'), /^250 /);
}

for (const [what, index, named] of [
  [
    'a later format',
    { formatVersion: 2, documents: 'elsewhere' },
    /^index\.json: has format 2, and this relay reads 1/,
  ],
  [
    'something that it must understand and does not',
    { requires: ['time-travel'] },
    /^index\.json: requires "time-travel"/,
  ],
  ['requirements of a later form', { requires: { 'time-travel': 2 } }, /^index\.json: \/requires /],
] as const) {
  test(`a config of ${what} is not taken: the one before stays in force, over restarts, and that is told`, async () => {
    await using destination = await Destination.start();
    await using relay = await RelayProcess.start(destination.port);
    const { configHash } = await replicaStatus(relay.admin);
    const { documents } = JSON.parse(readFileSync(join(relay.config, 'index.json'), 'utf8'));

    const untilRefused = async (): Promise<void> => {
      await relay.logged('it is told', ({ problem = '' }) => named.test(problem));
      const status = await replicaStatus(relay.admin);
      assert.equal(status.configHash, configHash);
      assert.equal(status.ready, true);
      await send(relay);
    };
    relay.setIndex(index);
    await untilRefused();
    const { configProblem = '' } = await replicaStatus(relay.admin);
    assert.match(configProblem, named);
    if (!what.endsWith('form')) assert.match(configProblem, OLDER);

    relay.terminate();
    assert.equal(await relay.ended(), 0);
    await relay.run();
    await untilRefused();

    relay.setIndex({ formatVersion: 1, documents, requires: ['smarthost-credentials'] });
    await relay.logged('what it understands is in force', ({ message }) => message === 'config in force');
    assert.equal((await replicaStatus(relay.admin)).configProblem, undefined);
    await relay.untilEmpty();
    assert.equal(destination.messages.length, 2);
  });
}

test('a relay that never had another config than one that it does not understand says so, and ends', async () => {
  await using destination = await Destination.start();
  await using relay = await RelayProcess.start(destination.port);
  await relay.kill();
  rmSync(join(relay.spool, 'config'), { recursive: true });
  relay.setIndex({ requires: ['time-travel'] });
  await assert.rejects(relay.run(), /ended before/);
  assert.equal(await relay.ended(), 70);
  const [last] = relay.lines().slice(-1);
  assert.equal(last?.message, 'the relay failed, this process ends');
  assert.match(last?.problem ?? '', /^index\.json: requires "time-travel"/);
});

/** Each file of a queue, byte for byte; what a start may write anew whatever it finds is left out. */
const filesOf = (spool: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(spool, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => [join(parentPath, name), readFileSync(join(parentPath, name)).toString('base64')]),
  );

/** As if it had been written by another version. */
function setFormat(spool: string, version: number): void {
  const db = new DatabaseSync(join(spool, 'queue.db'));
  db.exec(`PRAGMA user_version = ${version}`);
  db.close();
}

test('a queue of a later format is refused and left as it is, for the version that wrote it', async () => {
  await using destination = await Destination.start();
  const retry = { schedule: ['1s'], expireAfter: '120h' };
  await using relay = await RelayProcess.start(destination.port, [], { retry });
  destination.react = at('mail', '451 4.3.0 Later');
  await send(relay);
  await relay.logged('it waits', ({ event }) => event === 'deferred');
  relay.terminate();
  assert.equal(await relay.ended(), 0);
  setFormat(relay.spool, 2);
  const before = filesOf(relay.spool);

  await assert.rejects(relay.run(), /ended before/);
  assert.equal(await relay.ended(), 70);
  const [last] = relay.lines().slice(-1);
  assert.match(
    last?.problem ?? '',
    /^spool .* was written by a newer version \(format 2, this program knows 1\): start that version$/,
  );
  for (const verb of ['check', 'recover']) {
    const { status, stderr } = spawnSync(CHASQUI, ['spool', verb, '--spool', relay.spool], { encoding: 'utf8' });
    assert.notEqual(status, 0);
    assert.match(stderr, /was written by a newer version/);
  }
  assert.deepEqual(filesOf(relay.spool), before);

  setFormat(relay.spool, 1);
  destination.react = () => undefined;
  await relay.run();
  await relay.untilEmpty();
  assert.equal(destination.messages.length, 1);
});
