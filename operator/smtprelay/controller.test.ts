import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { before, describe, it } from 'node:test';
import Schema from 'typebox/schema';
import type { SmtpRelay, SmtpRelaySpec } from '../../crds/smtprelay.ts';
import { IndexDocument, SettingsDocument } from '../../relay/config/documents.ts';
import { worldOf } from '../../test/harness/domain-world.ts';
import { domain, relay, user } from '../../test/harness/manifests.ts';
import type { RelayReplica, Secret } from '../backend.ts';
import type { SecretRecipe } from '../runtime/plan.ts';
import { type ObservedRelay, planRelay } from './controller.ts';
import { judgeRelay } from './policies.ts';

const DAY_MS = 24 * 3_600_000;
const NOW = Date.parse('2026-03-01T12:00:00Z');
const SERVICE_NAMES = ['localhost', '127.0.0.1', '::1'];
/** What a backend says whose replicas may bind no low port and find each other by name. */
const IN_PODS = {
  peers: { host: 'outbound-{ordinal}.outbound-pods.default.svc', port: 9466 },
  bindPort: (port: number) => (port < 1024 ? 10_000 + port : port),
};

async function generated(entry: Secret | SecretRecipe | undefined): Promise<Secret> {
  assert.ok(entry);
  if ('data' in entry) return entry;
  const { generate, ...identity } = entry;
  return { ...identity, data: await generate() };
}

const unsigned = { ...domain('any').spec.dkim, algorithms: [] };
const domains = [
  domain('b', { domain: 'b.test', dkim: unsigned }),
  domain('a', { domain: 'a.test', dkim: unsigned }),
  domain('lost', { domain: 'lost.test', dkim: unsigned, relayRefs: [{ name: 'outbound' }, { name: 'nowhere' }] }),
];
const verifier = (name: string): Secret => ({
  namespace: 'default',
  name: `${name}-verifier`,
  owner: { kind: 'SmtpUser', name, uid: `uid-of-${name}` },
  purpose: 'verifier',
  annotations: {},
  data: { salt: 'c2FsdA==', iterations: '4096', storedKey: 'c3RvcmVk', serverKey: 'c2VydmVy' },
});

let ca: Secret;
let certificate: Secret;
before(async () => {
  ca = await generated(planRelay(observed(relay('outbound'), { ca: undefined }), () => NOW).create?.[0]);
  certificate = await generated(
    planRelay(observed(relay('outbound'), { certificate: undefined }), () => NOW).apply?.[0],
  );
});

function observed(object: SmtpRelay, more: Partial<ObservedRelay> = {}): ObservedRelay {
  return {
    relay: object,
    world: worldOf(domains),
    domains: domains.map((each) => ({ domain: each, storedKeys: [], ownKeys: [] })),
    users: [
      { user: user('app', { senders: ['*@a.test'] }), verifier: verifier('app') },
      { user: user('new', { senders: ['*@a.test'] }), verifier: undefined },
      { user: user('thief', { senders: ['*@c.test'] }), verifier: verifier('thief') },
    ],
    ca,
    certificate,
    serviceNames: SERVICE_NAMES,
    applied: new Map(),
    isEmpty: false,
    replicas: [],
    peers: { socket: '/run/replica-{ordinal}.sock' },
    bindPort: (port) => port,
    ...more,
  };
}

const planned = (object = relay('outbound'), more: Partial<ObservedRelay> = {}, now = NOW) =>
  planRelay(observed(object, more), () => now);
const condition = (plan: ReturnType<typeof planned>, type: string) =>
  plan.status?.conditions?.find((each) => each.type === type);
const replica = (ordinal: number, more: Partial<RelayReplica> = {}): RelayReplica => ({
  ordinal,
  state: 'Ready',
  rejected: [],
  queued: false,
  ...more,
});

