/** SmtpRelay: a group of relay replicas, their listeners and how they deliver. */
import Type from 'typebox';
import { allowedNamespaces } from './allowed-namespaces.ts';
import * as common from './common.ts';
import type { KindDefinition, Resource } from './resource.ts';
import { image, networkPolicy, podTemplate, services, storage } from './workload.ts';

const Listener = Type.Object(
  {
    name: common.objectName('Name of the listener, unique in this relay.', 15),
    protocol: common.oneOf(['Submission', 'Submissions'], {
      description: 'Submission: STARTTLS. Submissions: TLS from the first byte (RFC 8314).',
    }),
    port: common.port('TCP port that clients connect to.'),
    tls: common.oneOf(['Required', 'Optional'], {
      description: 'Required: no mail before TLS. Optional: mail from auth.exemptNetworks is taken in clear too.',
      default: 'Required',
    }),
    auth: common.section('Who must authenticate.', {
      exemptNetworks: Type.Array(common.network, {
        description: 'Clients of these networks need no AUTH; they may send as the MailDomains of the relay.',
        maxItems: 32,
        default: [],
        'x-kubernetes-list-type': 'set',
      }),
    }),
    proxyProtocol: common.section(
      'PROXY protocol v1 or v2: load balancers say first whom they connect for, and that address counts everywhere.',
      {
        from: Type.Array(common.network, {
          description: 'Where the load balancers connect from. Of nobody else is such a header taken.',
          maxItems: 32,
          default: [],
          'x-kubernetes-list-type': 'set',
        }),
      },
    ),
  },
  { description: 'A port on which the relay takes mail.' },
);

const Smarthost = Type.Object(
  {
    host: Type.String({
      description: 'Host name or IP address.',
      minLength: 1,
      maxLength: 253,
      pattern: '^[A-Za-z0-9._:-]+$',
    }),
    port: common.port('TCP port.', 25),
    tls: common.section('How the connection is secured.', {
      mode: common.oneOf(['Disabled', 'Opportunistic', 'Required', 'Verified'], {
        description:
          'Disabled: never TLS. Opportunistic: STARTTLS where offered, any certificate. Required: TLS or no delivery. Verified: TLS with a certificate that is valid for the host.',
        default: 'Opportunistic',
      }),
    }),
    credentialsSecretRef: Type.Optional(
      Type.Object(
        { name: common.secretName('Name of a Secret with username and password, in this namespace.') },
        { description: 'What the smarthost asks for (AUTH PLAIN or LOGIN). It needs tls.mode Required or Verified.' },
      ),
    ),
  },
  { description: 'A server that takes the mail and delivers it further.' },
);

const MATCHED_DOMAIN = Type.String({
  description: 'A domain, *.DOMAIN for its subdomains, or * for all.',
  maxLength: 255,
  pattern: '^(\\*|(\\*\\.)?[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?)$',
});

const Destination = Type.Object(
  {
    name: common.objectName('Name of the limit, unique in this relay.'),
    match: common.section('Which servers it is for; one of both lists at least.', {
      domains: Type.Array(MATCHED_DOMAIN, {
        description: 'Recipient domains whose mail goes to their MX.',
        maxItems: 100,
        default: [],
        'x-kubernetes-list-type': 'set',
      }),
      mx: Type.Array(
        Type.String({
          description: 'Name of a server, an MX or a smarthost, or *.DOMAIN for all below it.',
          maxLength: 255,
          pattern: '^(\\*\\.)?[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?$',
        }),
        {
          description: 'Servers by name: for providers that take the mail of many domains.',
          maxItems: 100,
          default: [],
          'x-kubernetes-list-type': 'set',
        },
      ),
    }),
    maxConnections: Type.Optional(
      Type.Integer({
        description:
          'Most connections at a time. Each replica takes an equal part, one at least. Left out: 20 a domain and replica.',
        minimum: 1,
        maximum: 10_000,
      }),
    ),
    messagesPerConnection: Type.Optional(
      Type.Integer({
        description: 'Most messages over one connection. Left out: 100.',
        minimum: 1,
        maximum: 100_000,
      }),
    ),
    messagesPerMinute: Type.Optional(
      Type.Integer({
        description: 'Most messages a minute, evenly. Each replica takes an equal part. Left out: no limit.',
        minimum: 1,
        maximum: 10_000_000,
      }),
    ),
  },
  { description: 'What some servers may be asked at most.' },
);

const Route = Type.Object(
  {
    match: Type.Object(
      {
        domains: Type.Array(MATCHED_DOMAIN, {
          description: 'Recipient domains this route is for.',
          minItems: 1,
          maxItems: 100,
        }),
      },
      { description: 'Which recipients take this route.' },
    ),
    smarthosts: Type.Array(Smarthost, { description: 'Tried in this order.', minItems: 1, maxItems: 8 }),
  },
  { description: 'Where mail for some domains goes instead of to their MX.' },
);

