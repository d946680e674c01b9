/** What Prometheus and probes see of a relay: its metrics move with what happens, and its health is true. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFile, statfs } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { declarations } from '../../docs/metrics.ts';
import manifest from '../../package.json' with { type: 'json' };
import { Destination, type Script } from '../harness/destination.ts';
import { goOn, halt } from '../harness/halted.ts';
import { page, promtoolVerdict, type Samples, samplesOf } from '../harness/monitoring.ts';
import { Outbound, routeTo } from '../harness/outbound.ts';
import { SmtpClient } from '../harness/smtp-client.ts';

const RELAY = 'SmtpRelay/default/outbound';
const needsPromtool = { skip: !process.env.CI && spawnSync('promtool', ['--version']).error !== undefined };

let destination: Destination;
let outbound: Outbound;
/** Whether late@ is taken. */
let open = true;

/** When hangs@ gets a reply to the final dot. */
let finalDot: Promise<void> | undefined;

/** gone@: refused; late@: not while it is shut; hangs@: when the test says so. */
const byRecipient: Script = async ({ at, argument, envelope }) => {
  if (at === 'rcpt' && argument.includes('<gone')) return '550 5.1.1 No such user here';
  if (at === 'rcpt' && argument.includes('<late') && !open) return '451 4.7.1 Come back later';
  if (at === 'dot' && envelope.to[0]?.startsWith('hangs')) await finalDot;
  return undefined;
};

before(async () => {
  destination = await Destination.start({ react: byRecipient });
  outbound = await Outbound.start({
    replicas: 2,
    delivery: { routes: [routeTo(destination.port)], retry: { schedule: ['1s'], expireAfter: '1h' } },
  });
});
after(async () => {
  await destination?.[Symbol.asyncDispose]();
  await outbound?.[Symbol.asyncDispose]();
});

/** A session at the listener `submission`, under TLS. */
async function session(): Promise<SmtpClient> {
  const client = await SmtpClient.connect(outbound.ports.submission);
  await client.startTls();
  return client;
}

/** Sends to one recipient by this replica. Which one takes a connection is chance, so the other is halted meanwhile. */
async function sendBy(ordinal: number, recipient: string): Promise<void> {
  const other = outbound.standalone.replicaPids().get(1 - ordinal) ?? assert.fail('there is no other replica');
  await halt(other);
  const queueId = await outbound.send({ to: [recipient] }).finally(() => goOn(other));
  assert.equal((await outbound.event('received', queueId)).replica, ordinal);
}

const metrics = (): Promise<Samples> => samplesOf(outbound.ports.monitoring);
const GAUGES = [
  'chasqui_queue_messages',
  'chasqui_queue_deliveries',
  'chasqui_queue_oldest_age_seconds',
  'chasqui_queue_free_bytes',
  'chasqui_queue_disk_bytes',
];

