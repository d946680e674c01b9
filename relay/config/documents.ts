/**
 * The config folder of a relay: the only contract between operator and relay.
 *
 * `index.json` names the replicas and the SHA-256 of every other document; a relay takes a folder only when all of
 * them match, so a half-written folder is never in force. `settings.json` and `certificates.json` are always there.
 * Domains and users are spread over a fixed set of shards (16 and 8), by a hash of their name, since a Secret has a
 * size limit and its mounts must be declared in the pod from day one; a shard without entries is absent.
 *
 * Within a format version fields are only ever added. Unknown ones are ignored: operator N writes what relay N-1 reads.
 * Where it would be wrong to ignore one, and no earlier config would be worse, its use has a word in `requires`.
 */
import { createHash } from 'node:crypto';
import Type from 'typebox';

export const FORMAT_VERSION = 1;
/** Words of `requires` that relays of this version know. */
export const FEATURES = ['smarthost-credentials'] as const;
export type Feature = (typeof FEATURES)[number];
export const INDEX = 'index.json';
export const SETTINGS = 'settings.json';
export const CERTIFICATES = 'certificates.json';
export const DOMAIN_SHARDS = 16;
export const USER_SHARDS = 8;

const pad = (index: number): string => String(index).padStart(2, '0');
export const domainShardFile = (index: number): string => `domains-${pad(index)}.json`;
export const isDomainShard = (file: string): boolean => file.startsWith('domains-');
export const userShardFile = (index: number): string => `users-${pad(index)}.json`;

/** The shard of a name: the same for the same name, whatever else there is. */
export const shardOf = (name: string, shards: number): number =>
  createHash('sha256').update(name).digest().readUInt32BE(0) % shards;

const ms = (minimum = 0) => Type.Integer({ minimum, maximum: 366 * 24 * 3_600_000 });
const portNumber = Type.Integer({ minimum: 1, maximum: 65535 });

/** What an index is judged by before anything else is read: in a later format the rest may have another form. */
export const IndexHeading = Type.Object({
  formatVersion: Type.Integer({ minimum: 1 }),
  /** What the config uses of what relays of some version do not know, and must not ignore. Absent: nothing. */
  requires: Type.Optional(Type.Array(Type.String({ minLength: 1 }))),
});

export const IndexDocument = Type.Object({
  ...IndexHeading.properties,
  /** A replica whose ordinal is not below this drains. */
  replicas: Type.Integer({ minimum: 0 }),
  /**
   * Where the other replicas have their admin API, with `{ordinal}` in place of the number. By it a replica that drains
   * finds those that take its mail. One pattern for all, since a replica that is no longer wanted may still have to be
   * found. Absent, or in a form of a later version: nothing is handed over.
   */
  peers: Type.Optional(
    Type.Object({
      /** A unix socket. */
      socket: Type.Optional(Type.String({ minLength: 1 })),
      /** A host name, where there is no socket: TLS with a certificate for that name. */
      host: Type.Optional(Type.String({ minLength: 1 })),
      port: Type.Optional(portNumber),
      /** PEM: the only CA that the certificate may be of. */
      ca: Type.Optional(Type.String({ minLength: 1 })),
    }),
  ),
  /** Hex SHA-256 of each document, by file name. */
  documents: Type.Unsafe<Record<string, string>>({
    type: 'object',
    additionalProperties: { type: 'string', pattern: '^[0-9a-f]{64}$' },
  }),
});
export type IndexDocument = Type.Static<typeof IndexDocument>;

export const ListenerSettings = Type.Object({
  name: Type.String({ minLength: 1 }),
  protocol: Type.Enum(['Submission', 'Submissions']),
  port: portNumber,
  tls: Type.Enum(['Required', 'Optional']),
  /** CIDR networks whose clients need no AUTH. */
  exemptNetworks: Type.Array(Type.String()),
  /** CIDR networks of proxies, which say in a PROXY header whom they connect for. Absent: there are none. */
  proxyNetworks: Type.Optional(Type.Array(Type.String())),
});
export type ListenerSettings = Type.Static<typeof ListenerSettings>;

