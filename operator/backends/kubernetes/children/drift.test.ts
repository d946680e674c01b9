import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { drift } from './drift.ts';

describe('an object is as it was applied', () => {
  const same: readonly [sentence: string, wanted: unknown, live: unknown][] = [
    ['when every field of ours is there', { a: 1 }, { a: 1 }],
    ['when others added fields', { spec: { a: 1 } }, { spec: { a: 1, b: 2 }, status: {} }],
    ['when the API server filled in the items of a list', [{ a: 1 }], [{ a: 1, protocol: 'TCP' }]],
    ['when it writes an amount in its own way', { memory: '1024Mi', cpu: '1000m' }, { memory: '1Gi', cpu: '1' }],
    ['when what says nothing is not stored', { a: [], b: false, c: 0 }, {}],
  ];
  for (const [sentence, wanted, live] of same) it(sentence, () => assert.equal(drift(wanted, live), undefined));
});

describe('an object is not as it was applied', () => {
  const other: readonly [sentence: string, wanted: unknown, live: unknown, field: string][] = [
    ['when a field has another value', { spec: { replicas: 2 } }, { spec: { replicas: 1 } }, '.spec.replicas'],
    ['when a field is gone', { spec: { a: { b: 1 } } }, { spec: {} }, '.spec.a'],
    ['when a list has another item more', { ports: [1] }, { ports: [1, 2] }, '.ports'],
    ['when a list has the items in another order', { ports: [1, 2] }, { ports: [2, 1] }, '.ports[0]'],
    ['when an amount is another', { size: '1Gi' }, { size: '1G' }, '.size'],
    [
      'when a selector has a label more: it selects less',
      { selector: { a: '1' } },
      { selector: { a: '1', b: '2' } },
      '.selector',
    ],
    ['when something is another kind of thing', { a: { b: 1 } }, { a: 'b' }, '.a'],
  ];
  for (const [sentence, wanted, live, field] of other) it(sentence, () => assert.equal(drift(wanted, live), field));
});
