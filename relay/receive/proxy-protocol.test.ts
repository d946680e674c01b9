import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { parseProxyHeader } from './proxy-protocol.ts';

const SIGNATURE = '0d0a0d0a000d0a515549540a';
const hex = (...parts: readonly string[]) => Buffer.from(parts.join('').replaceAll(' ', ''), 'hex');
const v2 = (command: string, family: string, block: string, tlvs = '') => {
  const length = ((block + tlvs).replaceAll(' ', '').length / 2).toString(16).padStart(4, '0');
  return hex(SIGNATURE, command, family, length, block, tlvs);
};
const V4_BLOCK = 'c0000201 c6336401 d431 024b';
const V6_BLOCK = '20010db8000000000000000000000001 20010db8000000000000000000000002 d431 024b';
const TLVS = '03 0004 12345678 04 0001 00';

const HEADERS: readonly (readonly [what: string, header: Buffer, client: string])[] = [
  ['v1 of IPv4', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.1 54321 587\r\n'), '192.0.2.1'],
  ['v1 of IPv6', Buffer.from('PROXY TCP6 2001:DB8:0::1 2001:db8::2 54321 587\r\n'), '2001:db8::1'],
  ['v1 of IPv4 in IPv6', Buffer.from('PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.1 1 587\r\n'), '192.0.2.1'],
  ['v1 of port 0', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.1 0 65535\r\n'), '192.0.2.1'],
  ['v1 of nobody known', Buffer.from('PROXY UNKNOWN\r\n'), 'unknown'],
  ['v1 of nobody known, with more', Buffer.from('PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n'), 'unknown'],
  ['v1 as long as it may be', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(91)}\r\n`), 'unknown'],
  ['v2 of IPv4', v2('21', '11', V4_BLOCK), '192.0.2.1'],
  ['v2 of IPv6', v2('21', '21', V6_BLOCK), '2001:db8::1'],
  ['v2 of IPv4 in IPv6', v2('21', '21', `${'0'.repeat(20)}ffffc0000201 ${'0'.repeat(32)} 0001 0002`), '192.0.2.1'],
  ['v2 with TLVs', v2('21', '11', V4_BLOCK, TLVS), '192.0.2.1'],
  ['v2 of a Unix socket', v2('21', '31', '61'.repeat(216)), 'unknown'],
  ['v2 of an unspecified family', v2('21', '00', TLVS), 'unknown'],
  ['v2 of the proxy itself', v2('20', '00', ''), 'self'],
  ['v2 of the proxy itself, with addresses that count for nothing', v2('20', '11', V4_BLOCK), 'self'],
  ['v2 as long as it may be', v2('21', '11', V4_BLOCK, '00'.repeat(4_084)), '192.0.2.1'],
];

const MALFORMED: readonly (readonly [what: string, header: Buffer])[] = [
  ['a client that speaks SMTP', Buffer.from('EHLO client.test\r\n')],
  ['a client that speaks TLS', hex('16030100')],
  ['nothing but a line end', Buffer.from('\r\n.\r\n')],
  ['v1 in lower case', Buffer.from('proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n')],
  ['v1 of UDP', Buffer.from('PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n')],
  ['v1 with an address of the other family', Buffer.from('PROXY TCP4 ::1 ::1 1 2\r\n')],
  ['v1 with a leading zero', Buffer.from('PROXY TCP4 192.0.02.1 198.51.100.1 1 2\r\n')],
  ['v1 with a zone', Buffer.from('PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n')],
  ['v1 with a port beyond all ports', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.1 65536 2\r\n')],
  ['v1 with a port of a leading zero', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.1 01 2\r\n')],
  ['v1 with too many spaces', Buffer.from('PROXY TCP4  192.0.2.1 198.51.100.1 1 2\r\n')],
  ['v1 with too little', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n')],
  ['v1 with too much', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n')],
  ['v1 that ends in LF alone', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n')],
  ['v1 that does not end', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(93)}`)],
  ['v1 longer than it may be', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(92)}\r\n`)],
  ['v2 of a version to come', v2('31', '11', V4_BLOCK)],
  ['v2 with an unknown command', v2('22', '11', V4_BLOCK)],
  ['v2 of UDP', v2('21', '12', V4_BLOCK)],
  ['v2 of an unknown family', v2('21', '41', V4_BLOCK)],
  ['v2 with too short a block', v2('21', '21', V4_BLOCK)],
  ['v2 longer than it may be', v2('21', '11', V4_BLOCK, '00'.repeat(4_085))],
];

const AFTER = Buffer.from('EHLO client.test\r\n');

for (const [what, header, client] of HEADERS) {
  test(`${what} is read, however it comes, and not a byte more`, () => {
    for (let bytes = 0; bytes < header.length; bytes += 1) {
      assert.equal(parseProxyHeader(header.subarray(0, bytes)), 'incomplete', `the first ${bytes} bytes`);
    }
    const read = {
      client: client === 'self' || client === 'unknown' ? client : { address: client },
      bytes: header.length,
    };
    assert.deepEqual(parseProxyHeader(header), read);
    assert.deepEqual(parseProxyHeader(Buffer.concat([header, AFTER])), read);
  });
}

for (const [what, header] of MALFORMED) {
  test(`${what} is no header`, () => {
    assert.equal(parseProxyHeader(header), 'malformed');
    // Whatever more comes.
    assert.equal(parseProxyHeader(Buffer.concat([header, AFTER])), 'malformed');
  });
}

test('whatever comes in whatever pieces, a header ends within its bounds and is not taken back', () => {
  const likely = fc.constantFrom(...HEADERS.map(([, header]) => header), ...MALFORMED.map(([, header]) => header));
  const bytes = fc
    .tuple(likely, fc.uint8Array({ maxLength: 30 }), fc.nat(), fc.nat(255))
    .map(([header, rest, at, byte]) => {
      const all = Buffer.concat([header, rest]);
      all[at % all.length] = byte;
      return all;
    });
  fc.assert(
    fc.property(fc.oneof(bytes, fc.uint8Array({ maxLength: 300 })), (given) => {
      const all = Buffer.from(given);
      let decided: unknown;
      for (let length = 0; length <= all.length; length += 1) {
        const now = parseProxyHeader(all.subarray(0, length));
        if (decided !== undefined) assert.deepEqual(now, decided);
        if (now === 'incomplete') assert.ok(length < 16 + 4_096, 'it is waited for without end');
        else decided ??= now;
        if (typeof now === 'object') assert.ok(now.bytes <= length);
      }
    }),
    { numRuns: 300 },
  );
});
