import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { normaliseDomain, parseAddress, parsePathAddress } from './address.ts';

const PATHS: readonly (readonly [given: string, text: string, local?: string])[] = [
  ['ana@dest.test', 'ana@dest.test'],
  ['Ana@DEST.Test', 'Ana@dest.test', 'Ana'],
  ['a.b+c=d@dest.test', 'a.b+c=d@dest.test', 'a.b+c=d'],
  ["!#$%&'*+-/=?^_`{|}~@dest.test", "!#$%&'*+-/=?^_`{|}~@dest.test", "!#$%&'*+-/=?^_`{|}~"],
  ['"ana"@dest.test', '"ana"@dest.test', 'ana'],
  ['"a@b"@dest.test', '"a@b"@dest.test', 'a@b'],
  ['"a\\"b\\\\c"@dest.test', '"a\\"b\\\\c"@dest.test', 'a"b\\c'],
  ['""@dest.test', '""@dest.test', ''],
  [`${'x'.repeat(64)}@dest.test`, `${'x'.repeat(64)}@dest.test`, 'x'.repeat(64)],
  ['ana@[192.0.2.1]', 'ana@[192.0.2.1]'],
  ['ana@[IPv6:2001:db8::1]', 'ana@[IPv6:2001:db8::1]'],
  ['ana@[ipv6:::ffff:192.0.2.1]', 'ana@[ipv6:::ffff:192.0.2.1]'],
  ['ana@[IPv6:::]', 'ana@[IPv6:::]'],
  ['ana@[IPv6:2001:DB8:0:0:0:0:0:1]', 'ana@[IPv6:2001:DB8:0:0:0:0:0:1]'],
  ['"a@[192.0.2.1]"@dest.test', '"a@[192.0.2.1]"@dest.test', 'a@[192.0.2.1]'],
  ['ana@localhost', 'ana@localhost'],
  ['жанна@dest.test', 'жанна@dest.test', 'жанна'],
  ['ana@müller.test', 'ana@xn--mller-kva.test'],
  ['ana@MÜLLER.test', 'ana@xn--mller-kva.test'],
  ['ana@XN--MLLER-KVA.test', 'ana@xn--mller-kva.test'],
  // The ideographic full stop separates labels (RFC 3490 3.1).
  ['ana@dest。test', 'ana@dest.test'],
];

for (const [given, text, local = 'ana'] of PATHS) {
  test(`${given} is a path`, () => {
    const address = parsePathAddress(given);
    assert.deepEqual(
      [address?.text, address?.local, address?.domain],
      [text, local, text.slice(text.lastIndexOf('@') + 1)],
    );
  });
}

const NO_PATHS: readonly (readonly [what: string, given: string])[] = [
  ['nothing', ''],
  ['no domain', 'ana'],
  ['an empty domain', 'ana@'],
  ['an empty local part', '@dest.test'],
  ['a leading dot', '.ana@dest.test'],
  ['a trailing dot', 'ana.@dest.test'],
  ['two dots', 'a..b@dest.test'],
  ['a trailing dot of the domain', 'ana@dest.test.'],
  ['two at signs', 'a@b@dest.test'],
  ['a space', 'a b@dest.test'],
  ['a space before the domain', 'ana@ dest.test'],
  ['a comment', 'ana(x)@dest.test'],
  ['an open quote', '"ana@dest.test'],
  ['a quote in an atom', 'a"n"a@dest.test'],
  ['an atom beside a quoted string', '"a".b@dest.test'],
  ['a bare quote in a quoted string', '"a"b"@dest.test'],
  ['an angle bracket in a quoted string', '"a>b"@dest.test'],
  ['an escaped angle bracket', '"a\\<b"@dest.test'],
  ['CR LF in a quoted string', '"a\r\nBcc: x"@dest.test'],
  ['an escaped LF', '"a\\\nb"@dest.test'],
  ['NUL', 'a\0b@dest.test'],
  ['NUL in a quoted string', '"a\0b"@dest.test'],
  ['NUL in the domain', 'ana@dest\0.test'],
  ['DEL', 'a\x7fb@dest.test'],
  ['a C1 control', 'a\x85b@dest.test'],
  ['a local part of 65', `${'x'.repeat(65)}@dest.test`],
  ['a local part of 65 octets in 33 characters', `${'ж'.repeat(33)}@dest.test`],
  ['a label of 64', `ana@${'x'.repeat(64)}.test`],
  ['a domain of 256', `ana@${'x.'.repeat(126)}test`],
  ['a label that starts with a hyphen', 'ana@-dest.test'],
  ['an underscore in the domain', 'ana@de_st.test'],
  ['a percent sign that a browser would decode', 'ana@d%65st.test'],
  ['an IPv4 address without brackets', 'ana@192.0.2.1'],
  ['an IPv6 address without its tag', 'ana@[2001:db8::1]'],
  ['an IPv4 address of three numbers', 'ana@[192.0.2]'],
  ['an IPv6 address with a zone', 'ana@[IPv6:fe80::1%eth0]'],
  ['a literal of another kind', 'ana@[x:y]'],
  ['a tag without an address', 'ana@[IPv6:]'],
  ['an IPv4 address with the tag of IPv6', 'ana@[IPv6:192.0.2.1]'],
  ['a tag that is none', 'ana@[IPv4:192.0.2.1]'],
  ['an IPv6 address with two gaps', 'ana@[IPv6:2001::db8::1]'],
  ['an IPv6 address of nine groups', 'ana@[IPv6:1:2:3:4:5:6:7:8:9]'],
  ['an IPv4 address with a leading zero, which some read as octal', 'ana@[192.0.2.010]'],
  ['an IPv4 address beyond its range', 'ana@[192.0.2.256]'],
  ['a number for an IPv4 address', 'ana@[3221225985]'],
  ['a hexadecimal number for one', 'ana@[0xc0000201]'],
  ['a space in a literal', 'ana@[192.0.2.1 ]'],
  ['a name in brackets', 'ana@[dest.test]'],
  ['something behind a literal', 'ana@[192.0.2.1].test'],
  ['two literals', 'ana@[192.0.2.1][192.0.2.2]'],
  ['full-width digits, which IDNA makes an address', 'ana@１９２.０.２.１'],
  ['an A-label of what is no label', 'ana@xn--dest-.test'],
  ['an empty literal', 'ana@[]'],
  ['an open literal', 'ana@[192.0.2.1'],
  ['a port', 'ana@dest.test:25'],
  ['a zero-width space', 'a\u200bna@dest.test'],
  ['a text direction mark', 'a\u202ena@dest.test'],
  ['a line separator', 'a\u2028na@dest.test'],
  ['a no-break space', 'a\u00a0na@dest.test'],
];