const tls = common.section('TLS towards clients.', {
  certificate: Type.Object(
    {
      ownCA: Type.Optional(
        Type.Object({}, { description: 'A private CA that the operator makes, and renews certificates under.' }),
      ),
      issuerRef: Type.Optional(
        Type.Object(
          {
            name: common.secretName('Name of the issuer.'),
            kind: Type.String({ description: 'Its kind.', minLength: 1, maxLength: 63, default: 'Issuer' }),
            group: Type.String({
              description: 'Its API group.',
              minLength: 1,
              maxLength: 253,
              default: 'cert-manager.io',
            }),
          },
          { description: 'A certificate for hostname that cert-manager is asked for, in a cluster that has it.' },
        ),
      ),
      secretRef: Type.Optional(
        Type.Object(
          { name: common.secretName('Name of a Secret with tls.crt, leaf first, and tls.key, in this namespace.') },
          {
            description:
              'A certificate of your own for hostname; clients that ask for another name are served one of the private CA.',
          },
        ),
      ),
    },
    { description: 'Where the server certificate comes from.', default: { ownCA: {} } },
  ),
  minVersion: common.oneOf(['TLSv1.2', 'TLSv1.3'], {
    description: 'Oldest TLS version taken from clients.',
    default: 'TLSv1.2',
  }),
});

const delivery = common.section('How mail leaves.', {
  routes: Type.Array(Route, {
    description: 'First match wins. Mail that matches none goes to the MX of its domain.',
    maxItems: 100,
    default: [],
  }),
  direct: common.section('Delivery to the MX of the recipient domain.', {
    resolvers: Type.Array(
      Type.String({
        description: 'IP address of a DNS server, with an optional port: 127.0.0.1:5353 or [::1]:5353.',
        maxLength: 48,
        pattern: '^(\\[[0-9a-fA-F:.]+\\](:[0-9]{1,5})?|[0-9.]+(:[0-9]{1,5})?|[0-9a-fA-F:]+)$',
      }),
      { description: 'DNS servers to ask; where there is none, those of the system.', maxItems: 8, default: [] },
    ),
    port: common.port('Port of the destination servers.', 25),
  }),
  retry: common.section('When a temporary failure is tried again.', {
    schedule: Type.Array(common.duration('Wait before the next attempt.'), {
      description: 'Waits between attempts; the last one repeats. Each varies by 10%.',
      minItems: 1,
      maxItems: 32,
      default: ['5m', '15m', '30m', '1h', '2h'],
    }),
    expireAfter: common.duration('How long delivery is tried before the mail bounces.', '120h'),
  }),
  destinations: Type.Array(Destination, {
    ...common.namedList('What servers may be asked at most; the first one that matches counts.', 50),
    default: [],
  }),
  suspended: Type.Boolean({
    description: 'Take mail and keep it: nothing leaves for now, and nothing bounces for having waited.',
    default: false,
  }),
});

