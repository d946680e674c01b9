/** A thousand domains and users on one relay, and ten minutes at rest: the figures of docs/benchmarks.md. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { needsOwnApiServer } from '../cluster/api-server.ts';
import { Many } from './many.ts';

const COUNT = 1_000;
const REST_MS = 10 * 60_000;
/** Lists are read again from time to time, in case a watch was silent. */
const AT_REST = /^(?:watch|list) |^(?:get|update|patch) leases$/;

describe('a relay with a thousand domains and users', needsOwnApiServer, () => {
  it('becomes Ready, rests, follows an edit, and outlives a restart of the operator that writes nothing', async (t) => {
    const tell = (text: string): void => t.diagnostic(text);
    const seconds = (ms: number): string => (ms / 1_000).toFixed(1);
    const table = (counts: ReadonlyMap<string, number>): string =>
      [...counts].map((pair) => pair.join(': ')).join(', ');
    await using many = await Many.start(COUNT, 12);
    const { appliedMs, readyMs } = await many.become();
    tell(`applied in ${seconds(appliedMs)} s, all Ready after ${seconds(readyMs)} s`);
    const asked = await many.rest();
    tell(`${asked} requests: ${table(await many.requests())}`);
    tell(`operator: ${many.cpuSeconds().toFixed(0)} s of CPU, peak RSS ${many.peakMiB().toFixed(0)} MiB`);
    const sizes = [...(await many.shards())].map(([name, bytes]) => `${name} ${bytes}`);
    tell(`shards, bytes: ${sizes.join(', ')}`);
    const cpu = many.cpuSeconds();
    await pause(REST_MS);
    const resting = await many.requests(asked);
    tell(`ten minutes at rest: ${(many.cpuSeconds() - cpu).toFixed(1)} s of CPU, ${table(resting)}`);
    assert.deepEqual(
      [...resting.keys()].filter((what) => !AT_REST.test(what)),
      [],
    );
    const edits: number[] = [];
    for (const number of [7, 501, 999]) {
      edits.push(Math.round(await many.edit(number)));
      await many.rest();
    }
    tell(`edits were in force in both pods after ${edits.join(', ')} ms`);
    assert.ok(Math.max(...edits) < 2_000, edits.join());
    assert.deepEqual(await many.restart(), []);
    tell(`operator started anew: peak RSS ${many.peakMiB().toFixed(0)} MiB`);
  });
});
