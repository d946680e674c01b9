import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CEL_RULES } from './cel.ts';
import { KINDS } from './kinds.ts';
import { ruleNames } from './rules.ts';

for (const { kind } of KINDS) {
  test(`each rule of ${kind} is one for the API server too`, () => {
    assert.deepEqual(Object.keys(CEL_RULES[kind]).sort(), [...ruleNames(kind)].sort());
  });
}
