/** Each test that docs/relay.md names exists under that name. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const PAGE = readFileSync(join(import.meta.dirname, 'relay.md'), 'utf8');
const LINK = /\[([^\]]+)\]\(([^)]+\.test\.ts)\)/g;

/** The title as it stands in the source, where it is a string or a template. */
function asWritten(title: string): RegExp {
  const text = title
    .split('…')
    .map((part) => RegExp.escape(part))
    .join(String.raw`\$\{[^\n]+?\}`);
  return new RegExp(String.raw`test\(\s*(?:'${text}'|${'`'}${text}${'`'}),`);
}

for (const [, title = '', file = ''] of PAGE.matchAll(LINK)) {
  test(`there is a test "${title}"`, () => {
    assert.match(readFileSync(join(import.meta.dirname, file), 'utf8'), asWritten(title));
  });
}

test('every row names a test', () => {
  const rows = PAGE.split('\n').filter((line) => line.startsWith('| ') && !/^\| What [a-z ]+ \|/.test(line));
  assert.ok(rows.length > 30);
  for (const row of rows) assert.match(row, /\.test\.ts\) ?[|,]/);
});
