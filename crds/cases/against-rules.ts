/** Manifests that fit their schema, and are wrong by a rule of their kind. */
import { destination, domain, listener, type RefusedCase, relay, smarthost, user } from './manifests.ts';

const exempt = (network: string) => relay({ listeners: [listener({ auth: { exemptNetworks: [network] } })] });
const proxied = (network: string) => relay({ listeners: [listener({ proxyProtocol: { from: [network] } })] });
const resolver = (address: string) => relay({ delivery: { direct: { resolvers: [address] } } });

export const AGAINST_RULES: readonly RefusedCase[] = [
  [
    'two listeners on one port',
    relay({ listeners: [listener({}), listener({ name: 'b' })] }),
    'spec.listeners[1].port',
    /587 is the port of listener smtp/,
    'spec.listeners',
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
    'a limit for no server',
    relay(destination({ maxConnections: 1 })),
    'spec.delivery.destinations[0].match',
    /must name domains or mx/,
  ],
  [
    'a limit that limits nothing',
    relay(destination({ match: { mx: ['*.example.test'] } })),
    'spec.delivery.destinations[0]',
    /must say maxConnections, messagesPerConnection or messagesPerMinute/,
  ],
  ['a quota of nothing', user({ quota: { recipientsPerHour: 0 } }), 'spec.quota.recipientsPerHour', /at least 1|>= 1/],
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
  ['an open relay by one more zero', exempt('::/00'), 'spec.listeners[0].auth.exemptNetworks[0]', /is no network/],
  [
    'an IPv4 network in IPv6',
    exempt('::ffff:10.0.0.0/104'),
    'spec.listeners[0].auth.exemptNetworks[0]',
    /is no network/,
  ],
  [
    'an IPv4 address in IPv6',
    relay({ egress: { addresses: ['::ffff:192.0.2.1'] } }),
    'spec.egress.addresses[0]',
    /no IP/,
  ],
  ['a resolver at port 0', resolver('[::1]:0'), 'spec.delivery.direct.resolvers[0]', /127.0.0.1:5353/],
  ['a resolver with its bracket open', resolver('::1]:53'), 'spec.delivery.direct.resolvers[0]', /127.0.0.1:5353/],
  [
    'an idle time that is none',
    relay({ limits: { idleTimeout: '0h0m' } }),
    'spec.limits.idleTimeout',
    /longer than 0h0m/,
  ],
  [
    'a session of more than a year',
    relay({ limits: { sessionTimeout: '8784h1ms' } }),
    'spec.limits.sessionTimeout',
    /8784h/,
  ],
  ['a drain of years', relay({ deletion: { drainTimeout: '99999h99999h' } }), 'spec.deletion.drainTimeout', /8784h/],
  ['a TTL of years', domain({ dns: { ttl: '9000h' } }), 'spec.dns.ttl', /8784h/],
  [
    'a sender with a long local part',
    user({ senders: [`${'x'.repeat(65)}@a.test`] }),
    'spec.senders[0]',
    /neither an address/,
  ],
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
  ['messages of many gigabytes', relay({ limits: { messageSize: '3Gi' } }), 'spec.limits.messageSize', /less than 2Gi/],
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