describe('the config of a relay', () => {
  it('is byte for byte the same for the same manifests, in whatever order they are read', () => {
    const input = observed(relay('outbound'));
    const turned = { ...input, domains: [...input.domains].reverse(), users: [...input.users].reverse() };
    const [one, other] = [input, turned].map((each) => planRelay(each, () => NOW).relay);
    assert.ok(one);
    assert.deepEqual(one, other);
  });

  it('is named by the SHA-256 of its index, which names every document', () => {
    const group = planned().relay;
    assert.ok(group);
    const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
    const text = group.documents.get('index.json') ?? '';
    assert.equal(group.configHash, sha256(text));
    const index: unknown = JSON.parse(text);
    assert.ok(Schema.Compile(IndexDocument).Check(index));
    const others = [...group.documents].filter(([file]) => file !== 'index.json');
    assert.deepEqual(index.documents, Object.fromEntries(others.map(([file, content]) => [file, sha256(content)])));
    assert.ok(Schema.Compile(SettingsDocument).Check(JSON.parse(group.documents.get('settings.json') ?? '')));
  });

  it('names the ports that replicas bind, and leaves to the group those that clients connect to', () => {
    const listeners = relay('outbound')
      .spec.listeners.map((listener) => ({ ...listener, port: 587 }))
      .slice(0, 1);
    const group = planned(relay('outbound', { listeners }), IN_PODS).relay;
    const settings: unknown = JSON.parse(group?.documents.get('settings.json') ?? '');
    assert.ok(Schema.Compile(SettingsDocument).Check(settings));
    assert.deepEqual([settings.listeners[0]?.port, group?.listeners[0]?.port], [10_587, 587]);
  });

  it('tells replicas where they find each other, over the network with the CA to know each other by', () => {
    const peersOf = (more: Partial<ObservedRelay>): unknown => {
      const index: unknown = JSON.parse(planned(relay('outbound'), more).relay?.documents.get('index.json') ?? '');
      assert.ok(Schema.Compile(IndexDocument).Check(index));
      return index.peers;
    };
    assert.deepEqual(peersOf({}), { socket: '/run/replica-{ordinal}.sock' });
    assert.deepEqual(peersOf(IN_PODS), { ...IN_PODS.peers, ca: ca.data['ca.crt'] });
  });

  it('says how replicas run, and in the status how their pods are found, where they are pods', () => {
    const plan = planned(relay('outbound', { image: 'relay:1' }), { selector: 'a=b' });
    assert.equal(plan.relay?.workload.image, 'relay:1');
    assert.equal(plan.relay?.workload.storage.size, '10Gi');
    assert.equal(plan.status?.selector, 'a=b');
    assert.equal(planned().status?.selector, undefined);
  });

  it('holds accepted domains, and accepted users that have a verifier', () => {
    const plan = planned();
    const all = [...(plan.relay?.documents.values() ?? [])].join('\n');
    for (const [name, held] of [
      ['a.test', true],
      ['b.test', true],
      ['lost.test', false],
      ['app.default', true],
      ['new.default', false],
      ['thief.default', false],
    ] as const) {
      assert.equal(all.includes(`"${name}"`), held, name);
    }
    assert.deepEqual([plan.status?.attachedDomains, plan.status?.attachedUsers], [2, 1]);
  });

  it('does not take over the verifier of a deleted user of the same name', () => {
    const reborn = { user: user('app', { senders: ['*@a.test'] }, { uid: 'another' }), verifier: verifier('app') };
    assert.equal(planned(relay('outbound'), { users: [reborn] }).status?.attachedUsers, 0);
  });
});