export const SmarthostSettings = Type.Object({
  host: Type.String({ minLength: 1 }),
  port: portNumber,
  tls: Type.Enum(['Disabled', 'Opportunistic', 'Required', 'Verified']),
  /** Name of the Secret with the username and password that it asks for: a folder that the replica is given. */
  credentials: Type.Optional(Type.String({ maxLength: 253, pattern: '^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$' })),
});
export type SmarthostSettings = Type.Static<typeof SmarthostSettings>;

export const RouteSettings = Type.Object({
  /** Lower-case A-label domains, `*.DOMAIN`, or `*`. */
  domains: Type.Array(Type.String({ minLength: 1 })),
  smarthosts: Type.Array(SmarthostSettings, { minItems: 1 }),
});
export type RouteSettings = Type.Static<typeof RouteSettings>;

export const DestinationSettings = Type.Object({
  name: Type.String({ minLength: 1 }),
  /** Lower-case A-label domains, `*.DOMAIN`, or `*`, of recipients whose mail goes to the MX of their domain. */
  domains: Type.Array(Type.String({ minLength: 1 })),
  /** Names of servers, MX or smarthost, lower case; or `*.DOMAIN`. */
  mx: Type.Array(Type.String({ minLength: 1 })),
  /** Of the whole relay: each replica takes its share, one connection at least (deliver/destination-limit). */
  maxConnections: Type.Optional(Type.Integer({ minimum: 1 })),
  messagesPerMinute: Type.Optional(Type.Integer({ minimum: 1 })),
  messagesPerConnection: Type.Optional(Type.Integer({ minimum: 1 })),
});
export type DestinationSettings = Type.Static<typeof DestinationSettings>;

export const SettingsDocument = Type.Object({
  /** Namespace and name of the SmtpRelay. */
  relay: Type.Object({ namespace: Type.String(), name: Type.String() }),
  /** It stands in replies and header fields: on one line. */
  hostname: Type.String({ minLength: 1, maxLength: 255, pattern: '^[A-Za-z0-9.:[\\]_-]+$' }),
  listeners: Type.Array(ListenerSettings),
  tls: Type.Object({ minVersion: Type.Enum(['TLSv1.2', 'TLSv1.3']) }),
  delivery: Type.Object({
    routes: Type.Array(RouteSettings),
    direct: Type.Object({ resolvers: Type.Array(Type.String()), port: portNumber }),
    retry: Type.Object({ scheduleMs: Type.Array(ms(), { minItems: 1 }), expireAfterMs: ms(1) }),
    /** What servers are asked at most; the first one that matches counts. Absent: nothing is said. */
    destinations: Type.Optional(Type.Array(DestinationSettings)),
    /** True: nothing leaves; what is taken is kept. */
    suspended: Type.Optional(Type.Boolean()),
  }),
  limits: Type.Object({
    messageSizeBytes: Type.Integer({ minimum: 1 }),
    recipients: Type.Integer({ minimum: 1 }),
    idleTimeoutMs: ms(1),
    /** Sessions of all listeners together, and of one client. Absent: no limit. */
    connections: Type.Optional(Type.Integer({ minimum: 1 })),
    connectionsPerClient: Type.Optional(Type.Integer({ minimum: 1 })),
    /** Of one session. Absent: no limit. */
    messagesPerSession: Type.Optional(Type.Integer({ minimum: 1 })),
    recipientsPerSession: Type.Optional(Type.Integer({ minimum: 1 })),
    /** How long a session may last; absent: as long as it says something. */
    sessionTimeoutMs: Type.Optional(ms(1)),
  }),
  /** Bounds on what waits here, new mail beyond them is refused. Absent: none. */
  queue: Type.Optional(
    Type.Object({ minFreeBytes: Type.Integer({ minimum: 0 }), maxMessages: Type.Integer({ minimum: 1 }) }),
  ),
  monitoring: Type.Object({ port: portNumber }),
});
export type SettingsDocument = Type.Static<typeof SettingsDocument>;

