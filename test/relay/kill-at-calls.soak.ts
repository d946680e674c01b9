import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CALLS, killedAtCall } from './kill-at-calls.ts';

for (const bytes of [4096, 300_000]) {
  for (const call of CALLS) {
    test(`killed in each ${call}, with messages of ${bytes} bytes, a spool has what it said to have`, async (t) => {
      let kills = 0;
      while (await killedAtCall({ call, bytes, messages: 12 }, kills + 1)) kills += 1;
      t.diagnostic(`${kills} kills`);
      assert.ok(kills > 0 || (bytes === 4096 && call === 'unlink') || call === 'ftruncate');
    });
  }
}
