import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { completeSpec, immutabilityProblems, validateManifest } from './validate.ts';

const relay = (spec: object = {}, metadata: object = { name: 'outbound' }) => ({
  apiVersion: 'chasqui.dev/v1alpha1',
  kind: 'SmtpRelay',
  metadata,
  spec: { hostname: 'relay.example.test', listeners: [{ name: 'smtp', protocol: 'Submission', port: 587 }], ...spec },
});
const domain = (spec: object = {}) => ({
  apiVersion: 'chasqui.dev/v1alpha1',
  kind: 'MailDomain',
  metadata: { name: 'example-test' },
  spec: { domain: 'example.test', relayRefs: [{ name: 'outbound' }], ...spec },
});
const user = (spec: object = {}) => ({
  apiVersion: 'chasqui.dev/v1alpha1',
  kind: 'SmtpUser',
  metadata: { name: 'app' },
  spec: { relayRef: { name: 'outbound' }, senders: ['*@example.test'], ...spec },
});
const listener = (fields: object) => ({ name: 'smtp', protocol: 'Submission', port: 587, ...fields });
const smarthost = (fields: object) => ({
  delivery: { routes: [{ match: { domains: ['*'] }, smarthosts: [{ host: 'mx.example.test', ...fields }] }] },
});

describe('what an API server would refuse', () => {
  const refused: [sentence: string, manifest: unknown, field: string, message: RegExp][] = [
    ['a document that is no object', 'hello', '', /must be an object/],
    ['another apiVersion', { ...relay(), apiVersion: 'v1' }, 'apiVersion', /must be chasqui.dev\/v1alpha1, not "v1"/],
    [
      'a kind that is not ours',
      { ...relay(), kind: 'Relay' },
      'kind',
      /one of SmtpRelay, MailDomain, SmtpUser, not "Relay"/,
    ],
    ['a field beside spec', { ...relay(), specs: {} }, 'specs', /unknown field/],
    ['no metadata', { ...relay(), metadata: undefined }, 'metadata.name', /is required/],
    ['metadata that is a list', relay({}, []), 'metadata', /must be an object, not a list/],
    ['a name with capitals', relay({}, { name: 'Outbound' }), 'metadata.name', /lower-case letters/],
    ['a name that leaves no room for pods', relay({}, { name: 'r'.repeat(41) }), 'metadata.name', /at most 40/],
    ['a path as namespace', relay({}, { name: 'r', namespace: '../x' }), 'metadata.namespace', /does not fit/],
    ['a label that is a number', relay({}, { name: 'r', labels: { a: 1 } }), 'metadata.labels.a', /a string, not 1/],
    ['no spec', { ...relay(), spec: null }, 'spec', /is required/],
    ['no hostname', relay({ hostname: undefined }), 'spec.hostname', /is required/],
    [
      'an unknown field',
      relay({ replica: 2 }),
      'spec.replica',
      /unknown field; allowed are hostname, replicas, listeners/,
    ],
    [
      'an unknown field deep down',
      relay({ delivery: { retry: { after: '1s' } } }),
      'spec.delivery.retry.after',
      /allowed are schedule, expireAfter/,
    ],
    [
      'an unknown field of an item',
      relay({ listeners: [listener({ prot: 1 })] }),
      'spec.listeners[0].prot',
      /allowed are name, protocol, port, tls, auth/,
    ],
    [
      'a field where none may be',
      relay({ tls: { certificate: { ownCA: { a: 1 } } } }),
      'spec.tls.certificate.ownCA.a',
      /no field is allowed/,
    ],
    [
      'a prototype as a field',
      JSON.parse(
        '{"apiVersion":"chasqui.dev/v1alpha1","kind":"SmtpUser","metadata":{"name":"app"},"spec":{"relayRef":{"name":"r"},"senders":["a@b.c"],"__proto__":{}}}',
      ),
      'spec.__proto__',
      /unknown field/,
    ],
    ['a string for a number', relay({ replicas: '2' }), 'spec.replicas', /must be a whole number, not "2"/],
    ['half a replica', relay({ replicas: 1.5 }), 'spec.replicas', /must be a whole number, not 1.5/],
    ['a number for a list', relay({ listeners: 587 }), 'spec.listeners', /must be a list, not 587/],
    ['a null in a list', user({ senders: [null] }), 'spec.senders[0]', /must be a string, not null/],
    [
      'a port beyond all ports',
      relay({ listeners: [listener({ port: 70000 })] }),
      'spec.listeners[0].port',
      /at most 65535, not 70000/,
    ],
    ['a port of zero', relay({ listeners: [listener({ port: 0 })] }), 'spec.listeners[0].port', /at least 1, not 0/],
    [
      'a word that is not ours',
      relay({ listeners: [listener({ protocol: 'submission' })] }),
      'spec.listeners[0].protocol',
      /one of Submission, Submissions, not "submission"/,
    ],
    ['an empty list of listeners', relay({ listeners: [] }), 'spec.listeners', /must not be empty/],
    [
      'more routes than fit',
      relay({ delivery: { routes: Array(101).fill(smarthost({}).delivery.routes[0]) } }),
      'spec.delivery.routes',
      /at most 100 items/,
    ],
    [
      'days in a duration',
      relay({ delivery: { retry: { expireAfter: '5d' } } }),
      'spec.delivery.retry.expireAfter',
      /"5d" does not fit: .*90s, 5m or 1h30m/,
    ],
    [
      'a size with a unit of its own',
      relay({ limits: { messageSize: '50MB' } }),
      'spec.limits.messageSize',
      /"50MB" does not fit: .*50Mi/,
    ],
    ['a host name with an underscore', relay({ hostname: 'relay_1.example.test' }), 'spec.hostname', /does not fit/],
    [
      'two listeners of one name',
      relay({ listeners: [listener({}), listener({ port: 588 })] }),
      'spec.listeners[1]',
      /same name: "smtp"/,
    ],
    [
      'one sender twice',
      user({ senders: ['a@example.test', 'a@example.test'] }),
      'spec.senders[1]',
      /twice in the list: "a@example.test"/,
    ],
    [
      'one algorithm twice',
      domain({ dkim: { algorithms: ['Ed25519', 'Ed25519'] } }),
      'spec.dkim.algorithms[1]',
      /twice/,
    ],
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

describe('what the rules of a kind refuse', () => {
  const exempt = (network: string) => relay({ listeners: [listener({ auth: { exemptNetworks: [network] } })] });
  const proxied = (network: string) => relay({ listeners: [listener({ proxyProtocol: { from: [network] } })] });
  const resolver = (address: string) => relay({ delivery: { direct: { resolvers: [address] } } });
  const refused: [sentence: string, manifest: unknown, field: string, message: RegExp][] = [
    [
      'two listeners on one port',
      relay({ listeners: [listener({}), listener({ name: 'b' })] }),
      'spec.listeners[1].port',
      /587 is the port of listener smtp/,
    ],
    [
      'a listener among the monitoring ports',
      relay({ replicas: 3, monitoring: { port: 585 } }),
      'spec.monitoring.port',
      /585 to 587, and listener smtp 587/,
    ],
    [
      'monitoring ports beyond 65535',
      relay({ replicas: 3, monitoring: { port: 65534 } }),
      'spec.monitoring.port',
      /leave room for 3 replicas/,
    ],
    [
      'optional TLS where TLS comes first',
      relay({
        listeners: [listener({ protocol: 'Submissions', tls: 'Optional', auth: { exemptNetworks: ['::1/128'] } })],
      }),
      'spec.listeners[0].tls',
      /must be Required/,
    ],
    [
      'optional TLS for nobody',
      relay({ listeners: [listener({ tls: 'Optional' })] }),
      'spec.listeners[0].tls',
      /needs auth.exemptNetworks/,
    ],
    [
      'a network that has too many bits',
      exempt('10.0.0.0/33'),
      'spec.listeners[0].auth.exemptNetworks[0]',
      /10.0.0.0\/33 is no network/,
    ],
    [
      'a quota of nothing',
      user({ quota: { recipientsPerHour: 0 } }),
      'spec.quota.recipientsPerHour',
      /at least 1|>= 1/,
    ],
    [
      'a network of a user with too long a prefix',
      user({ allowedNetworks: ['192.0.2.0/24', '2001:db8::/129'] }),
      'spec.allowedNetworks[1]',
      /is no network/,
    ],
    ['a network of half an address', exempt('10.0/8'), 'spec.listeners[0].auth.exemptNetworks[0]', /is no network/],
    ['an open relay by IPv4', exempt('0.0.0.0/0'), 'spec.listeners[0].auth.exemptNetworks[0]', /open relay/],
    ['a proxy that is no network', proxied('10.0.0.1'), 'spec.listeners[0].proxyProtocol.from[0]', /CIDR notation/],
    ['a proxy of too many bits', proxied('fd00::/129'), 'spec.listeners[0].proxyProtocol.from[0]', /is no network/],
    ['everybody as proxy', proxied('0.0.0.0/0'), 'spec.listeners[0].proxyProtocol.from[0]', /any address/],
    ['an open relay by IPv6', exempt('::/0'), 'spec.listeners[0].auth.exemptNetworks[0]', /open relay/],
    [
      'an address with a number over 255',
      relay({ egress: { addresses: ['192.0.2.256'] } }),
      'spec.egress.addresses[0]',
      /no IP address/,
    ],
    [
      'a resolver with a port beyond all ports',
      resolver('127.0.0.1:70000'),
      'spec.delivery.direct.resolvers[0]',
      /127.0.0.1:5353/,
    ],
    ['a resolver of half an address', resolver('127.0.0:53'), 'spec.delivery.direct.resolvers[0]', /no IP address/],
    [
      'a smarthost that is a mistyped address',
      relay(smarthost({ host: '192.0.2.300' })),
      'spec.delivery.routes[0].smarthosts[0].host',
      /neither/,
    ],
    [
      'a smarthost with its port in the name',
      relay(smarthost({ host: 'mx.example.test:25' })),
      'spec.delivery.routes[0].smarthosts[0].host',
      /neither/,
    ],
    ['no source of certificates', relay({ tls: { certificate: {} } }), 'spec.tls.certificate', /ownCA/],
    [
      'a retry without a wait',
      relay({ delivery: { retry: { schedule: ['1s', '0s'] } } }),
      'spec.delivery.retry.schedule[1]',
      /longer than 0s/,
    ],
    [
      'mail that is kept for years',
      relay({ delivery: { retry: { expireAfter: '99999h' } } }),
      'spec.delivery.retry.expireAfter',
      /at most 8784h/,
    ],
    ['messages of no size', relay({ limits: { messageSize: '0' } }), 'spec.limits.messageSize', /at least 1 byte/],
    [
      'messages of many gigabytes',
      relay({ limits: { messageSize: '3Gi' } }),
      'spec.limits.messageSize',
      /less than 2Gi/,
    ],
    ['a TTL of half a second', domain({ dns: { ttl: '500ms' } }), 'spec.dns.ttl', /whole seconds/],
    [
      'keys that are published for no time',
      domain({ dkim: { rotation: { publishFor: '0s' } } }),
      'spec.dkim.rotation.publishFor',
      /longer/,
    ],
    [
      'keys that are replaced before they sign',
      domain({ dkim: { rotation: { every: '12h' } } }),
      'spec.dkim.rotation.every',
      /longer than publishFor, which is 24h/,
    ],
    ['a star within a sender', user({ senders: ['app*@example.test'] }), 'spec.senders[0]', /neither an address/],
    ['a star for a domain', user({ senders: ['app@*.example.test'] }), 'spec.senders[0]', /neither an address/],
    ['a sender with two dots', user({ senders: ['a..b@example.test'] }), 'spec.senders[0]', /neither an address/],
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
});

describe('what is accepted', () => {
  const accepted: [sentence: string, manifest: unknown][] = [
    ['a relay that says only what it must', relay()],
    ['metadata that Kubernetes adds', relay({}, { name: 'r', uid: 'x', managedFields: [], finalizers: ['a/b'] })],
    ['a status, which is not read', { ...relay(), status: { nonsense: true } }],
    ['a name of 40 characters', relay({}, { name: 'r'.repeat(40) })],
    [
      'resolvers with and without a port',
      relay({ delivery: { direct: { resolvers: ['127.0.0.1', '127.0.0.1:5353', '::1', '[::1]', '[::1]:5353'] } } }),
    ],
    [
      'smarthosts by name, label and address',
      relay({
        delivery: {
          routes: [
            {
              match: { domains: ['a.test', '*.b.test'] },
              smarthosts: [
                { host: 'mx.example.test' },
                { host: 'mailhost' },
                { host: '192.0.2.1' },
                { host: '2001:db8::1' },
              ],
            },
          ],
        },
      }),
    ],
    ['a relay that drains at once', relay({ deletion: { drainTimeout: '0s' } })],
    ['no replicas', relay({ replicas: 0 })],
    [
      'exempt networks of both families',
      relay({ listeners: [listener({ tls: 'Optional', auth: { exemptNetworks: ['127.0.0.0/8', 'fd00::/8'] } })] }),
    ],
    ['keys that are replaced twice a year', domain({ dkim: { rotation: { every: '4380h' } } })],
    ['a domain that is not signed', domain({ dkim: { algorithms: [] } })],
    [
      'a user with a quota, in networks of both families, suspended',
      user({ quota: { recipientsPerDay: 5 }, allowedNetworks: ['192.0.2.0/24', '2001:db8::/32'], suspended: true }),
    ],
    [
      'senders with tags, in UTF-8, of whole domains',
      user({ senders: ['a+b@example.test', 'josé@example.test', '*@xn--exmple-cua.test'] }),
    ],
  ];
  for (const [sentence, manifest] of accepted) {
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
      egress: { addresses: [] },
      delivery: {
        routes: [],
        direct: { resolvers: [], port: 25 },
        retry: { schedule: ['5m', '15m', '30m', '1h', '2h'], expireAfter: '1m' },
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
