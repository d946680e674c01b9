/** Without a route mail goes to the MX of each recipient's domain, as DNS names them. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { SELF_SIGNED } from '../harness/certificate.ts';
import { Destination, type ReceivedMessage } from '../harness/destination.ts';
import { MockDns } from '../harness/dns.ts';
import { samplesOf } from '../harness/monitoring.ts';
import { Outbound, routeTo } from '../harness/outbound.ts';

/** All on one port, each at an address of its own: `delivery.direct.port` is the same for all. */
let clear: Destination;
let secure: Destination;
let broken: Destination;
let smarthost: Destination;
let dns: MockDns;
let outbound: Outbound;

before(async () => {
  clear = await Destination.start({ host: '127.0.0.1', name: 'mx.clear.test' });
  const { port } = clear;
  secure = await Destination.start({ host: '127.0.0.2', port, name: 'mx.secure.test', certificate: SELF_SIGNED });
  broken = await Destination.start({
    host: '127.0.0.3',
    port,
    name: 'mx.broken.test',
    extensions: ['STARTTLS'],
    react: ({ at }) => (at === 'starttls' ? '454 4.7.0 TLS not available' : undefined),
  });
  smarthost = await Destination.start();
  dns = await MockDns.start();
  dns.add(
    { type: 'MX', name: 'clear.test', data: { preference: 10, exchange: 'mx.clear.test' } },
    { type: 'A', name: 'mx.clear.test', data: '127.0.0.1' },
    { type: 'MX', name: 'secure.test', data: { preference: 10, exchange: 'mx.secure.test' } },
    { type: 'A', name: 'mx.secure.test', data: '127.0.0.2' },
    { type: 'MX', name: 'broken.test', data: { preference: 10, exchange: 'mx.broken.test' } },
    { type: 'A', name: 'mx.broken.test', data: '127.0.0.3' },
    { type: 'MX', name: 'ordered.test', data: { preference: 20, exchange: 'mx.clear.test' } },
    { type: 'MX', name: 'ordered.test', data: { preference: 10, exchange: 'mx.secure.test' } },
    // Nobody listens at 127.0.0.4.
    { type: 'MX', name: 'two.test', data: { preference: 20, exchange: 'mx.clear.test' } },
    { type: 'MX', name: 'two.test', data: { preference: 10, exchange: 'down.two.test' } },
    { type: 'A', name: 'down.two.test', data: '127.0.0.4' },
    { type: 'A', name: 'implicit.test', data: '127.0.0.2' },
    { type: 'MX', name: 'example.test', data: { preference: 10, exchange: 'mx.clear.test' } },
  );
  dns.addNullMx('nothing.test');
  outbound = await Outbound.start({
    delivery: {
      routes: [routeTo(smarthost.port, 'routed.test')],
      direct: { resolvers: [dns.address], port },
      retry: { schedule: ['1s'] },
    },
  });
});
after(async () => {
  await outbound?.[Symbol.asyncDispose]();
  for (const server of [clear, secure, broken, smarthost, dns]) await server?.[Symbol.asyncDispose]();
});

/** The message for the recipient, and where it arrived. */
async function arrivalAt(destination: Destination, recipient: string): Promise<ReceivedMessage> {
  const find = () => destination.messages.find(({ to }) => to.includes(recipient));
  await destination.until(() => find() !== undefined);
  const message = find();
  assert.ok(message);
  return message;
}

test('each domain gets its own recipients of a message, at its MX; a routed one at its smarthost', async () => {
  const to = ['a@clear.test', 'b@secure.test', 'c@clear.test', 'd@implicit.test', 'e@routed.test'];
  const queueId = await outbound.send({ to });
  for (const recipient of to) await outbound.event('delivered', queueId, recipient);
  assert.deepEqual(
    clear.messages.map((message) => message.to),
    [['a@clear.test', 'c@clear.test']],
  );
  assert.deepEqual(secure.messages.map((message) => message.to.join()).sort(), ['b@secure.test', 'd@implicit.test']);
  assert.deepEqual(
    smarthost.messages.map((message) => message.to),
    [['e@routed.test']],
  );
  assert.ok(!dns.questions.some((question) => question.includes('routed.test')));
});

