import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { judgeAnswer } from './meaning.ts';

const judge = (purpose: 'Dkim' | 'Dmarc', value: string, values: readonly string[]) =>
  judgeAnswer({ type: 'TXT', name: 'x.test', value, purpose }, values);

describe('a DKIM key', () => {
  const wanted = 'v=DKIM1; k=rsa; p=MIIBabc=';
  for (const [sentence, values, state, observed] of [
    ['as it was wanted', [wanted], 'Published'],
    ['with its tags in another order after the version', ['v=DKIM1; p=MIIBabc=; k=rsa;'], 'Published'],
    ['without version and type, which is RSA then', ['p=MIIBabc='], 'Published'],
    ['with white space within it', ['v = DKIM1 ;k=rsa;\tp=MIIB abc ='], 'Published'],
    ['with notes and a service', ['v=DKIM1; s=email; n=ours; h=sha256:sha1; t=s; p=MIIBabc='], 'Published'],
    ['that is not there', [], 'Missing'],
    ['another', ['v=DKIM1; k=rsa; p=MIIBxyz='], 'Wrong', /^another key: /],
    ['in other case, which is another', ['v=DKIM1; k=rsa; p=miibABC='], 'Wrong', /^another key: /],
    ['of another type', ['v=DKIM1; k=ed25519; p=MIIBabc='], 'Wrong', /^another type of key/],
    ['that is revoked', ['v=DKIM1; k=rsa; p='], 'Wrong', /revoked/],
    ['beside another', [wanted, 'v=DKIM1; k=rsa; p=MIIBxyz='], 'Wrong', /2 TXT records/],
    ['whose version does not come first', ['k=rsa; v=DKIM1; p=MIIBabc='], 'Wrong', /come first/],
    ['for testing', ['v=DKIM1; t=y; p=MIIBabc='], 'Wrong', /unsigned/],
    ['for SHA-1 alone', ['v=DKIM1; h=sha1; p=MIIBabc='], 'Wrong', /sha256/],
    ['for another service', ['v=DKIM1; s=tlsrpt; p=MIIBabc='], 'Wrong', /email/],
    ['in place of which there is other text', ['hello'], 'Wrong', /not a DKIM key: hello/],
    ['with a tag that stands twice', ['v=DKIM1; p=MIIBabc=; p=MIIBabc='], 'Wrong', /not a DKIM key/],
  ] as const) {
    it(`${sentence} is ${state}`, () => {
      const finding = judge('Dkim', wanted, values);
      assert.equal(finding.state, state);
      assert.match(finding.observed ?? '', observed ?? /^$/);
    });
  }
});

describe('a DMARC record', () => {
  const wanted = 'v=DMARC1; p=quarantine; rua=mailto:a@example.test,mailto:b@example.test';
  for (const [sentence, values, state, observed] of [
    ['as it was wanted', [wanted], 'Published'],
    [
      'with more in it, in another order',
      ['v=DMARC1;rua=mailto:B@example.test!10m , mailto:a@example.test,mailto:c@other.test; adkim=s;p=Quarantine'],
      'Published',
    ],
    ['beside other text', ['hello', wanted], 'Published'],
    ['that is not there', [], 'Missing'],
    ['with another policy', ['v=DMARC1; p=none'], 'Wrong', /^p= is none, not quarantine/],
    ['without a policy', ['v=DMARC1'], 'Wrong', /p= is missing/],
    ['without one of the addresses', [wanted.replace(',mailto:b@example.test', '')], 'Wrong', /leaves out mailto:b@/],
    ['beside another', [wanted, 'v=DMARC1; p=none'], 'Wrong', /2 DMARC records, so none counts/],
    ['in place of which there is other text', ['hello'], 'Wrong', /no DMARC record: hello/],
    ['of another version', ['v=DMARC10; p=quarantine'], 'Wrong', /no DMARC record/],
  ] as const) {
    it(`${sentence} is ${state}`, () => {
      const finding = judge('Dmarc', wanted, values);
      assert.equal(finding.state, state);
      assert.match(finding.observed ?? '', observed ?? /^$/);
    });
  }
});

describe('the host name of a relay', () => {
  const host = (type: 'A' | 'AAAA' | 'PTR', value: string, values: readonly string[]) =>
    judgeAnswer({ type, name: 'relay.test', value, purpose: type === 'PTR' ? 'Reverse' : 'Host' }, values);
  it('leads to an address among others, in any spelling', () => {
    assert.equal(host('A', '192.0.2.1', ['192.0.2.2', '192.0.2.1']).state, 'Published');
    assert.equal(host('AAAA', '2001:db8::1', ['2001:DB8:0:0::1']).state, 'Published');
    assert.equal(host('PTR', 'relay.test', ['Relay.Test.']).state, 'Published');
  });
  it('does not where there are only others, or none', () => {
    assert.deepEqual(host('A', '192.0.2.1', ['192.0.2.2']), { state: 'Wrong', observed: 'DNS has 192.0.2.2' });
    assert.deepEqual(host('PTR', 'relay.test', []), { state: 'Missing' });
  });
});
