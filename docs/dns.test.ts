/** What the page on DNS names is there: states, words of the spec, reasons, and the commands. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';

const ROOT = join(import.meta.dirname, '..');
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');
const page = read('docs/dns.md');

test('each word of the spec and each reason that the page on DNS names is there', () => {
  const sources = globSync('{crds,operator/maildomain}/**/*.ts', { cwd: ROOT }).filter(
    (file) => !file.includes('.test.'),
  );
  const source = sources.map(read).join('\n');
  const words = [...page.matchAll(/`([A-Z][a-zA-Z]+|[a-zA-Z]+(?:\.[a-zA-Z]+)+)(?::[^`]*)?`/g)].flatMap(
    ([, word = '']) => word.split('.').filter((part) => part !== 'spec' && part !== 'retry'),
  );
  const known = words.filter((word) => !['DOMAIN', 'SERVFAIL'].includes(word));
  assert.ok(known.length > 20);
  for (const word of known) assert.match(source, new RegExp(`\\b${word}\\b`), word);
  assert.ok(source.includes('chasqui.dev/rotate-dkim'));
});

test('the commands of the page on DNS take the options that it shows', () => {
  const help = (...words: readonly string[]): string =>
    execFileSync(join(ROOT, 'bin/chasqui'), [...words, '--help'], { encoding: 'utf8' });
  assert.match(help('dns'), /zone/);
  for (const verb of ['standalone', 'operator']) assert.match(help(verb), /--dns-resolvers/);
});
