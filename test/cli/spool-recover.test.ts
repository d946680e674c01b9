import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  cpSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { accept, folderFor, NOW, openIn, to } from '../harness/spool.ts';

const CHASQUI = path.join(import.meta.dirname, '../../bin/chasqui');

function spool(verb: 'check' | 'recover', folder: string): { code: number | null; out: string } {
  const { status, stdout, stderr } = spawnSync(CHASQUI, ['spool', verb, '--spool', folder], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { code: status, out: stdout + stderr };
}

function flip(file: string, text: string): void {
  const bytes = readFileSync(file);
  const at = bytes.indexOf(text);
  assert.ok(at >= 0);
  const descriptor = openSync(file, 'r+');
  writeSync(descriptor, Buffer.from([(bytes[at] ?? 0) ^ 1]), 0, 1, at);
  closeSync(descriptor);
}

test('a spool that is whole is left as it is, one that is in use is not touched', async (t) => {
  const folder = folderFor(t);
  const open = await openIn(t, folder);
  await accept(open, 'one');
  const inUse = spool('recover', folder);
  assert.equal(inUse.code, 69, inUse.out);
  assert.match(inUse.out, /in use by another process.*Stop the relay/s);
  await open.close();
  assert.deepEqual(spool('check', folder).code, 0);
  assert.match(spool('recover', folder).out, /1 messages, nothing is wrong/);
  assert.deepEqual(readdirSync(folder).toSorted(), ['bodies', 'ids.json', 'queue.db']);
  assert.equal(spool('check', path.join(folder, 'bodies')).code, 1);
});

test('recover gives up what is lost, names it, and the queue takes mail again', async (t) => {
  const folder = folderFor(t);
  const before = await openIn(t, folder);
  const row = await accept(before, 'row', to('row@one.test'));
  const body = await accept(before, 'body-of-a-message', to('body@one.test'));
  const file = await accept(before, Buffer.alloc(300_000, 'file'), to('file@one.test'));
  const fine = await accept(before, 'fine', to('fine@one.test'));
  const large = await accept(before, Buffer.alloc(300_000, 'large'), to('large@one.test'));
  await before.close();
  flip(path.join(folder, 'queue.db'), 'row@one.test');
  flip(path.join(folder, 'queue.db'), 'body-of-a-message');
  flip(path.join(folder, 'bodies', file.queueId), 'file');

  const check = spool('check', folder);
  assert.equal(check.code, 1);
  assert.match(check.out, /delivery row \d+ of message row \d+ does not match its crc/);
  assert.match(check.out, /body of message row \d+ does not match its crc/);
  assert.match(check.out, /body file .* does not match its crc/);

  const { code, out } = spool('recover', folder);
  assert.equal(code, 0, out);
  assert.match(out, /has 2 messages with 2 deliveries, and takes mail again/);
  for (const { queueId } of [row, body, file]) {
    assert.match(out, new RegExp(`lost: ${queueId}: `));
    assert.ok(
      readdirSync(path.join(folder, 'lost')).some((name) => name.startsWith(queueId)),
      queueId,
    );
  }
  assert.match(spool('check', folder).out, /2 messages, nothing is wrong/);

  const again = await openIn(t, folder);
  assert.deepEqual(
    (await again.take('one.test', { nowMs: NOW, limit: 10 })).deliveries.map(({ queueId }) => queueId),
    [fine.queueId, large.queueId],
  );
  await again.read(large.queueId);
  const { queueId } = await accept(again, 'new');
  assert.ok(![row, body, file, fine, large].some((old) => old.queueId === queueId));
});

test('after a truncated WAL recover says which queue ids are lost, and none of them is given again', async (t) => {
  const folder = folderFor(t);
  const live = await openIn(t, folder);
  const kept = await accept(live, 'kept');
  await live.close();
  const next = await openIn(t, folder);
  const lost = [];
  for (let n = 0; n < 5; n++) lost.push(await accept(next, `lost ${n}`));
  lost.push(await accept(next, Buffer.alloc(300_000, 'large')));
  const killed = folderFor(t);
  cpSync(folder, killed, { recursive: true });
  truncateSync(path.join(killed, 'queue.db-wal'), 0);

  const damaged = await openIn(t, killed);
  assert.equal(damaged.health().hindrance?.kind, 'damaged');
  await damaged.close();
  const { code, out } = spool('recover', killed);
  assert.equal(code, 0, out);
  const last = lost.at(-1)?.queueId ?? '';
  assert.ok(out.includes(`to ${last}`), out);
  assert.match(out, new RegExp(`lost: ${last}: only its body is left`));
  assert.equal(readFileSync(path.join(killed, 'lost', `${last}.eml`)).length, 300_000);

  const again = await openIn(t, killed);
  assert.equal(again.health().hindrance, undefined);
  assert.deepEqual(
    (await again.list(10)).map(({ queueId }) => queueId),
    [kept.queueId],
  );
  const { queueId } = await accept(again, 'new');
  assert.ok(!lost.some((old) => old.queueId === queueId));
});

for (const [what, damage] of [
  ['missing', (file: string) => rmSync(file)],
  ['rubbish', (file: string) => writeFileSync(file, Buffer.alloc(100_000, 0xa5))],
] as const) {
  test(`where the database is ${what}, recover begins an empty one under the old name and says that all is lost`, async (t) => {
    const folder = folderFor(t);
    const before = await openIn(t, folder);
    const { queueId } = await accept(before, Buffer.alloc(300_000, 'large'));
    await before.close();
    damage(path.join(folder, 'queue.db'));
    const { code, out } = spool('recover', folder);
    assert.equal(code, 0, out);
    assert.match(out, new RegExp(`whatever was queued is lost, with queue ids up to ${queueId}`));
    assert.match(out, new RegExp(`lost: ${queueId}: only its body is left`));
    const again = await openIn(t, folder);
    assert.equal(again.spoolId, before.spoolId);
    assert.notEqual((await accept(again, 'new')).queueId, queueId);
    await again.close();
    assert.equal(spool('check', folder).code, 0);
  });
}

test('a recovery that is broken off is told, takes no body away, and can be made again', async (t) => {
  const folder = folderFor(t);
  const before = await openIn(t, folder);
  const { queueId } = await accept(before, Buffer.alloc(300_000, 'large'));
  await before.close();
  rmSync(path.join(folder, 'queue.db'));
  writeFileSync(path.join(folder, 'queue.db.rebuilt'), 'what an earlier one left');
  // There is no room for what is lost: it ends after the new database is in place.
  writeFileSync(path.join(folder, 'lost'), '');
  const broken = spool('recover', folder);
  assert.notEqual(broken.code, 0, broken.out);
  const started = await openIn(t, folder);
  assert.equal(started.health().hindrance?.kind, 'damaged');
  await started.close();
  assert.deepEqual(readdirSync(path.join(folder, 'bodies')), [queueId]);

  rmSync(path.join(folder, 'lost'));
  const { code, out } = spool('recover', folder);
  assert.equal(code, 0, out);
  assert.match(out, new RegExp(`lost: ${queueId}: only its body is left`));
  assert.equal(readFileSync(path.join(folder, 'lost', `${queueId}.eml`)).length, 300_000);
  const again = await openIn(t, folder);
  assert.equal(again.health().hindrance, undefined);
});
