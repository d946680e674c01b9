import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { declarations, metricsReference } from './metrics.ts';

test('metrics.md is as the relay declares: run "npm run generate" when this fails', async () => {
  assert.equal(await readFile(join(import.meta.dirname, 'metrics.md'), 'utf8'), metricsReference());
});

test('every metric is named by the conventions of Prometheus', () => {
  for (const { name, type, unit, help } of declarations()) {
    assert.match(name, /^chasqui_[a-z_]+$/);
    assert.equal(name.endsWith('_total'), type === 'counter', name);
    if (unit === 'bytes' || unit === 'seconds') assert.match(name, new RegExp(`_${unit}(?:_total)?$`));
    assert.match(help, /^[A-Z].*\.$/, name);
  }
});
