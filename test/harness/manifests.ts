/** Test support: objects as they are once accepted, with all defaults; a test says only what matters to it. */
import type { MailDomain, MailDomainSpec } from '../../crds/maildomain.ts';
import type { ObjectMeta } from '../../crds/resource.ts';
import type { SmtpRelay, SmtpRelaySpec } from '../../crds/smtprelay.ts';
import type { SmtpUser, SmtpUserSpec } from '../../crds/smtpuser.ts';

const API_VERSION = 'chasqui.dev/v1alpha1';

const metadata = (name: string, meta: Partial<ObjectMeta>): ObjectMeta => ({
  name,
  namespace: 'default',
  uid: `uid-of-${name}`,
  generation: 1,
  creationTimestamp: '2026-01-01T00:00:00Z',
  ...meta,
});

const LISTENER = {
  tls: 'Required',
  auth: { exemptNetworks: [] },
  proxyProtocol: { from: [] },
} as const satisfies Partial<SmtpRelaySpec['listeners'][number]>;

export const relay = (
  name: string,
  spec: Partial<SmtpRelaySpec> = {},
  meta: Partial<ObjectMeta> = {},
  status?: SmtpRelay['status'],
): SmtpRelay => ({
  apiVersion: API_VERSION,
  kind: 'SmtpRelay',
  metadata: metadata(name, meta),
  spec: {
    hostname: 'relay.example.test',
    replicas: 1,
    listeners: [
      { name: 'submission', protocol: 'Submission', port: 2587, ...LISTENER },
      { name: 'submissions', protocol: 'Submissions', port: 2465, ...LISTENER },
    ],
    tls: { certificate: { ownCA: {} }, minVersion: 'TLSv1.2' },
    allowedNamespaces: { from: 'Same' },
    egress: { addresses: ['192.0.2.10'] },
    delivery: {
      routes: [],
      direct: { resolvers: [], port: 25 },
      retry: { schedule: ['5m', '1h'], expireAfter: '120h' },
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
      minFree: '128Mi',
      maxMessages: 5_000_000,
      storage: { size: '10Gi', retentionPolicy: { whenScaled: 'Retain', whenDeleted: 'Retain' } },
    },
    podTemplate: {
      labels: {},
      annotations: {},
      nodeSelector: {},
      tolerations: [],
      topologySpreadConstraints: [],
      resources: { requests: {}, limits: {} },
      imagePullSecrets: [],
    },
    networkPolicy: { mode: 'Managed', clients: [], monitoring: [] },
    monitoring: { port: 9465 },
    deletion: { drainTimeout: '10m' },
    ...spec,
  },
  ...(status && { status }),
});

export const domain = (
  name: string,
  spec: Partial<MailDomainSpec> = {},
  meta: Partial<ObjectMeta> = {},
  status?: MailDomain['status'],
): MailDomain => ({
  apiVersion: API_VERSION,
  kind: 'MailDomain',
  metadata: metadata(name, meta),
  spec: {
    domain: 'example.test',
    relayRefs: [{ name: 'outbound' }],
    allowedSenders: { from: 'Same' },
    dkim: {
      algorithms: ['RSA2048', 'Ed25519'],
      keys: [],
      selectorPrefix: 'chasqui',
      rotation: { publishFor: '24h', retireAfter: '144h' },
      deletionPolicy: 'Retain',
    },
    spf: { include: [], all: 'Fail' },
    dmarc: { policy: 'None', reportTo: [] },
    dns: { publisher: 'Manual', publishApex: false, verification: 'Disabled', ttl: '1h' },
    ...spec,
  },
  ...(status && { status }),
});

export const user = (
  name: string,
  spec: Partial<SmtpUserSpec> = {},
  meta: Partial<ObjectMeta> = {},
  status?: SmtpUser['status'],
): SmtpUser => ({
  apiVersion: API_VERSION,
  kind: 'SmtpUser',
  metadata: metadata(name, meta),
  spec: {
    relayRef: { name: 'outbound' },
    senders: ['*@example.test'],
    secret: {},
    passwordRotation: { overlap: '24h' },
    quota: {},
    allowedNetworks: [],
    suspended: false,
    ...spec,
  },
  ...(status && { status }),
});
