import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { describe, it } from 'node:test';
import { makeVerifier } from './scram.ts';

/** RFC 7677 3: user "user", password "pencil". */
const EXAMPLE = {
  salt: 'W22ZaJ0SNY7soEsUEjb6gQ==',
  authMessage:
    'n=user,r=rOprNGfwEbeRWgbNEkqO,' +
    'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,' +
    'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
  clientProof: 'dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
  serverSignature: '6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
};

describe('a SCRAM-SHA-256 verifier', () => {
  it('is that of the example of RFC 7677', async () => {
    const verifier = await makeVerifier('pencil', { salt: Buffer.from(EXAMPLE.salt, 'base64') });
    assert.equal(verifier.iterations, 4096);
    const signed = (key: string) =>
      createHmac('sha256', Buffer.from(key, 'base64')).update(EXAMPLE.authMessage).digest();
    assert.equal(signed(verifier.serverKey).toString('base64'), EXAMPLE.serverSignature);
    const signature = signed(verifier.storedKey);
    const clientKey = Buffer.from(EXAMPLE.clientProof, 'base64').map((byte, index) => byte ^ (signature[index] ?? 0));
    assert.equal(createHash('sha256').update(clientKey).digest('base64'), verifier.storedKey);
  });

  it('is the same for compatible characters (RFC 4013)', async () => {
    const salt = Buffer.from(EXAMPLE.salt, 'base64');
    assert.deepEqual(await makeVerifier('Ⅸ e\u0301', { salt }), await makeVerifier('IX \u00e9', { salt }));
  });

  it('has another salt each time', async () => {
    assert.notEqual((await makeVerifier('pencil')).salt, (await makeVerifier('pencil')).salt);
  });
});
