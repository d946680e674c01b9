import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { user } from '../../test/harness/manifests.ts';
import { ownPassword } from './own-password.ts';

const named = user('app', { passwordSecretRef: { name: 'mine' } });

describe("a password of the user's own", () => {
  it('is what the Secret holds, also with spaces and beyond ASCII', () => {
    assert.equal(ownPassword(named, { data: { password: 'pässwort mit Wörtern' } }), 'pässwort mit Wörtern');
  });

  it('is none where the spec names no Secret', () => {
    assert.equal(ownPassword(user('app'), undefined), undefined);
  });

  for (const [what, password, reason, says] of [
    ['is not there', undefined, 'SecretIncomplete', 'Secret mine has no password.'],
    ['is empty', '', 'SecretIncomplete', 'Secret mine has no password.'],
    ['ends with the line break of an echo', 'long enough\n', 'PasswordInvalid', /ends with a line break: .*printf/],
    ['ends with the line break of Windows', 'long enough\r\n', 'PasswordInvalid', /ends with a line break/],
    ['has a NUL', 'long\0enough', 'PasswordInvalid', /control characters/],
    ['is not UTF-8', 'long enough \u{fffd}', 'PasswordInvalid', /not UTF-8/],
    ['has seven characters', '\u{1f511}'.repeat(7), 'PasswordInvalid', /shorter than 8 characters/],
    ['has 256 bytes', 'ä'.repeat(128), 'PasswordInvalid', /longer than 255 bytes/],
  ] as const) {
    it(`is refused when it ${what}`, () => {
      const refused = ownPassword(named, { data: password === undefined ? {} : { password } });
      assert.ok(typeof refused === 'object');
      assert.equal(refused.reason, reason);
      if (typeof says === 'string') assert.equal(refused.message, says);
      else assert.match(refused.message, says);
      if (password) assert.ok(!refused.message.includes(password), 'no password is told');
    });
  }

  it('is refused, with what to do, when there is no such Secret', () => {
    const refused = ownPassword(named, { problem: 'There is none: make it.' });
    assert.deepEqual(refused, { reason: 'SecretNotFound', message: 'There is none: make it.' });
  });
});