describe('a relay that could not run', () => {
  const [submission, submissions] = relay('outbound').spec.listeners;
  assert.ok(submission && submissions);
  const cases: readonly (readonly [string, string, Partial<SmtpRelaySpec>])[] = [
    [
      'with one name for two listeners',
      'InvalidListeners',
      { listeners: [submission, { ...submissions, name: 'submission' }] },
    ],
    [
      'with one port for two listeners',
      'InvalidListeners',
      { listeners: [submission, { ...submissions, port: 2587 }] },
    ],
    [
      'with a listener on the monitoring port of its second replica',
      'InvalidListeners',
      { replicas: 2, monitoring: { port: 2464 } },
    ],
    [
      'with monitoring ports beyond the last port',
      'InvalidMonitoringPort',
      { replicas: 2, monitoring: { port: 65_535 } },
    ],
    [
      'with a network that is none',
      'InvalidNetwork',
      { listeners: [{ ...submission, auth: { exemptNetworks: ['10.0.0.0/33'] } }] },
    ],
    [
      'with a proxy that is none',
      'InvalidNetwork',
      { listeners: [{ ...submission, proxyProtocol: { from: ['10.0.0.0/33'] } }] },
    ],
    ['with an egress address that is none', 'InvalidAddress', { egress: { addresses: ['192.0.2.300'] } }],
    [
      'with a duration its config cannot hold',
      'InvalidSettings',
      {
        limits: {
          messageSize: '50Mi',
          recipients: 1000,
          connections: 1000,
          connectionsPerClient: 100,
          idleTimeout: '0s',
          sessionTimeout: '1h',
        },
      },
    ],
  ];
  for (const [sentence, reason, spec] of cases) {
    it(`${sentence} is refused, and its last good config stays`, () => {
      const plan = planned(relay('outbound', spec));
      assert.equal(condition(plan, 'Accepted')?.reason, reason);
      assert.equal(plan.relay, undefined);
    });
  }

  it('is told apart from one next to it', () => {
    const spec = { monitoring: { port: 2466 } };
    assert.equal(judgeRelay(relay('outbound', spec), { bindPort: (port) => port }).status, 'True');
  });

  describe('since clients of an exempt network could not be told from others', () => {
    const exempt = { ...submission, auth: { exemptNetworks: ['10.0.0.0/8'] } };
    const balanced: SmtpRelaySpec['services'][number] = {
      name: 'public',
      type: 'LoadBalancer',
      listeners: [],
      annotations: {},
      externalTrafficPolicy: 'Cluster',
    };
    const judged = (listeners: SmtpRelaySpec['listeners'], service: Partial<SmtpRelaySpec['services'][number]>) =>
      condition(planned(relay('outbound', { listeners, services: [{ ...balanced, ...service }] })), 'Accepted')?.reason;

    it('is refused behind a load balancer, and behind the port of a node', () => {
      assert.equal(judged([exempt, submissions], {}), 'UntrustedSourceAddress');
      assert.equal(judged([submissions, exempt], { type: 'NodePort' }), 'UntrustedSourceAddress');
      assert.equal(judged([exempt], { listeners: [exempt.name] }), 'UntrustedSourceAddress');
    });

    it('is taken where the client is seen, and where the listener cannot be reached that way', () => {
      assert.equal(judged([exempt], { externalTrafficPolicy: 'Local' }), 'Accepted');
      assert.equal(judged([exempt], { type: 'ClusterIP' }), 'Accepted');
      assert.equal(judged([{ ...exempt, proxyProtocol: { from: ['192.0.2.0/24'] } }], {}), 'Accepted');
      assert.equal(judged([exempt, submissions], { listeners: [submissions.name] }), 'Accepted');
      assert.equal(judged([submission], {}), 'Accepted');
    });
  });

  const podCases: readonly [sentence: string, reason: string, spec: Partial<SmtpRelaySpec>][] = [
    [
      'with two listeners that would bind one port',
      'InvalidListeners',
      {
        listeners: [
          { ...submission, port: 587 },
          { ...submissions, port: 10_587 },
        ],
      },
    ],
    [
      'with a listener at the port of the admin API',
      'InvalidListeners',
      { listeners: [{ ...submission, port: 9466 }] },
    ],
    ['with monitoring at the port of the admin API', 'InvalidMonitoringPort', { monitoring: { port: 9466 } }],
  ];
  for (const [sentence, reason, spec] of podCases) {
    it(`${sentence} is refused where replicas are pods, and elsewhere is not`, () => {
      assert.equal(condition(planned(relay('outbound', spec), IN_PODS), 'Accepted')?.reason, reason);
      assert.equal(condition(planned(relay('outbound', spec)), 'Accepted')?.status, 'True');
    });
  }
});

