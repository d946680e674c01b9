import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type TlsMode, tlsPlans } from './tls-policy.ts';

const cases: readonly [TlsMode, readonly string[]][] = [
  ['Disabled', ['never']],
  ['Opportunistic', ['if offered', 'never']],
  ['Required', ['always']],
  ['Verified', ['always, verified']],
];

for (const [mode, expected] of cases) {
  test(`${mode} tries TLS: ${expected.join(', then ')}`, () =>
    assert.deepEqual(
      tlsPlans(mode).map(({ starttls, verify }) => (verify ? `${starttls}, verified` : starttls)),
      expected,
    ));
}
