import assert from 'node:assert/strict';
import test from 'node:test';
import { parseHeader } from './header.ts';
import { originatorsOf } from './originators.ts';

const originators = (header: string | Buffer) =>
  originatorsOf(parseHeader(Buffer.isBuffer(header) ? header : Buffer.from(header))).map(
    ({ field, addresses }) => `${field}: ${addresses?.map(({ text }) => text).join(' ') ?? '?'}`,
  );

test('all From and Sender fields are told, in their order', () => {
  assert.deepEqual(originators('FROM: a@x.test, b@x.test\r\nSubject: x\r\nsender: c@x.test\r\nFrom: d@x.test\r\n'), [
    'From: a@x.test b@x.test',
    'Sender: c@x.test',
    'From: d@x.test',
  ]);
});

test('fields that only look alike are others', () => {
  assert.deepEqual(
    originators('X-From: a@x.test\r\nFrom-: a@x.test\r\nResent-From: a@x.test\r\nReply-To: a@x.test\r\n'),
    [],
  );
});

test('white space before the colon makes no other field of it', () => {
  // The header is refused for it (header.ts tells it as unclear), and it counts as a From meanwhile.
  assert.deepEqual(originators('From : a@x.test\r\nFrom\t: b@x.test\r\n'), ['From: a@x.test', 'From: b@x.test']);
});

test('a folded field is read as one line', () => {
  assert.deepEqual(originators('From: Ana\r\n <a@x.test>\r\n'), ['From: a@x.test']);
  assert.deepEqual(originators('From:\r\n a@x.test,\r\n\tb@x.test\r\n'), ['From: a@x.test b@x.test']);
});

test('bytes over 127 are UTF-8 or nothing', () => {
  assert.deepEqual(originators('From: Änne <ж@x.test>\r\n'), ['From: ж@x.test']);
  assert.deepEqual(originators(Buffer.from('From: \xc4nne <a@x.test>\r\n', 'latin1')), ['From: ?']);
});

test('an empty field is told as unreadable', () => {
  assert.deepEqual(originators('From:\r\nSender: \r\n'), ['From: ?', 'Sender: ?']);
});
