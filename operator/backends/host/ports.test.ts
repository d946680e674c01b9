import assert from 'node:assert/strict';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { PortProblem, Ports } from './ports.ts';

async function listening(t: TestContext, port = 0, host = '127.0.0.1'): Promise<net.Server & { port: number }> {
  const server = net.createServer((socket) => socket.end('hello')).listen(port, host);
  await once(server, 'listening');
  t.after(() => server.close());
  return Object.assign(server, { port: (server.address() as AddressInfo).port });
}

/** A port that nobody has now. */
async function freePort(t: TestContext): Promise<number> {
  const server = await listening(t);
  server.close();
  await once(server, 'close');
  return server.port;
}

function portsOf(t: TestContext, address?: string): Ports {
  const ports = new Ports(address);
  t.after(() => {
    for (const holder of ['default/a', 'default/b']) ports.keepOnly(new Set(), holder);
  });
  return ports;
}

test('a bound port takes connections of IPv4 and IPv6 once somebody listens on its socket', async (t) => {
  const ports = portsOf(t);
  const port = await freePort(t);
  const bound = ports.bind(port, 'default/a');
  assert.equal(ports.bind(port, 'default/a'), bound);
  const server = net.createServer((socket) => socket.end('hello')).listen(bound);
  t.after(() => server.close());
  await once(server, 'listening');
  for (const host of ['127.0.0.1', '::1']) {
    const [greeting] = await once(net.connect(port, host), 'data');
    assert.equal(String(greeting), 'hello');
  }
});

test('a narrowed address is the only one', async (t) => {
  const ports = portsOf(t, '127.0.0.1');
  const port = await freePort(t);
  const server = net.createServer().listen(ports.bind(port, 'default/a'));
  t.after(() => server.close());
  await once(server, 'listening');
  assert.equal((server.address() as AddressInfo).address, '127.0.0.1');
  const [error] = await once(net.connect(port, '::1'), 'error');
  assert.equal(error.code, 'ECONNREFUSED');
});

test('a port of another program is told, and had once it is free', async (t) => {
  const server = await listening(t);
  const ports = portsOf(t);
  assert.throws(
    () => ports.bind(server.port, 'default/a'),
    (error) => error instanceof PortProblem && error.reason === 'AddressInUse' && /another program/.test(error.message),
  );
  server.close();
  await once(server, 'close');
  ports.bind(server.port, 'default/a');
});

test('a port of another relay is told with its name, and had once that one lets go of it', async (t) => {
  const ports = portsOf(t);
  const port = await freePort(t);
  ports.bind(port, 'default/a');
  assert.throws(
    () => ports.bind(port, 'default/b'),
    (error) =>
      error instanceof PortProblem && error.reason === 'AddressInUse' && /SmtpRelay default\/a/.test(error.message),
  );
  ports.keepOnly(new Set([port]), 'default/a');
  assert.throws(() => ports.bind(port, 'default/b'), PortProblem);
  ports.keepOnly(new Set(), 'default/a');
  ports.bind(port, 'default/b');
});

test('an address that this machine does not have is told', async (t) => {
  const ports = portsOf(t, '192.0.2.1');
  const port = await freePort(t);
  assert.throws(
    () => ports.bind(port, 'default/a'),
    (error) => error instanceof PortProblem && error.reason === 'AddressNotAvailable',
  );
});

test('a port is had again at once, while closed connections still linger on it', async (t) => {
  const server = await listening(t);
  const client = net.connect(server.port, '127.0.0.1').resume();
  // The server closes first: the TIME_WAIT is on its side.
  await once(client, 'close');
  server.close();
  await once(server, 'close');
  portsOf(t, '127.0.0.1').bind(server.port, 'default/a');
});
