import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MockDns } from '../../test/harness/dns.ts';
import { createDns, DnsFailure } from './dns.ts';
import { findMx } from './mx.ts';

const kind = (expected: DnsFailure['kind']) => (error: unknown) =>
  error instanceof DnsFailure && error.kind === expected;

async function setUp() {
  const server = await MockDns.start();
  return { server, dns: createDns(() => [server.address], 100) };
}

test('MX and addresses are asked of the resolvers in settings', async () => {
  const { server, dns } = await setUp();
  await using _ = server;
  server.add(
    { type: 'MX', name: 'dest.test', data: { preference: 10, exchange: 'mx.dest.test' } },
    { type: 'CNAME', name: 'mx.dest.test', data: 'host.dest.test' },
    { type: 'A', name: 'host.dest.test', data: '127.0.0.2' },
    { type: 'AAAA', name: 'host.dest.test', data: '::1' },
  );
  assert.deepEqual(
    (await dns.mx('dest.test')).map(({ exchange, priority }) => [exchange, priority]),
    [['mx.dest.test', 10]],
  );
  assert.deepEqual(await dns.addresses('mx.dest.test'), ['127.0.0.2', '::1'], 'an alias at the MX is followed');
});

test('a name that is not there, and one without such records, are told apart', async () => {
  const { server, dns } = await setUp();
  await using _ = server;
  server.add({ type: 'A', name: 'dest.test', data: '127.0.0.1' });
  await assert.rejects(dns.mx('nowhere.test'), kind('no-domain'));
  await assert.rejects(dns.mx('dest.test'), kind('no-data'));
  await assert.rejects(dns.addresses('nowhere.test'), kind('no-domain'));
});

test('SERVFAIL and silence are temporary, and are not remembered', async () => {
  const { server, dns } = await setUp();
  await using _ = server;
  server.add({ type: 'A', name: 'dest.test', data: '127.0.0.1' });
  for (const fault of ['servfail', 'silent'] as const) {
    server.fail('dest.test', fault);
    await assert.rejects(dns.mx('dest.test'), kind('temporary'), fault);
  }
  server.fail('dest.test', undefined);
  assert.deepEqual(await dns.addresses('dest.test'), ['127.0.0.1']);
});

test('an answer is remembered, and forgotten with the resolvers it came from', async () => {
  await using one = await MockDns.start();
  await using two = await MockDns.start();
  for (const [server, address] of [
    [one, '127.0.0.1'],
    [two, '127.0.0.2'],
  ] as const) {
    server.add({ type: 'A', name: 'dest.test', data: address });
  }
  let servers = [one.address];
  const dns = createDns(() => servers, 100);
  await dns.addresses('dest.test');
  await dns.addresses('dest.test');
  assert.deepEqual(one.questions.toSorted(), ['A dest.test', 'AAAA dest.test']);
  servers = [two.address];
  assert.deepEqual(await dns.addresses('dest.test'), ['127.0.0.2']);
});

test('a null MX on the wire is seen as one', async () => {
  const { server, dns } = await setUp();
  await using _ = server;
  server.addNullMx('null.test');
  const answer = await findMx(dns, 'null.test', 'relay.example.test', () => 0);
  assert('reply' in answer && answer.reply.enhanced === '5.1.10');
});

test('an answer too long for UDP is asked again over TCP, and no more of it is kept than is used', async () => {
  const { server, dns } = await setUp();
  await using _ = server;
  const names = Array.from({ length: 40 }, (_, i) => `mail-exchanger-number-${i}.dest.test`);
  server.add(
    ...names.map((exchange, i) => ({
      type: 'MX' as const,
      name: 'dest.test',
      data: { preference: names.length - i, exchange },
    })),
  );
  assert.deepEqual(
    (await dns.mx('dest.test')).map(({ priority }) => priority),
    Array.from({ length: 20 }, (_, i) => i + 1),
    'the most preferred ones',
  );
});

test('a malformed answer fails its own lookup alone', async () => {
  const { server, dns } = await setUp();
  await using _ = server;
  server.add({ type: 'MX', name: 'dest.test', data: { preference: 10, exchange: 'mx.dest.test' } });
  for (const name of ['one.test', 'two.test', 'three.test']) server.fail(name, (bytes) => bytes.subarray(0, 11));
  const lookups = ['one.test', 'two.test', 'dest.test', 'three.test'].map((name) => dns.mx(name));
  const found = await Promise.allSettled(lookups);
  assert.deepEqual(
    found.map(({ status }) => status),
    ['rejected', 'rejected', 'fulfilled', 'rejected'],
  );
  for (const lookup of found) if (lookup.status === 'rejected') assert.ok(kind('temporary')(lookup.reason));
});

test('smarthosts are asked of the system', async () => {
  const dns = createDns(() => [], 100);
  assert((await dns.systemAddresses('localhost')).some((address) => address === '127.0.0.1' || address === '::1'));
  assert.deepEqual(await dns.systemAddresses('127.0.0.9'), ['127.0.0.9']);
});