export const CertificateDocument = Type.Object({
  /** PEM, leaf first. */
  chain: Type.String({ minLength: 1 }),
  /** PEM, PKCS #8. */
  key: Type.String({ minLength: 1 }),
});
export type CertificateDocument = Type.Static<typeof CertificateDocument>;

export const NamedCertificateDocument = Type.Object({
  /** Host names in lower case, `*.DOMAIN` for those right below it: who asks for one of them is served this one. */
  names: Type.Array(Type.String({ minLength: 1, pattern: '^[^A-Z]+$' }), { minItems: 1 }),
  ...CertificateDocument.properties,
});
export type NamedCertificateDocument = Type.Static<typeof NamedCertificateDocument>;

export const CertificatesDocument = Type.Object({
  /** For clients that ask for no name, or for one of no other certificate; and of the admin API. */
  default: CertificateDocument,
  /** Each a NamedCertificateDocument, judged by itself when it is read, so that a bad one hurts only its names. */
  named: Type.Optional(Type.Array(Type.Unknown())),
});
export type CertificatesDocument = Type.Static<typeof CertificatesDocument>;

export const DkimKeyDocument = Type.Object({
  selector: Type.String({ minLength: 1 }),
  algorithm: Type.Enum(['RSA2048', 'Ed25519']),
  /** PEM, PKCS #8. */
  privateKey: Type.String({ minLength: 1 }),
});
export type DkimKeyDocument = Type.Static<typeof DkimKeyDocument>;

export const DomainDocument = Type.Object({
  /** NAMESPACE/NAME of the MailDomain. */
  name: Type.String({ minLength: 1 }),
  /** Lower case, A-labels. */
  domain: Type.String({ minLength: 1 }),
  dkim: Type.Object({
    /** False: mail of this domain goes out unsigned. True and no key: it is refused with 451 4.7.5. */
    sign: Type.Boolean(),
    keys: Type.Array(DkimKeyDocument),
  }),
  /** Since when it is no domain of the relay any more (RFC 3339): what is queued is signed, and nothing new is taken. */
  departed: Type.Optional(Type.String({ minLength: 1 })),
});
export type DomainDocument = Type.Static<typeof DomainDocument>;

/** SCRAM-SHA-256 (RFC 5802, RFC 7677); all base64. */
const VerifierDocument = Type.Object({
  salt: Type.String({ minLength: 1 }),
  /** The most keeps a check below some seconds: they run two at a time. */
  iterations: Type.Integer({ minimum: 4096, maximum: 10_000_000 }),
  storedKey: Type.String({ minLength: 1 }),
  serverKey: Type.String({ minLength: 1 }),
});
export type VerifierDocument = Type.Static<typeof VerifierDocument>;

export const UserDocument = Type.Object({
  /** NAME.NAMESPACE of the SmtpUser: what the client authenticates as. */
  username: Type.String({ minLength: 1 }),
  /** Addresses, or `*@DOMAIN`; domains in lower-case A-labels. Only what is granted stands here. */
  senders: Type.Array(Type.String({ minLength: 3 })),
  verifier: VerifierDocument,
  /** Of the password before, as long as both are taken. */
  previousVerifier: Type.Optional(VerifierDocument),
  /** Of the whole relay: each replica takes its share (receive/quotas). */
  quota: Type.Optional(
    Type.Object({
      recipientsPerHour: Type.Optional(Type.Integer({ minimum: 1 })),
      recipientsPerDay: Type.Optional(Type.Integer({ minimum: 1 })),
    }),
  ),
  /** It may not send for now. */
  suspended: Type.Optional(Type.Boolean()),
  /** CIDR networks that it may send from; absent: from anywhere. */
  allowedNetworks: Type.Optional(Type.Array(Type.String())),
});
export type UserDocument = Type.Static<typeof UserDocument>;

/** Entries are judged one by one when they are read, so that a bad one hurts only itself: hence unknown here. */
export const DomainsShard = Type.Object({ domains: Type.Array(Type.Unknown()) });
export const UsersShard = Type.Object({ users: Type.Array(Type.Unknown()) });