for (const [what, given] of NO_PATHS) {
  test(`${what} makes no path`, () => assert.equal(parsePathAddress(given), undefined));
}

test('what needs SMTPUTF8 is told, also where only the domain does', () => {
  const ascii = (text: string) => parsePathAddress(text)?.ascii;
  assert.equal(ascii('ana@dest.test'), true);
  assert.equal(ascii('ana@xn--mller-kva.test'), true);
  assert.equal(ascii('ana@müller.test'), false);
  assert.equal(ascii('жанна@dest.test'), false);
  assert.equal(ascii('"жанна"@dest.test'), false);
});

test('header fields have no quoted local parts and no literals', () => {
  assert.equal(parseAddress('"ana"@dest.test'), undefined);
  assert.equal(parseAddress('ana@[192.0.2.1]'), undefined);
  assert.equal(parseAddress('ana@dest.test')?.text, 'ana@dest.test');
});

test('no text makes an address that could break out of where it is written', () => {
  const nasty = fc.string({
    unit: fc.constantFrom('a', '@', '"', '\\', '\r', '\n', '\0', '<', '>', ' ', '.', '[', ']', ':', 'ж'),
  });
  fc.assert(
    fc.property(nasty, nasty, (local, domain) => {
      const address = parsePathAddress(`${local}@${domain}`) ?? parsePathAddress(`"${local}"@dest.test`);
      if (address === undefined) return;
      assert.doesNotMatch(address.text, /[\p{Cc}]/u);
      assert.doesNotMatch(address.domain, /[<>\s"@]/u);
      // Outside of quotes no bracket: MAIL FROM:<text> is read by every server as one path.
      assert.doesNotMatch(address.text.replace(/"(?:[^"\\]|\\.)*"/g, ''), /[<>\s"]/u);
      // It is its own normal form.
      assert.equal(parsePathAddress(address.text)?.text, address.text);
    }),
    { numRuns: 5_000 },
  );
});

test('domains become lower-case A-labels, or nothing', () => {
  assert.equal(normaliseDomain('EXAMPLE.Test'), 'example.test');
  assert.equal(normaliseDomain('bücher.example'), 'xn--bcher-kva.example');
  for (const cut of ['\\', '/', '?', '#', ':', '@', '%', '|', '[', ' ', '\t', '\0', '&']) {
    assert.equal(normaliseDomain(`müller.test${cut}x.test`), undefined, JSON.stringify(cut));
    assert.equal(normaliseDomain(`müller.test${cut}`), undefined, JSON.stringify(cut));
    assert.equal(normaliseDomain(`${cut}müller.test`), undefined, JSON.stringify(cut));
  }
  for (const bad of [
    '',
    '.',
    'a..b',
    'a b',
    '1.2.3.4',
    '::1',
    'a/b',
    'a:25',
    'a@b',
    'a?b',
    'a#b',
    'ａ%2e.test',
    '0x7f000001',
  ]) {
    const domain = normaliseDomain(bad);
    // A single label of letters and digits is a name like any other.
    assert.equal(domain, bad === '0x7f000001' ? bad : undefined, bad);
  }
});