test('STARTTLS is used where it is offered, with any certificate; elsewhere mail goes in clear', async () => {
  const queueId = await outbound.send({ to: ['tls@secure.test', 'tls@clear.test', 'tls@broken.test'] });
  for (const domain of ['secure', 'clear', 'broken']) {
    await outbound.event('delivered', queueId, `tls@${domain}.test`);
  }
  assert.equal((await arrivalAt(secure, 'tls@secure.test')).tls, true);
  assert.equal((await arrivalAt(clear, 'tls@clear.test')).tls, false);
  const { tls, connection } = await arrivalAt(broken, 'tls@broken.test');
  assert.deepEqual([tls, connection.lines.includes('STARTTLS')], [false, false], 'a new connection, without TLS');
  assert.ok(broken.connections[0]?.lines.includes('STARTTLS'), 'TLS was tried first');
});

test('messages to a domain that follow each other share a connection', async () => {
  const recipients = ['one@secure.test', 'two@secure.test', 'three@secure.test'];
  const numbers: number[] = [];
  for (const recipient of recipients) {
    await outbound.event('delivered', await outbound.send({ to: [recipient] }), recipient);
    numbers.push((await arrivalAt(secure, recipient)).connection.number);
  }
  assert.equal(new Set(numbers).size, 1, `connections ${numbers.join()}`);
});

test('the most preferred MX takes the mail; the next one where it cannot', async () => {
  await outbound.send({ to: ['ada@ordered.test'] });
  await arrivalAt(secure, 'ada@ordered.test');
  await outbound.send({ to: ['ada@two.test'] });
  await arrivalAt(clear, 'ada@two.test');
});

test('a domain that takes no mail is refused at RCPT; one that does not exist is returned', async () => {
  await assert.rejects(outbound.send({ to: ['ada@nothing.test'] }), /556 5\.1\.10/);
  const queueId = await outbound.send({ from: 'asks@example.test', to: ['ada@missing.test'] });
  const { reply } = await outbound.event('bounced', queueId);
  assert.match(JSON.stringify(reply), /"enhanced":"5\.1\.2"/);
  const notice = await arrivalAt(clear, 'asks@example.test');
  assert.equal(notice.from, '');
});

test('connections are counted by TLS, those that failed by how far they came, and names by what DNS says', async () => {
  const samples = () => samplesOf(outbound.ports.monitoring);
  const from = await samples();
  const to = ['m@clear.test', 'm@secure.test', 'm@two.test', 'm@counted.test'];
  dns.add({ type: 'A', name: 'counted.test', data: '127.0.0.2' });
  const queueId = await outbound.send({ to: [...to, 'm@nowhere.test'] });
  for (const recipient of to) await outbound.event('delivered', queueId, recipient);
  await outbound.event('bounced', queueId, 'm@nowhere.test');

  const upTo = await samples();
  const of = (sample: string): number => upTo.get(sample) ?? 0;
  assert.ok(of('chasqui_delivery_connections_total{tls="none"}') > 0);
  assert.ok(of('chasqui_delivery_connections_total{tls="TLSv1.3"}') > 0);
  assert.ok(of('chasqui_delivery_connection_failures_total{stage="connect"}') > 0, 'down.two.test');
  const rise = (sample: string): number => of(sample) - (from.get(sample) ?? 0);
  const lookups = (type: string, result: string): number =>
    rise(`chasqui_dns_lookup_seconds_count{type="${type}",result="${result}"}`);
  // counted.test has no MX, but an address.
  assert.deepEqual([lookups('mx', 'no-data'), lookups('addresses', 'found')], [1, 1]);
  assert.ok(lookups('mx', 'no-domain') > 0, 'nowhere.test');
  const bounced = 'chasqui_delivery_outcomes_total{destination="nowhere.test",outcome="bounced",reason="address"}';
  assert.equal(rise(bounced), 1);
});
