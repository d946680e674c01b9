import assert from 'node:assert/strict';
import { test } from 'node:test';
import { selects } from './label-selector.ts';

const LABELS = { team: 'shop', tier: 'web' };
const expression = (key: string, operator: string, values?: string[]) => ({
  matchExpressions: [{ key, operator, ...(values && { values }) }],
});

for (const [sentence, selector, expected] of [
  ['an empty selector selects everything', {}, true],
  ['a label must have its value', { matchLabels: { team: 'shop' } }, true],
  ['another value is not selected', { matchLabels: { team: 'bank' } }, false],
  ['all labels must match', { matchLabels: { team: 'shop', tier: 'db' } }, false],
  ['In wants one of the values', expression('team', 'In', ['bank', 'shop']), true],
  ['In does not hold without the label', expression('lost', 'In', ['']), false],
  ['NotIn wants none of them', expression('team', 'NotIn', ['bank']), true],
  ['NotIn holds without the label', expression('lost', 'NotIn', ['bank']), true],
  ['NotIn does not hold for one of them', expression('team', 'NotIn', ['shop']), false],
  ['Exists wants the label', expression('team', 'Exists'), true],
  ['Exists does not hold without it', expression('lost', 'Exists'), false],
  ['DoesNotExist wants it missing', expression('lost', 'DoesNotExist'), true],
  ['DoesNotExist does not hold with it', expression('team', 'DoesNotExist'), false],
  ['an operator that is not known selects nothing', expression('team', 'Near'), false],
  [
    'labels and expressions must both hold',
    { matchLabels: { team: 'shop' }, ...expression('tier', 'In', ['db']) },
    false,
  ],
] as const) {
  test(sentence, () =>
    assert.equal(selects(structuredClone(selector) as Parameters<typeof selects>[0], LABELS), expected),
  );
}
