/** docs/errors.md against the sources: every reply of the receiving side stands there, and nothing else. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const RECEIVE = join(import.meta.dirname, '../relay/receive');
const PAGE = readFileSync(join(import.meta.dirname, 'errors.md'), 'utf8');

interface Reply {
  /** As a client is told it, `…` in place of what differs. */
  readonly reply: string;
  /** '' where no single reason is written beside it. */
  readonly reason: string;
}

const TEXT = "(?:'([^']*)'|`([^`]*)`)";
const REJECT = new RegExp(String.raw`\breject\(\s*(\d{3}),\s*'([^']*)',\s*(?:'([^']+)'|\w+),\s*${TEXT}`, 'g');
const ACCEPT = new RegExp(String.raw`\.accept\(\s*(\d{3}),\s*'([^']*)',\s*${TEXT}`, 'g');
/** The one function that gives its replies all but their text. */
const AMBIGUOUS = new RegExp(String.raw`\bambiguous\(\s*${TEXT}`, 'g');

const replyOf = (code = '', enhanced = '', text = ''): string =>
  [code, enhanced, text.replaceAll(/(?:\$\{[^}]*\} ?)+/g, (varying) => (varying.endsWith(' ') ? '… ' : '…'))]
    .filter(Boolean)
    .join(' ');

const sources = readdirSync(RECEIVE)
  .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
  .map((name) => readFileSync(join(RECEIVE, name), 'utf8'))
  .join('\n');

function* given(): Iterable<Reply> {
  for (const [, code, enhanced, reason = '', text, template] of sources.matchAll(REJECT)) {
    yield { reply: replyOf(code, enhanced, text ?? template), reason };
  }
  for (const [, code, enhanced, text, template] of sources.matchAll(ACCEPT)) {
    yield { reply: replyOf(code, enhanced, text ?? template), reason: '' };
  }
  for (const [, text, template] of sources.matchAll(AMBIGUOUS)) {
    yield { reply: replyOf('550', '5.6.0', text ?? template), reason: 'ambiguous_header' };
  }
}

const told = new Map(
  [...PAGE.matchAll(/^\| `(\d{3} [^`]*)` \| (.*?) \|/gm)].map(([, reply = '', cell = '']) => [reply, cell]),
);

test('every reply of a relay stands in docs/errors.md, and none that it does not give', () => {
  const replies = new Set([...given()].map(({ reply }) => reply));
  assert.deepEqual([...told.keys()].toSorted(), [...replies].toSorted());
});

test('the reason beside a reply is the one that metrics and log tell', () => {
  for (const { reply, reason } of given()) {
    if (reason) assert.equal(told.get(reply), reason, reply);
    // A reason that is worked out stands somewhere in the sources all the same.
    else if (/^[45]/.test(reply)) assert.ok(sources.includes(`'${told.get(reply)}'`), reply);
  }
});

test('no rejection is written such that this test does not see it', () => {
  assert.doesNotMatch(sources, /\bcode: \d/);
  const all = sources.match(/\breject\((?!new )/g)?.length ?? 0;
  // `ambiguous` itself.
  assert.equal([...sources.matchAll(REJECT)].length, all - 1);
  assert.match(
    sources,
    /const ambiguous = \(text: string\): Rejection => reject\(550, '5\.6\.0', 'ambiguous_header', text\)/,
  );
});

test('every reply with a row says what it means and what to do', () => {
  for (const line of PAGE.split('\n').filter((text) => /^\| `[45]/.test(text))) {
    assert.match(line, /^\| `[^`]+` \| [a-z0-9_]+ \| [^|]+\. \| [^|]+\. \|$/, line);
  }
});
