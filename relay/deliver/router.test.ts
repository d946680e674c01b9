import assert from 'node:assert/strict';
import { test } from 'node:test';
import { domainOf, groupByNextHop, nextHopOf } from './router.ts';

const host = (name: string, port = 25) => ({ host: name, port, tls: 'Opportunistic' as const });
const routes = [
  { domains: ['partner.test', '*.partner.test'], smarthosts: [host('a.test'), host('b.test', 26)] },
  { domains: ['*.example'], smarthosts: [host('::1', 27)] },
  { domains: ['other.example', 'x.test'], smarthosts: [host('never.test')] },
];

for (const [what, domain, key] of [
  ['a domain that a route names takes its smarthosts in order', 'partner.test', 'smtp:a.test:25,smtp:b.test:26'],
  ['a wildcard matches a subdomain', 'sub.partner.test', 'smtp:a.test:25,smtp:b.test:26'],
  ['a wildcard matches at any depth', 'a.b.example', 'smtp:[::1]:27'],
  ['a wildcard does not match its own domain', 'example', 'example'],
  ['a wildcard matches whole labels only', 'notpartner.test', 'notpartner.test'],
  ['the first route that matches wins', 'other.example', 'smtp:[::1]:27'],
  ['a domain without a route goes to its MX', 'elsewhere.test', 'elsewhere.test'],
  ['an address literal without a route goes to its address', '[127.0.0.1]', '[127.0.0.1]'],
] as const) {
  test(what, () => assert.equal(nextHopOf(routes, domain).key, key));
}

test('the same host as another client is another hop', () => {
  const login = (credentials: string) => [{ domains: ['*'], smarthosts: [{ ...host('A.test'), credentials }] }];
  assert.equal(nextHopOf(login('one'), 'x.test').key, 'smtp:one@a.test:25');
  assert.equal(nextHopOf(login('two'), 'x.test').key, 'smtp:two@a.test:25');
});

test('* takes what no route before it took', () => {
  const all = [...routes, { domains: ['*'], smarthosts: [host('Rest.test')] }];
  assert.equal(nextHopOf(all, 'elsewhere.test').key, 'smtp:rest.test:25');
  assert.equal(nextHopOf(all, 'partner.test').key, 'smtp:a.test:25,smtp:b.test:26');
});

test('the domain of an address is routed in lower case and A-labels', () => {
  assert.equal(domainOf('a@Example.TEST'), 'example.test');
  assert.equal(domainOf('"a@b"@example.test'), 'example.test');
  assert.equal(domainOf('a@bücher.test'), 'xn--bcher-kva.test');
  assert.equal(domainOf('a@[IPv6:::1]'), '[ipv6:::1]');
});

test('recipients are grouped by the next hop they take now', () => {
  const recipients = ['a@x.org', 'b@partner.test', 'c@X.ORG', 'd@sub.partner.test'].map((address) => ({ address }));
  const delivery = { routes, direct: { resolvers: [], port: 25 }, retry: { scheduleMs: [1], expireAfterMs: 1 } };
  const groups = groupByNextHop(delivery, recipients).map(({ hop, items }) => [hop.key, items.map((i) => i.address)]);
  assert.deepEqual(groups, [
    ['x.org', ['a@x.org', 'c@X.ORG']],
    ['smtp:a.test:25,smtp:b.test:26', ['b@partner.test', 'd@sub.partner.test']],
  ]);
});