/** Samples that moved, without those of the queue and of connections, buckets and bytes, which tests of their own look at. */
function moved(from: Samples, to: Samples): Readonly<Record<string, number>> {
  const all = [...to].map(([sample, value]) => [sample, value - (from.get(sample) ?? 0)] as const);
  return Object.fromEntries(
    all.filter(
      ([sample, difference]) =>
        difference !== 0 &&
        !GAUGES.includes(sample) &&
        !/_bucket\{|_sum\b|_bytes_total|^process_|_connections_total\{|_dns_/.test(sample),
    ),
  );
}

/**
 * Waits until the queue is empty and the samples have moved so. Outcomes are recorded before they are counted, so the
 * counters may come a moment after the queue.
 */
async function assertMoved(from: Samples, expected: () => Readonly<Record<string, number>>): Promise<void> {
  let difference: ReturnType<typeof moved> = {};
  const holds = async (): Promise<boolean> => {
    const to = await metrics();
    difference = moved(from, to);
    return to.get('chasqui_queue_messages') === 0 && isDeepStrictEqual(difference, expected());
  };
  await outbound.standalone.until('the metrics moved as expected', holds).catch((error: unknown) => {
    assert.deepEqual(difference, expected());
    throw error;
  });
}

const SUBMITTED = {
  'chasqui_smtp_sessions_total{listener="submissions"}': 1,
  'chasqui_smtp_auth_total{listener="submissions",mechanism="PLAIN",result="accepted"}': 1,
  'chasqui_messages_received_total{listener="submissions"}': 1,
  'chasqui_smtp_tls_handshakes_total{listener="submissions",version="TLSv1.3"}': 1,
};

/** What recipients at the one destination there is came to. */
const outcome = (of: string, reason: string): string =>
  `chasqui_delivery_outcomes_total{destination="smtp:127.0.0.1:${destination.port}",outcome="${of}",reason="${reason}"}`;

test('a message that is delivered moves sessions, auth, received, signed, delivered, and the latency', async () => {
  const from = await metrics();
  const queueId = await outbound.send({ to: ['now@example.org', 'too@example.org'] });
  await assertMoved(from, () => ({
    ...SUBMITTED,
    chasqui_messages_signed_total: 1,
    chasqui_recipients_delivered_total: 2,
    [outcome('delivered', 'none')]: 2,
    chasqui_delivery_latency_seconds_count: 2,
  }));
  const to = await metrics();
  const rise = (sample: string): number => (to.get(sample) ?? Number.NaN) - (from.get(sample) ?? 0);
  for (const recipient of ['now@example.org', 'too@example.org']) await outbound.event('delivered', queueId, recipient);
  const ages = outbound.history(queueId).flatMap(({ ageMs }) => (typeof ageMs === 'number' ? ageMs / 1000 : []));
  assert.equal(ages.length, 2);
  assert.equal(rise('chasqui_delivery_latency_seconds_bucket{le="+Inf"}'), 2);
  const sum = ages.reduce((total, age) => total + age, 0);
  assert.ok(Math.abs(rise('chasqui_delivery_latency_seconds_sum') - sum) < 1e-6, 'the log and the histogram agree');
  const { sizeBytes } = await outbound.event('received', queueId);
  assert.equal(rise('chasqui_messages_received_bytes_total{listener="submissions"}'), sizeBytes);
});

test('a recipient refused moves bounced; the notice to the sender is a message too', async () => {
  const from = await metrics();
  await outbound.send({ to: ['gone@example.org'] });
  await assertMoved(from, () => ({
    ...SUBMITTED,
    chasqui_messages_signed_total: 2,
    chasqui_recipients_bounced_total: 1,
    chasqui_recipients_delivered_total: 1,
    [outcome('bounced', 'address')]: 1,
    [outcome('delivered', 'none')]: 1,
    chasqui_delivery_latency_seconds_count: 1,
  }));
});

test('a message that waits moves deferred, and is the depth of the queue and its age until it is gone', async () => {
  open = false;
  const from = await metrics();
  const queueId = await outbound.send({ to: ['late@example.org'] });
  await outbound.event('deferred', queueId, 'late@example.org');
  const samples = await metrics();
  const [depth, deliveries, ageSeconds = 0] = GAUGES.map((gauge) => samples.get(gauge));
  assert.deepEqual([depth, deliveries], [1, 1]);
  assert.ok(ageSeconds > 0);
  await outbound.standalone.until('it is older', async () => {
    const older = (await metrics()).get('chasqui_queue_oldest_age_seconds');
    return older !== undefined && older > Math.max(1, ageSeconds);
  });
  open = true;
  const deferrals = () => outbound.history(queueId).filter(({ event }) => event === 'deferred').length;
  await assertMoved(from, () => ({
    ...SUBMITTED,
    chasqui_messages_signed_total: 1,
    chasqui_recipients_deferred_total: deferrals(),
    chasqui_recipients_delivered_total: 1,
    chasqui_delivery_latency_seconds_count: 1,
    [outcome('deferred', 'policy')]: deferrals(),
    [outcome('delivered', 'none')]: 1,
  }));
  assert.equal((await metrics()).get('chasqui_queue_oldest_age_seconds'), 0);
});

test('what is refused moves rejected, with the reason', async () => {
  const credential: readonly [string, string] = ['app.default', outbound.secret('app-smtp', 'password')];
  const from = await metrics();
  {
    await using client = await session();
    assert.match(await client.authenticate('app.default', 'guessed'), /^535 5\.7\.8 /);
    await client.talk(['MAIL FROM:<user@example.test>', '530 5.7.0']);
    assert.match(await client.authenticate(...credential), /^235 /);
    await client.talk(['MAIL FROM:<eve@other.test>', '550 5.7.1'], ['MAIL FROM:<user@example.test>', '250']);
    await client.talk(['RCPT TO:<ada>', '553 5.1.3'], ['RCPT TO:<ada@example.org>', '250'], ['DATA', '354']);
    assert.match(await client.content('From: eve@other.test\r\n\r\n'), /^550 5\.7\.1 /);
    await client.talk(['WIZ', '500']);
  }
  const rejected = (stage: string, reason: string): string =>
    `chasqui_smtp_rejected_total{listener="submission",stage="${stage}",reason="${reason}"}`;
  await assertMoved(from, () => ({
    'chasqui_smtp_sessions_total{listener="submission"}': 1,
    'chasqui_smtp_tls_handshakes_total{listener="submission",version="TLSv1.3"}': 1,
    'chasqui_smtp_auth_total{listener="submission",mechanism="PLAIN",result="rejected"}': 1,
    'chasqui_smtp_auth_total{listener="submission",mechanism="PLAIN",result="accepted"}': 1,
    [rejected('auth', 'wrong_credentials')]: 1,
    [rejected('mail', 'auth_required')]: 1,
    [rejected('mail', 'sender_not_allowed')]: 1,
    [rejected('rcpt', 'bad_recipient_address')]: 1,
    [rejected('data', 'sender_not_allowed')]: 1,
    [rejected('command', 'unknown_command')]: 1,
  }));
});

test('each replica serves what it counted, at a port of its own', async () => {
  for (const ordinal of [0, 1]) await sendBy(ordinal, 'now@example.org');
  const counted = await Promise.all(
    outbound.ports.monitoring.map(async (port) => {
      const samples = await samplesOf([port]);
      return samples.get('chasqui_messages_received_total{listener="submissions"}') ?? 0;
    }),
  );
  const told = outbound.ports.monitoring.map(
    (_, ordinal) =>
      outbound.standalone.lines.filter(({ event, replica }) => event === 'received' && replica === ordinal).length,
  );
  assert.deepEqual(counted, told);
});

test('a relay that has worked exposes the metrics of docs/metrics.md and no others, with the labels that stand there', async () => {
  await sendBy(0, 'now@example.org');
  const { text } = await page(outbound.ports.monitoring[0] ?? 0, '/metrics');
  const types = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => `${name} ${type}`);
  assert.deepEqual(
    types,
    declarations().map(({ name, type }) => `${name} ${type}`),
  );
  for (const { name, labels = {} } of declarations()) {
    for (const [, list = ''] of text.matchAll(new RegExp(`^${name}\\{(.*)\\} `, 'gm'))) {
      const found = [...list.matchAll(/(\w+)="([^"]*)"/g)];
      assert.deepEqual(
        found.map(([, label]) => label),
        Object.keys(labels),
        name,
      );
      for (const [, label = '', value = ''] of found) {
        const bound = labels[label];
        assert.ok(typeof bound === 'string' || bound?.includes(value), `${name}: ${label}="${value}"`);
      }
    }
  }
});

test('a replica tells its version, and as much of its process as the kernel does', async () => {
  for (const [ordinal, port] of outbound.ports.monitoring.entries()) {
    const { text } = await page(port, '/metrics');
    assert.match(
      text,
      new RegExp(`^chasqui_build_info\\{version="${manifest.version}",node="${process.versions.node}"\\} 1$`, 'm'),
    );
    const samples = await samplesOf([port]);
    const pid = outbound.standalone.replicaPids().get(ordinal) ?? assert.fail('no such replica');
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    const residentBytes = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1_024;
    const told = samples.get('process_resident_memory_bytes') ?? 0;
    assert.ok(Math.abs(told - residentBytes) < residentBytes / 2, `told ${told} bytes of ${residentBytes}`);
    const { blocks, bsize } = await statfs(outbound.standalone.state);
    assert.equal(samples.get('chasqui_queue_disk_bytes'), blocks * bsize);
    assert.ok((samples.get('process_open_fds') ?? 0) > 10, 'the sockets of its listeners alone are more');
    assert.ok((samples.get('process_cpu_seconds_total') ?? 0) > 0.1, 'its start took more');
    const startedMs = (samples.get('process_start_time_seconds') ?? 0) * 1_000;
    assert.ok(startedMs < Date.now() && startedMs > Date.now() - 600_000, 'it started within this test');
  }
});

test('promtool finds nothing wrong with the metrics of a relay that has worked', needsPromtool, async () => {
  for (const [ordinal, port] of outbound.ports.monitoring.entries()) {
    await sendBy(ordinal, 'now@example.org');
    const { status, text } = await page(port, '/metrics');
    assert.equal(status, 200);
    assert.match(text, /^chasqui_smtp_sessions_total\{/m);
    assert.deepEqual(await promtoolVerdict(text), { code: 0, said: '' });
  }
  assert.notEqual((await promtoolVerdict('# TYPE wrong_total gauge\nwrong_total 1\n')).code, 0, 'it would say so');
});

test('/healthz and /readyz tell the truth while a replica works, and while it stops', async () => {
  for (const port of outbound.ports.monitoring) {
    assert.deepEqual(await page(port, '/healthz'), { status: 200, text: 'ok\n' });
    assert.deepEqual(await page(port, '/readyz'), { status: 200, text: 'ok\n' });
  }
  const answer = Promise.withResolvers<void>();
  finalDot = answer.promise;
  const { replica } = await outbound.event('received', await outbound.send({ to: ['hangs@example.org'] }));
  const ordinal = Number(replica);
  const port = outbound.ports.monitoring[ordinal] ?? 0;
  await destination.until(() =>
    destination.connections.some(({ lines }) => lines.includes('RCPT TO:<hangs@example.org>')),
  );
  process.kill(outbound.standalone.replicaPids().get(ordinal) ?? 0, 'SIGTERM');
  await outbound.standalone.until('it says that it stops', async () => {
    const { status, text } = await page(port, '/readyz');
    return status === 503 && text === 'stopping\n';
  });
  assert.equal((await page(port, '/healthz')).status, 200, 'it is in good health');
  answer.resolve();
  await outbound.standalone.until('another one has its place', async () => {
    const seen = await page(port, '/readyz').catch(() => undefined);
    return seen?.status === 200;
  });
});

test('a replica that is drained stays ready: to deliver what it holds is its work', async () => {
  // What is past its dot can be handed to no other replica: it stays for as long as the destination thinks.
  const answer = Promise.withResolvers<void>();
  finalDot = answer.promise;
  const begun = () =>
    destination.connections.flatMap(({ lines }) => lines).filter((line) => line === 'RCPT TO:<hangs@example.org>')
      .length;
  const before = begun();
  await sendBy(1, 'hangs@example.org');
  await destination.until(() => begun() > before);
  outbound.standalone.edit('all.yaml', (manifests) => manifests.replace('"replicas": 2', '"replicas": 1'));
  await outbound.standalone.untilReplicas(RELAY, 'Ready Draining+mail');
  for (const port of outbound.ports.monitoring) {
    for (const path of ['/healthz', '/readyz']) assert.deepEqual(await page(port, path), { status: 200, text: 'ok\n' });
  }
  answer.resolve();
  await outbound.standalone.untilReplicas(RELAY, 'Ready Stopped');
});
