import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Reason, reasonOf } from './reason.ts';

const cases: readonly (readonly [code: number, enhanced: string | undefined, reason: Reason])[] = [
  [250, '2.0.0', 'none'],
  [250, undefined, 'none'],
  [550, '5.1.1', 'address'],
  [452, '4.2.2', 'mailbox'],
  [421, '4.3.2', 'system'],
  [451, '4.4.1', 'network'],
  [500, '5.5.2', 'protocol'],
  [552, '5.6.7', 'content'],
  [550, '5.7.26', 'policy'],
  [550, '5.0.0', 'undefined'],
  [550, '5.9.1', 'undefined'],
  [550, undefined, 'address'],
  [421, undefined, 'system'],
  [450, undefined, 'mailbox'],
  [554, undefined, 'undefined'],
];
for (const [code, enhanced, reason] of cases) {
  test(`${[code, enhanced].filter(Boolean).join(' ')} is counted as ${reason}`, () => {
    assert.equal(reasonOf({ code, text: '', ...(enhanced !== undefined && { enhanced }) }), reason);
  });
}
