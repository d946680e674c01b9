import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bindAddress, hostAndPort, nameList, wholeNumber } from './arguments.ts';

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

test('an address to bind may leave out the host, and 0 is none', () => {
  assert.deepEqual(bindAddress(':8080'), { port: 8080 });
  assert.deepEqual(bindAddress('127.0.0.1:8080'), { host: '127.0.0.1', port: 8080 });
  assert.equal(bindAddress('0'), undefined);
  assert.throws(() => bindAddress('8080'), /HOST:PORT/);
});

test('names of namespaces stand with commas, each once', () => {
  assert.deepEqual(nameList('mail, shop,mail'), ['mail', 'shop']);
  for (const text of ['', 'a,,b', 'Mail', 'a/b']) assert.throws(() => nameList(text), /names of namespaces/, text);
});
