/** A hundred domains and users on one relay; a thousand of each in many.soak.ts. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { needsOwnApiServer } from '../cluster/api-server.ts';
import { Many } from './many.ts';

/** No list, either: that is read again after a longer time. */
const AT_REST = /^watch |^(?:get|update|patch) leases$/;

describe('a relay with a hundred domains and users', needsOwnApiServer, () => {
  it('becomes Ready, rests, follows an edit, and outlives a restart of the operator that writes nothing', async (t) => {
    await using many = await Many.start(100, 11);
    const { readyMs } = await many.become();
    const asked = await many.rest();
    t.diagnostic(`${(readyMs / 1_000).toFixed(1)} s until all were Ready, ${asked} requests`);
    // Twenty a domain with its user are plenty: two keys, a credential, a verifier, status and events of both.
    assert.ok(asked < 100 * 25, `${asked} requests:\n${[...(await many.requests())].join('\n')}`);
    await pause(10_000);
    const resting = [...(await many.requests(asked)).keys()];
    assert.deepEqual(
      resting.filter((what) => !AT_REST.test(what)),
      [],
    );
    t.diagnostic(`an edit is in force in both pods after ${Math.round(await many.edit(7))} ms`);
    await many.rest();
    assert.deepEqual(await many.restart(), []);
  });
});
