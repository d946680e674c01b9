import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { declarations, metricsReference, operatorDeclarations } from './metrics.ts';

test('metrics.md is as relay and operator declare: run "npm run generate" when this fails', async () => {
  assert.equal(await readFile(join(import.meta.dirname, 'metrics.md'), 'utf8'), metricsReference());
});

test('every metric is named by the conventions of Prometheus', () => {
  const ours = declarations().map(({ name }) => name);
  for (const name of ours) assert.match(name, /^(?:chasqui|process)_[a-z_]+$/);
  for (const { name, type, unit, help } of [...declarations(), ...operatorDeclarations()]) {
    assert.equal(name.endsWith('_total'), type === 'counter', name);
    if (unit === 'bytes' || unit === 'seconds') assert.match(name, new RegExp(`_${unit}(?:_total)?$`));
    assert.match(help, /^[A-Z].*\.$/, name);
  }
});
