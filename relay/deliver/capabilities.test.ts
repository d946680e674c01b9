import assert from 'node:assert/strict';
import { test } from 'node:test';
import { capabilitiesOf } from './capabilities.ts';

const none = {
  pipelining: false,
  starttls: false,
  smtputf8: false,
  eightBitMime: false,
  dsn: false,
  size: undefined,
  auth: [],
};

for (const [what, reply, expected] of [
  ['keywords in any case', '250-mx\n250-8bitmime\n250 SmtpUtf8', { ...none, eightBitMime: true, smtputf8: true }],
  ['PIPELINING and STARTTLS', '250-mx\n250-PIPELINING\n250 STARTTLS', { ...none, pipelining: true, starttls: true }],
  ['DSN', '250-mx\n250 DSN', { ...none, dsn: true }],
  ['mechanisms of AUTH', '250-mx\n250 auth plain  LOGIN', { ...none, auth: ['PLAIN', 'LOGIN'] }],
  ['a size limit', '250-mx\n250 SIZE 1000', { ...none, size: { maxBytes: 1000 } }],
  ['SIZE without a limit', '250-mx\n250 SIZE', { ...none, size: {} }],
  ['SIZE 0 is no limit', '250-mx\n250 SIZE 0', { ...none, size: {} }],
  ['the greeting line offers nothing, whatever it says', '250 mx DSN 8BITMIME SMTPUTF8 SIZE 1', none],
  ['a keyword is a whole word', '250-mx\n250-XDSN\n250 DSN-LIKE', none],
] as const) {
  test(`a server's offer is read: ${what}`, () => assert.deepEqual(capabilitiesOf(reply), expected));
}
