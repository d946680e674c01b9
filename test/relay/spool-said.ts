/** What a spool driver said before it was killed, compared with what its spool holds. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { buffer } from 'node:stream/consumers';
import type { Spool } from '../../relay/spool/spool.ts';
import { contentOf } from './spool-driver.ts';

/** What the driver said of its messages, over all its lives. */
export class Said {
  /** Bytes of those that got their 250 and were not finished. */
  readonly kept = new Map<string, number>();
  /** Killed between `finishing` and `finished`: either may be true. */
  readonly unsure = new Set<string>();
  readonly given = new Set<string>();

  add(line: string, bytes: number): void {
    const [what, queueId = ''] = line.split(' ');
    if (what === '250') {
      assert.ok(!this.given.has(queueId), `${queueId} was given twice`);
      this.given.add(queueId);
      this.kept.set(queueId, bytes);
    } else if (what === 'finishing') {
      this.kept.delete(queueId);
      this.unsure.add(queueId);
    } else if (what === 'finished') {
      this.unsure.delete(queueId);
    } else {
      assert.fail(line);
    }
  }
}

export async function compare(spool: Spool, folder: string, said: Said): Promise<void> {
  const found = new Set((await spool.list(100_000)).map(({ queueId }) => queueId));
  const inFiles = new Set<string>();
  for (const [queueId, size] of said.kept) {
    assert.ok(found.has(queueId), `${queueId} got its 250 and is lost`);
    const { data } = await spool.read(queueId);
    if (!Buffer.isBuffer(data)) inFiles.add(queueId);
    const content = Buffer.isBuffer(data) ? data : await buffer(data.open());
    assert.ok(content.equals(contentOf(queueId, size)), `${queueId} is not what it was`);
  }
  const others = [...found].filter((queueId) => !said.kept.has(queueId));
  const finished = others.filter((queueId) => said.given.has(queueId) && !said.unsure.has(queueId));
  assert.deepEqual(finished, [], 'finished, and back');
  for (const queueId of readdirSync(path.join(folder, 'bodies'))) {
    assert.ok(inFiles.has(queueId) || others.includes(queueId), `body ${queueId} belongs to no message`);
  }
  assert.equal((await spool.stats()).messages, found.size);
  // Committed when the kill came before the 250 was written: as good as any from now on.
  for (const queueId of others) {
    said.given.add(queueId);
    said.unsure.add(queueId);
  }
}