export const SmtpRelaySpec = Type.Object(
  {
    hostname: common.domainName('Name the relay greets with and says in EHLO.'),
    replicas: Type.Integer({
      description: 'How many relay processes share the work.',
      minimum: 0,
      maximum: 100,
      default: 1,
    }),
    listeners: Type.Array(Listener, { ...common.namedList('Where the relay takes mail.', 16), minItems: 1 }),
    services,
    tls,
    allowedNamespaces: allowedNamespaces('Whose MailDomains and SmtpUsers may refer to this relay.'),
    egress: common.section('How the relay looks from outside; used for SPF.', {
      addresses: Type.Array(
        Type.String({ description: 'An IPv4 or IPv6 address.', maxLength: 39, pattern: '^[0-9a-fA-F:.]+$' }),
        {
          description: 'Addresses that the world sees this relay send from.',
          maxItems: 64,
          default: [],
          'x-kubernetes-list-type': 'set',
        },
      ),
    }),
    delivery,
    queue: common.section('Bounds of the queue of one replica; new mail beyond them is answered 452 4.3.1.', {
      minFree: common.quantity(
        'Room that is kept free on the disk of the queue, the unused part of its database counted in.',
        '128Mi',
      ),
      maxMessages: Type.Integer({
        description: 'Most messages in the queue.',
        minimum: 1,
        maximum: 100_000_000,
        default: 5_000_000,
      }),
      storage,
    }),
    limits: common.section('Bounds on what a client may ask of one replica.', {
      messageSize: common.quantity('Largest message.', '50Mi'),
      recipients: Type.Integer({
        description: 'Most recipients of one message.',
        minimum: 1,
        maximum: 50000,
        default: 1000,
      }),
      messagesPerSession: Type.Optional(
        Type.Integer({
          description: 'Most messages of one session; then MAIL is answered 421 4.7.0. Left out: no limit.',
          minimum: 1,
          maximum: 1_000_000,
        }),
      ),
      recipientsPerSession: Type.Optional(
        Type.Integer({
          description:
            'Most recipients of all messages of one session; further ones are answered 452 4.5.3, and the next MAIL 421 4.7.0. Left out: no limit.',
          minimum: 1,
          maximum: 1_000_000,
        }),
      ),
      connections: Type.Integer({
        description:
          'Most sessions at a time, of all listeners together; beyond it a newcomer takes the place of one that has been silent for 10 s, or is answered 421 4.3.2.',
        minimum: 1,
        maximum: 50000,
        default: 1000,
      }),
      connectionsPerClient: Type.Integer({
        description:
          'Most sessions at a time of one client, that is an IPv4 address or an IPv6 /64; more are answered 421 4.7.0.',
        minimum: 1,
        maximum: 50000,
        default: 100,
      }),
      idleTimeout: common.duration(
        'How long a client may take for a command; content has to come at 500 bytes a second once that time is used up.',
        '5m',
      ),
      sessionTimeout: common.duration(
        'How long a session may last; then it ends with 421 4.4.2, after the message that is being sent.',
        '1h',
      ),
    }),
    monitoring: common.section('Metrics, health and readiness.', {
      port: common.port('Port of metrics and health. On a host replica i uses port + i on 127.0.0.1.', 9465),
    }),
    deletion: common.section('What happens to a replica that is no longer wanted.', {
      drainTimeout: common.duration(
        'How long a replica that is no longer wanted goes on delivering what it holds.',
        '10m',
      ),
    }),
    image,
    podTemplate,
    networkPolicy,
  },
  { description: 'What the relay should be.' },
);
export type SmtpRelaySpec = Type.Static<typeof SmtpRelaySpec>;

export const REPLICA_STATES = ['Starting', 'Ready', 'Unready', 'Draining', 'Stopped'] as const;

export const SmtpRelayStatus = Type.Object(
  {
    observedGeneration: Type.Optional(common.observedGeneration),
    conditions: Type.Optional(common.conditions),
    replicas: Type.Optional(Type.Integer({ description: 'Replicas that run.' })),
    readyReplicas: Type.Optional(Type.Integer({ description: 'Replicas that take mail.' })),
    replicaStates: Type.Optional(
      Type.Array(
        Type.Object(
          {
            ordinal: Type.Integer({ description: 'Number of the replica, from 0.' }),
            state: common.oneOf([...REPLICA_STATES], {
              description:
                'Draining: no longer wanted, still delivering. Stopped: no longer wanted, its spool is kept.',
            }),
            queued: Type.Optional(Type.Boolean({ description: 'Whether its spool holds mail.' })),
          },
          { description: 'A replica.' },
        ),
        { description: 'Each replica that runs or whose spool is kept.', maxItems: 200 },
      ),
    ),
    attachedDomains: Type.Optional(Type.Integer({ description: 'MailDomains in force.' })),
    attachedUsers: Type.Optional(Type.Integer({ description: 'SmtpUsers in force.' })),
    certificate: Type.Optional(
      Type.Object(
        { notAfter: Type.String({ description: 'When it expires.', format: 'date-time' }) },
        { description: 'The certificate that is served.' },
      ),
    ),
    version: Type.Optional(Type.String({ description: 'Version of the relay that runs.' })),
    selector: Type.Optional(Type.String({ description: 'Labels of the pods of its replicas, where there are pods.' })),
  },
  { description: 'What the relay is.' },
);
export type SmtpRelayStatus = Type.Static<typeof SmtpRelayStatus>;

export type SmtpRelay = Resource<'SmtpRelay', SmtpRelaySpec, SmtpRelayStatus>;

export const SmtpRelay: KindDefinition = {
  kind: 'SmtpRelay',
  plural: 'smtprelays',
  shortNames: ['relay'],
  description: 'A group of relays that take mail over SMTP, keep it safely, sign it and deliver it.',
  maxNameLength: 40,
  spec: SmtpRelaySpec,
  status: SmtpRelayStatus,
  immutable: [],
  columns: [
    { name: 'Replicas', type: 'integer', jsonPath: '.spec.replicas', description: 'Replicas that should run.' },
    { name: 'Accepting', type: 'integer', jsonPath: '.status.readyReplicas', description: 'Replicas that take mail.' },
  ],
  scale: { replicas: 'replicas', selector: 'selector' },
};
