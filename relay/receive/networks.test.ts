import assert from 'node:assert/strict';
import test from 'node:test';
import type { ListenerSettings } from '../config/documents.ts';
import { clientNetwork, exemptingNetwork, plainAddress } from './networks.ts';

const listener = (...exemptNetworks: string[]): ListenerSettings => ({
  name: 'local',
  protocol: 'Submission',
  port: 25,
  tls: 'Optional',
  exemptNetworks,
});

const exempt = (address: string, ...networks: string[]) =>
  exemptingNetwork(listener(...networks), plainAddress(address));

test('a client is exempt within the network, to its last address', () => {
  assert.equal(exempt('10.1.0.0', '10.1.0.0/16'), '10.1.0.0/16');
  assert.equal(exempt('10.1.255.255', '10.1.0.0/16'), '10.1.0.0/16');
  assert.equal(exempt('10.2.0.0', '10.1.0.0/16'), undefined);
  assert.equal(exempt('10.0.255.255', '10.1.0.0/16'), undefined);
  assert.equal(exempt('192.0.2.1', '192.0.2.1/32'), '192.0.2.1/32');
  assert.equal(exempt('192.0.2.2', '192.0.2.1/32'), undefined);
  assert.equal(exempt('2001:db8::ffff', '2001:db8::/112'), '2001:db8::/112');
  assert.equal(exempt('2001:db8::1:0', '2001:db8::/112'), undefined);
});

test('an IPv4-mapped client is judged as IPv4', () => {
  assert.equal(exempt('::ffff:10.1.2.3', '10.0.0.0/8'), '10.0.0.0/8');
  assert.equal(exempt('::FFFF:10.1.2.3', '10.0.0.0/8'), '10.0.0.0/8');
  assert.equal(exempt('::ffff:11.1.2.3', '10.0.0.0/8'), undefined);
});

test('IPv6 does not exempt IPv4, nor the other way round', () => {
  assert.equal(exempt('10.1.2.3', '2001:db8::/32'), undefined);
  assert.equal(exempt('2001:db8::1', '0.0.0.0/0'), undefined);
  assert.equal(exempt('::1', '127.0.0.0/8'), undefined);
});

test('a zone is no part of the address', () => {
  assert.equal(exempt('fe80::1%eth0', 'fe80::/10'), 'fe80::/10');
});

test('the first network that fits is named', () => {
  assert.equal(exempt('10.1.2.3', '192.0.2.0/24', '10.0.0.0/8', '10.1.0.0/16'), '10.0.0.0/8');
});

for (const network of [
  '10.0.0.0',
  '10.0.0.0/',
  '10.0.0.0/33',
  '10.0.0.0/-1',
  '10.0.0.0/8x',
  'x/8',
  '',
  '/0',
  '::/129',
]) {
  test(`${JSON.stringify(network)} is no network and exempts nobody`, () => {
    for (const address of ['10.0.0.0', '0.0.0.0', '::', '::1']) assert.equal(exempt(address, network), undefined);
  });
}

for (const address of ['', 'unix', '10.0.0', '10.0.0.0.0', '1']) {
  test(`${JSON.stringify(address)} is no address and never exempt`, () => {
    assert.equal(exempt(address, '0.0.0.0/0', '::/0'), undefined);
  });
}

test('an IPv4 client is one address, an IPv6 client all of its /64', () => {
  assert.equal(clientNetwork('192.0.2.1'), '192.0.2.1');
  assert.equal(clientNetwork('2001:db8:1:2:3:4:5:6'), '2001:db8:1:2::/64');
  assert.equal(clientNetwork('2001:db8:1:2::6'), '2001:db8:1:2::/64');
  assert.equal(clientNetwork('2001:db8::6'), '2001:db8:0:0::/64');
  assert.equal(clientNetwork('2001:db8::1:2:3:4:5'), '2001:db8:0:1::/64');
  assert.equal(clientNetwork('::1'), '0:0:0:0::/64');
  assert.equal(clientNetwork('fe80::'), 'fe80:0:0:0::/64');
});
