import assert from 'node:assert/strict';
import { test } from 'node:test';
import Type from 'typebox';
import { CEL_RULES, withImmutable } from './cel.ts';
import { KINDS } from './kinds.ts';
import { ruleNames } from './rules.ts';
import { structural } from './structural.ts';

test('a rule does not stand where an API server would put an empty default to it', () => {
  const section = structural(Type.Object({ queue: Type.Object({ storage: Type.String() }, { default: {} }) }));
  assert.throws(() => withImmutable(section, '/queue'), /default {}/);
  assert.throws(() => withImmutable(section, '/spool'), /spool, which the schema has not/);
  assert.deepEqual(withImmutable(section, '/queue/storage').properties?.queue?.properties?.storage, {
    type: 'string',
    'x-kubernetes-validations': [
      {
        rule: 'self == oldSelf',
        messageExpression: `'cannot change from ' + oldSelf + ': delete the object and make another one'`,
      },
    ],
  });
});

for (const { kind } of KINDS) {
  test(`each rule of ${kind} is one for the API server too`, () => {
    assert.deepEqual(Object.keys(CEL_RULES[kind]).sort(), [...ruleNames(kind)].sort());
  });
}
