import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ACCEPTED } from './cases/accepted.ts';
import { AGAINST_RULES } from './cases/against-rules.ts';
import { MALFORMED } from './cases/malformed.ts';
import { domain, relay, smarthost, user } from './cases/manifests.ts';
import { WORKLOAD } from './cases/workload.ts';
import { completeSpec, immutabilityProblems, judgeStored, validateManifest } from './validate.ts';

describe('what an API server would refuse', () => {
  const refused: readonly (readonly [
    sentence: string,
    manifest: unknown,
    field: string,
    message: RegExp,
    ...unknown[],
  ])[] = [
    ['a document that is no object', 'hello', '', /must be an object/],
    ['another apiVersion', { ...relay(), apiVersion: 'v1' }, 'apiVersion', /must be chasqui.dev\/v1alpha1, not "v1"/],
    [
      'a kind that is not ours',
      { ...relay(), kind: 'Relay' },
      'kind',
      /one of SmtpRelay, MailDomain, SmtpUser, not "Relay"/,
    ],
    ['a path as namespace', relay({}, { name: 'r', namespace: '../x' }), 'metadata.namespace', /does not fit/],
    ...MALFORMED,
    ...WORKLOAD,
    ...AGAINST_RULES,
  ];
  for (const [sentence, manifest, field, message] of refused) {
    test(sentence, () => {
      const { object, problems } = validateManifest(manifest);
      assert.equal(object, undefined);
      assert.deepEqual(
        problems.map((problem) => problem.field),
        [field],
      );
      assert.match(problems[0]?.message ?? '', message);
    });
  }

  test('all that is wrong is told at once', () => {
    const { problems } = validateManifest(relay({ replicas: -1, hostname: 'x', extra: 1 }, { name: 'R' }));
    assert.deepEqual(
      new Set(problems.map(({ field }) => field)),
      new Set(['metadata.name', 'spec.extra', 'spec.hostname', 'spec.replicas']),
    );
  });

  test('a long value is not repeated in full', () => {
    const { problems } = validateManifest(domain({ domain: `${'!'.repeat(200)}` }));
    assert.ok((problems[0]?.message.length ?? 0) < 300);
  });

  test('a wrong manifest still says which object it speaks of', () => {
    const { ref } = validateManifest(relay({ replicas: -1 }, { name: 'outbound', namespace: 'mail' }));
    assert.deepEqual(ref, { kind: 'SmtpRelay', namespace: 'mail', name: 'outbound' });
  });
});

describe('what is accepted', () => {
  for (const [sentence, manifest] of ACCEPTED) {
    test(sentence, () => assert.deepEqual(validateManifest(manifest).problems, []));
  }

  test('a namespace that is left out is default', () => {
    assert.equal(validateManifest(relay()).object?.metadata.namespace, 'default');
  });
});

describe('defaults', () => {
  test('an accepted spec has every field, in objects that were left out too', () => {
    const { object } = validateManifest(relay({ tls: null, delivery: { retry: { expireAfter: '1m' } } }));
    assert.deepEqual(object?.spec, {
      hostname: 'relay.example.test',
      replicas: 1,
      listeners: [
        {
          ...{ name: 'smtp', protocol: 'Submission', port: 587, tls: 'Required' },
          ...{ auth: { exemptNetworks: [] }, proxyProtocol: { from: [] } },
        },
      ],
      tls: { certificate: { ownCA: {} }, minVersion: 'TLSv1.2' },
      allowedNamespaces: { from: 'Same' },
      egress: { addresses: [] },
      delivery: {
        routes: [],
        direct: { resolvers: [], port: 25 },
        retry: { schedule: ['5m', '15m', '30m', '1h', '2h'], expireAfter: '1m' },
        destinations: [],
        suspended: false,
      },
      limits: {
        messageSize: '50Mi',
        recipients: 1000,
        connections: 1000,
        connectionsPerClient: 100,
        idleTimeout: '5m',
        sessionTimeout: '1h',
      },
      services: [],
      queue: {
        ...{ minFree: '128Mi', maxMessages: 5_000_000 },
        storage: { size: '10Gi', retentionPolicy: { whenScaled: 'Retain', whenDeleted: 'Retain' } },
      },
      podTemplate: {
        ...{ labels: {}, annotations: {}, nodeSelector: {}, tolerations: [], topologySpreadConstraints: [] },
        ...{ resources: { requests: {}, limits: {} }, imagePullSecrets: [] },
      },
      networkPolicy: { mode: 'Managed', clients: [], monitoring: [] },
      monitoring: { port: 9465 },
      deletion: { drainTimeout: '10m' },
    });
  });

  test('what was given is left alone, and the manifest with it', () => {
    const manifest = relay(smarthost({ port: 2525 }));
    const before = structuredClone(manifest);
    const spec = completeSpec('SmtpRelay', manifest.spec);
    assert.equal(spec.delivery.routes[0]?.smarthosts[0]?.port, 2525);
    assert.equal(spec.delivery.routes[0]?.smarthosts[0]?.tls.mode, 'Opportunistic');
    assert.deepEqual(manifest, before);
  });

  test('two specs do not share a default', () => {
    const [a, b] = [completeSpec('SmtpRelay', relay().spec), completeSpec('SmtpRelay', relay().spec)];
    assert.notEqual(a.delivery.retry.schedule, b.delivery.retry.schedule);
  });

  test('a name that depends on the object has none', () => {
    assert.deepEqual(completeSpec('SmtpUser', user().spec).secret, {});
  });

  test('a spec of our own that is wrong is told', () => {
    assert.throws(() => completeSpec('MailDomain', {}), /spec.domain: is required; spec.relayRefs: is required/);
  });
});

describe('what cannot change', () => {
  test('the domain of a MailDomain', () => {
    const problems = immutabilityProblems('MailDomain', domain().spec, domain({ domain: 'example.org' }).spec);
    assert.deepEqual(
      problems.map(({ field }) => field),
      ['spec.domain'],
    );
    assert.match(problems[0]?.message ?? '', /cannot change from "example.test": delete the MailDomain/);
  });

  test('everything else can', () => {
    assert.deepEqual(immutabilityProblems('MailDomain', domain().spec, domain({ relayRefs: [] }).spec), []);
  });
});

describe('an object that an API server has taken', () => {
  test('is read without the fields of a newer CRD', () => {
    const { spec } = user();
    const { spec: read, problems } = judgeStored('SmtpUser', { ...spec, future: true, quota: { perMinute: 1 } });
    assert.deepEqual(problems, []);
    assert.deepEqual(read, judgeStored('SmtpUser', spec).spec);
  });

  test('is not read where it lacks what an older CRD did not ask for', () => {
    const { spec, problems } = judgeStored('SmtpUser', { senders: ['*@example.test'] });
    assert.equal(spec, undefined);
    assert.deepEqual(
      problems.map(({ field }) => field),
      ['spec.relayRef'],
    );
  });
});
