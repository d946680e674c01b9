import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DestinationNames, providerOf } from './destinations.ts';

test('a host is of its provider, whichever domain it takes mail for', () => {
  for (const [host, provider] of [
    ['gmail-smtp-in.l.google.com', 'google'],
    ['ASPMX.L.GOOGLE.COM.', 'google'],
    ['example-com.mail.protection.outlook.com', 'microsoft'],
    ['mta5.am0.yahoodns.net', 'yahoo'],
    ['mx01.mail.icloud.com', 'apple'],
    ['google.com.example.org', undefined],
    ['notgoogle.com', undefined],
    ['192.0.2.1', undefined],
  ] as const) {
    assert.equal(providerOf(host), provider, host);
  }
});

test('a hundred destinations have a name; all further ones are told as other, and providers always by theirs', () => {
  const names = new DestinationNames();
  for (let n = 0; n < 100; n += 1) assert.equal(names.of(`d${n}.example`, 'mx.example'), `d${n}.example`);
  assert.equal(names.of('one-more.example', undefined), 'other');
  assert.equal(names.of('one-more.example', 'alt1.aspmx.l.google.com'), 'google');
  assert.equal(names.of('d0.example', undefined), 'd0.example');
  assert.equal(names.of('one-more.example', 'mx.one-more.example'), 'other');
});
