/** Name servers that send anything at all: every lookup ends, with an answer that can be used or with a failure. */
import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import { after, before, test } from 'node:test';
import { type Answer, encode, RECURSION_AVAILABLE } from 'dns-packet';
import fc from 'fast-check';
import { MockDns } from '../../test/harness/dns.ts';
import { createDns, type Dns, DnsFailure } from './dns.ts';
import { findMx } from './mx.ts';

/** A query takes three times this long where nothing that comes is an answer. */
const QUERY_MS = 30;
/** All lookups of a round, on a busy machine. */
const LONGEST_MS = 20_000;
const ROUNDS = 15;
const IN_A_ROUND = 16;

/** What is done to an honest answer. */
interface Bend {
  readonly how: 'flip' | 'cut' | 'append' | 'count' | 'anything' | 'flags';
  readonly at: number;
  readonly byte: number;
  readonly bytes: Uint8Array;
}

const bend = fc.record<Bend>({
  how: fc.constantFrom('flip', 'cut', 'append', 'count', 'anything', 'flags'),
  at: fc.nat({ max: 400 }),
  byte: fc.nat({ max: 255 }),
  bytes: fc.uint8Array({ maxLength: 60 }),
});
const label = fc.constantFrom('a', 'mx', '\r\n', '\0', ' ', '..', '_x', 'é', 'x'.repeat(63), '127.0.0.1', '*');
const record = fc.record({
  exchange: fc.array(label, { maxLength: 4 }).map((labels) => labels.join('.')),
  preference: fc.nat({ max: 65_535 }),
  type: fc.constantFrom('MX', 'A', 'AAAA', 'CNAME'),
});
const faults = fc.array(
  fc.record({ bends: fc.array(bend, { maxLength: 3 }), records: fc.array(record, { maxLength: 4 }) }),
  {
    minLength: IN_A_ROUND,
    maxLength: IN_A_ROUND,
  },
);

function bent(answer: Buffer, { how, at, byte, bytes }: Bend): Buffer {
  if (how === 'anything') return Buffer.from(bytes);
  if (how === 'cut') return answer.subarray(0, at % (answer.length + 1));
  if (how === 'append') return Buffer.concat([answer, bytes]);
  const copy = Buffer.from(answer);
  // RFC 1035 4.1.1: id, flags, and the four counts.
  const places = { flip: at % (copy.length || 1), count: 4 + (at % 8), flags: 2 + (at % 2) };
  if (copy.length > places[how]) copy[places[how]] = byte;
  return copy;
}

function answerOf(
  name: string,
  { exchange, preference, type }: { exchange: string; preference: number; type: string },
): Answer {
  if (type === 'MX') return { type, name, data: { preference, exchange } };
  if (type === 'CNAME') return { type, name, data: exchange || '.' };
  return type === 'A' ? { type: 'A', name, data: '127.0.0.1' } : { type: 'AAAA', name, data: '::1' };
}

let server: MockDns;
let dns: Dns;
before(async () => {
  server = await MockDns.start();
  server.add({ type: 'MX', name: 'honest.test', data: { preference: 1, exchange: 'mx.honest.test' } });
  dns = createDns(() => [server.address], QUERY_MS);
});
after(async () => {
  dns.close();
  await server[Symbol.asyncDispose]();
});

let round = 0;

test('every lookup ends, and what it finds are names and addresses, not too many', async () => {
  await fc.assert(
    fc.asyncProperty(faults, async (each) => {
      round += 1;
      const signal = AbortSignal.timeout(LONGEST_MS);
      await Promise.all(
        each.map(async ({ bends, records }, index) => {
          const name = `n${index}.round${round}.test`;
          server.fail(name, (_, query) => {
            const honest = encode({
              type: 'response',
              id: query.id ?? 0,
              flags: RECURSION_AVAILABLE,
              questions: query.questions ?? [],
              answers: records.map((one) => answerOf(name, one)),
            });
            return bends.reduce(bent, honest);
          });
          const [mx, addresses, answer] = await Promise.allSettled([
            dns.mx(name),
            dns.addresses(name),
            findMx(dns, name, 'relay.test', () => 0),
          ]);
          signal.throwIfAborted();
          if (mx.status === 'rejected') assert.ok(mx.reason instanceof DnsFailure, String(mx.reason));
          else
            assert.ok(
              mx.value.length > 0 &&
                mx.value.length <= 20 &&
                mx.value.every(({ exchange }) => typeof exchange === 'string'),
            );
          if (addresses.status === 'rejected')
            assert.ok(addresses.reason instanceof DnsFailure, String(addresses.reason));
          else assert.ok(addresses.value.length <= 20 && addresses.value.every((address) => isIP(address) !== 0));
          assert.equal(answer.status, 'fulfilled', 'it always knows what to do with the mail');
          server.fail(name, undefined);
        }),
      );
    }),
    { numRuns: ROUNDS },
  );
});

test('and honest answers are still understood', async () => {
  assert.equal((await dns.mx('honest.test'))[0]?.exchange, 'mx.honest.test');
});
