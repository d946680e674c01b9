import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { reference } from './generate.ts';

const row = (page: string, field: string): string | undefined =>
  page.split('\n').find((line) => line.startsWith(`| \`${field}\` |`));

test('configuration.md is as the schemas say: run "npm run generate" when this fails', async () => {
  assert.equal(await readFile(join(import.meta.dirname, 'configuration.md'), 'utf8'), reference());
});

test('a field has its type, default, limits and description', () => {
  const page = reference();
  assert.equal(
    row(page, 'limits.recipients'),
    '| `limits.recipients` | integer | `1000` | 1 to 50000 | Most recipients of one message. |',
  );
  assert.match(row(page, 'listeners[].port') ?? '', /integer \| required \| 1 to 65535 \|/);
  assert.match(row(page, 'delivery.retry.schedule') ?? '', /\["5m","15m","30m","1h","2h"\]/);
  assert.match(row(page, 'senders') ?? '', /list of strings \| required \| 1 to 100 items; no item twice/);
});

test('a bar in a pattern does not end its cell', () => {
  for (const line of reference()
    .split('\n')
    .filter((text) => text.startsWith('| `'))) {
    const bars = line.replaceAll('\\|', '').split('|').length - 1;
    assert.ok(bars === 6 || bars === 4, line);
  }
});
