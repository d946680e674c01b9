import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostAndPort, wholeNumber } from './arguments.ts';

test('an address is HOST:PORT, with brackets around IPv6', () => {
  assert.deepEqual(hostAndPort('127.0.0.1:25'), { host: '127.0.0.1', port: 25 });
  assert.deepEqual(hostAndPort('localhost:0'), { host: 'localhost', port: 0 });
  assert.deepEqual(hostAndPort('[::1]:2587'), { host: '::1', port: 2587 });
});

test('other text is no address', () => {
  for (const text of ['', 'localhost', ':25', '::1:25', 'a:65536', 'a:b', '[localhost]:25', '[::1]25', 'a:25 ']) {
    assert.throws(() => hostAndPort(text), /HOST:PORT/, text);
  }
});

test('a whole number keeps its bounds', () => {
  const parse = wholeNumber(1, 10);
  assert.equal(parse('10'), 10);
  for (const text of ['0', '11', '1.5', '-1', '1e1', '', ' 1', '9999999999999999']) {
    assert.throws(() => parse(text), /from 1 to 10/, text);
  }
});
