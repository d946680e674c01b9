/** Manifests with nothing wrong. */
import { type AcceptedCase, destination, domain, listener, relay, smarthost, user } from './manifests.ts';

export const ACCEPTED: readonly AcceptedCase[] = [
  ['a relay that says only what it must', relay()],
  [
    'grants to other namespaces, and references to them',
    relay({ allowedNamespaces: { from: 'Selector', selector: { matchLabels: { mail: 'yes' } } } }),
  ],
  [
    'relays of one name in two namespaces, for a domain that is lent to all',
    domain({
      relayRefs: [{ name: 'outbound' }, { namespace: 'mail', name: 'outbound' }],
      allowedSenders: { from: 'All' },
    }),
  ],
  ['a user of a relay elsewhere', user({ relayRef: { namespace: 'mail', name: 'outbound' } })],
  ['a certificate of cert-manager', relay({ tls: { certificate: { issuerRef: { name: 'public' } } } })],
  ['a certificate of its own', relay({ tls: { certificate: { secretRef: { name: 'mine' } } } })],
  ['metadata that Kubernetes adds', relay({}, { name: 'r', uid: 'x', managedFields: [], finalizers: ['a/b'] })],
  ['a status, which is not read', { ...relay(), status: { replicas: 7 } }],
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
  [
    'credentials for a smarthost that is spoken to under TLS',
    relay(smarthost({ credentialsSecretRef: { name: 'provider' }, tls: { mode: 'Verified' } })),
  ],
  [
    'limits by domain and by server',
    relay(destination({ match: { domains: ['*'], mx: ['*.mail.example.test', 'mx.test'] }, messagesPerMinute: 1 })),
  ],
  ['a relay that drains at once', relay({ deletion: { drainTimeout: '0s' } })],
  [
    'times, sizes and networks at their bounds',
    relay({
      listeners: [listener({ auth: { exemptNetworks: ['10.0.0.1/8', '::1.2.3.4/128'] } })],
      delivery: { retry: { schedule: ['1ms', '8784h'], expireAfter: '8784h0m' } },
      limits: { messageSize: '2147483647' },
      queue: { minFree: '0', storage: { size: '67108865' } },
      replicas: 100,
      monitoring: { port: 65436 },
    }),
  ],
  ['a TTL in parts that make whole seconds', domain({ dns: { ttl: '1500ms500ms' } })],
  [
    'senders of 64 characters, one of them of two UTF-16 units each',
    user({ senders: [`${'x'.repeat(64)}@a.test`, `${'𠀀'.repeat(64)}@a.test`] }),
  ],
  ['no replicas', relay({ replicas: 0 })],
  [
    'exempt networks of both families',
    relay({ listeners: [listener({ tls: 'Optional', auth: { exemptNetworks: ['127.0.0.0/8', 'fd00::/8'] } })] }),
  ],
  ['keys that are replaced twice a year', domain({ dkim: { rotation: { every: '4380h' } } })],
  [
    'keys of its own, two for one algorithm',
    domain({
      dkim: {
        algorithms: [],
        keys: [
          { selector: 'mail', algorithm: 'RSA2048', secretRef: { name: 'mail.key' } },
          { selector: 'mail2', algorithm: 'RSA2048', secretRef: { name: 'mail2' } },
        ],
      },
    }),
  ],
  ['a domain that is not signed', domain({ dkim: { algorithms: [] } })],
  [
    'a user with a quota, in networks of both families, suspended',
    user({ quota: { recipientsPerDay: 5 }, allowedNetworks: ['192.0.2.0/24', '2001:db8::/32'], suspended: true }),
  ],
  ['a user with a password of its own', user({ passwordSecretRef: { name: 'my.password' } })],
  [
    'senders with tags, in UTF-8, of whole domains',
    user({ senders: ['a+b@example.test', 'josé@example.test', '*@xn--exmple-cua.test'] }),
  ],
];
