import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needsStrace } from '../harness/strace.ts';
import { CALLS, killedAtCall } from './kill-at-calls.ts';

/** All of them take too long here: make soak has them. */
const SOME = 3;

for (const bytes of [4096, 300_000]) {
  test(
    `killed in a system call, with messages of ${bytes} bytes, a spool has what it said to have`,
    needsStrace,
    async (t) => {
      let kills = 0;
      for (const call of CALLS) {
        for (let some = 0; some < SOME; some++) {
          const number = 1 + Math.floor((Math.random() * 4 ** (some + 1)) / 2);
          if (!(await killedAtCall({ call, bytes, messages: 12 }, number))) break;
          t.diagnostic(`killed in ${call} ${number}`);
          kills += 1;
        }
      }
      assert.ok(kills >= SOME * 2, `${kills} kills`);
    },
  );
}