describe('the certificates of a relay', () => {
  it('begin with a CA, made once', () => {
    const plan = planned(relay('outbound'), { ca: undefined, certificate: undefined });
    assert.deepEqual(
      plan.create?.map(({ name }) => name),
      ['outbound-ca'],
    );
    assert.equal(plan.relay, undefined, 'no config without a certificate');
  });

  it('are looked at again when a third of their life is left', () => {
    assert.equal(planned().againMs, ((90 * DAY_MS + 5 * 60_000) * 2) / 3 - 5 * 60_000);
  });

  it('are renewed then, and the old one is served until the new one is there', () => {
    const plan = planned(relay('outbound'), {}, NOW + 61 * DAY_MS);
    assert.deepEqual(
      plan.apply?.map(({ name }) => name),
      ['outbound-tls'],
    );
    assert.ok(plan.relay);
    assert.equal(condition(plan, 'CertificateReady')?.status, 'True');
  });

  it('are renewed when the relay gets another name', () => {
    const plan = planned(relay('outbound', { hostname: 'mx.example.test' }));
    assert.deepEqual(
      plan.apply?.map(({ name }) => name),
      ['outbound-tls'],
    );
  });

  it('keep the key of the CA when the CA is renewed', async () => {
    const plan = planned(relay('outbound'), {}, NOW + 7 * 365 * DAY_MS);
    const renewed = await generated(plan.apply?.find(({ name }) => name === 'outbound-ca'));
    assert.equal(renewed.data['ca.key'], ca.data['ca.key']);
    assert.notEqual(renewed.data['ca.crt'], ca.data['ca.crt']);
  });

  it('never replace a CA that cannot be read, nor one of someone else', () => {
    const damaged = planned(relay('outbound'), { ca: { ...ca, data: {} } });
    const foreign = planned(relay('outbound'), { ca: { ...ca, owner: { ...ca.owner, name: 'other' } } });
    assert.equal(condition(damaged, 'CertificateReady')?.reason, 'CADamaged');
    assert.equal(condition(foreign, 'CertificateReady')?.reason, 'SecretConflict');
    for (const plan of [damaged, foreign])
      assert.deepEqual([plan.create, plan.apply, plan.delete], [undefined, undefined, undefined]);
  });

  it('of a deleted relay of the same name are replaced', () => {
    const plan = planned(relay('outbound', {}, { uid: 'another' }));
    assert.deepEqual(
      plan.delete?.map(({ name }) => name),
      ['outbound-ca', 'outbound-tls'],
    );
    assert.deepEqual(
      plan.create?.map(({ name }) => name),
      ['outbound-ca'],
    );
  });
});

describe('what replicas report', () => {
  const hash = (): string => planned().relay?.configHash ?? '';
  const cases: readonly (readonly [string, string, string, () => RelayReplica[]])[] = [
    [
      'makes the relay Programmed when all have its config',
      'Programmed',
      'Programmed',
      () => [replica(0, { configHash: hash() })],
    ],
    [
      'leaves it pending while one has another',
      'Programmed',
      'Pending',
      () => [replica(0, { configHash: hash() }), replica(1, { configHash: 'before' })],
    ],
    [
      'tells of a certificate that one cannot serve, and leaves bad domains to their own conditions',
      'Programmed',
      'RejectedByRelay',
      () => [
        replica(0, { configHash: hash(), rejected: ['domains-00.json[7]: wrong'] }),
        replica(1, { configHash: hash(), rejected: ['certificates.json[0]: wrong'] }),
      ],
    ],
    [
      'tells why a replica does not run',
      'Programmed',
      'AddressInUse',
      () => [replica(0, { state: 'Unready', problem: { reason: 'AddressInUse', message: 'port 2587' } })],
    ],
    ['does not count before one is ready', 'Programmed', 'NoReadyReplica', () => [replica(0, { state: 'Starting' })]],
    ['makes it Ready', 'Ready', 'Ready', () => [replica(0, { configHash: hash() })]],
    ['tells that one drains', 'Draining', 'ReplicasLeaving', () => [replica(0), replica(1, { state: 'Draining' })]],
    [
      'tells of mail that nobody delivers',
      'QueueHealthy',
      'StrandedQueue',
      () => [replica(0), replica(1, { state: 'Stopped', queued: true })],
    ],
    [
      'is content with an empty spool that is kept',
      'QueueHealthy',
      'QueuesServed',
      () => [replica(0), replica(1, { state: 'Stopped', queued: false })],
    ],
  ];
  for (const [sentence, type, reason, replicas] of cases) {
    it(sentence, () =>
      assert.equal(condition(planned(relay('outbound'), { replicas: replicas() }), type)?.reason, reason),
    );
  }
});

describe('a relay that is deleted', () => {
  it('is drained, and its finalizer goes only with its replicas', () => {
    const plan = planned(relay('outbound', {}, { deletionTimestamp: '2026-03-01T12:00:00Z' }));
    assert.deepEqual(plan.removeRelay, { drainTimeoutMs: 600_000 });
    assert.equal(plan.finalizer, false);
    assert.equal(plan.relay, undefined);
    assert.equal(condition(plan, 'Draining')?.reason, 'Deleting');
  });
});
