import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReplyReader } from './reply-reader.ts';

/** Replies that come out of a text, fed in pieces of this size. */
function replies(text: string, size = text.length): readonly string[] {
  const reader = new ReplyReader();
  const found: string[] = [];
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) {
    assert.ok(reader.push(bytes.subarray(at, at + size)));
    for (let reply = reader.next(); reply !== undefined; reply = reader.next()) found.push(reply);
  }
  return found;
}

for (const [what, text, expected] of [
  ['one line', '250 ok\r\n', ['250 ok']],
  ['one line with a bare LF, which some servers send', '250 ok\n', ['250 ok']],
  ['a code alone', '250\r\n', ['250']],
  ['several lines', '250-mx\r\n250-SIZE\r\n250 DSN\r\n', ['250-mx\n250-SIZE\n250 DSN']],
  ['several replies at once', '250 a\r\n250-b\r\n250 c\r\n354 d\r\n', ['250 a', '250-b\n250 c', '354 d']],
  ['a line that is no reply', 'hi\r\n250 ok\r\n', ['hi', '250 ok']],
  ['UTF-8', '550 no está\r\n', ['550 no está']],
  ['nothing complete', '250 o', []],
  ['a reply that goes on', '250-o\r\n', []],
] as const) {
  test(`replies are cut at their ends, however they arrive: ${what}`, () => {
    for (const size of [1, 2, 3, 100]) assert.deepEqual(replies(text, size), expected);
  });
}

test('a reply has its bounds', () => {
  const reader = new ReplyReader();
  assert.equal(reader.push(Buffer.alloc(64 * 1024, 'x')), true);
  assert.equal(reader.push(Buffer.from('x')), false);
});
