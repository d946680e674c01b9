/** The relay group: the config folder of a relay, and what must run to use it. The same input gives the same bytes. */
import { createHash } from 'node:crypto';
import { durationMs } from '../../crds/duration.ts';
import type { SmtpRelay, SmtpRelaySpec } from '../../crds/smtprelay.ts';
import {
  CERTIFICATES,
  type CertificatesDocument,
  DOMAIN_SHARDS,
  type DomainDocument,
  domainShardFile,
  FORMAT_VERSION,
  INDEX,
  type IndexDocument,
  type NamedCertificateDocument,
  SETTINGS,
  shardOf,
  USER_SHARDS,
  type UserDocument,
  userShardFile,
} from '../../relay/config/documents.ts';
import type { RelayGroup, RelayWorkload } from '../backend.ts';
import { canonicalJson } from './canonical-json.ts';
import { certificateRequest } from './configured-certificate.ts';
import { featuresIn } from './features.ts';
import { settingsDocument } from './settings.ts';

export interface RelayGroupInput {
  readonly relay: SmtpRelay;
  readonly certificate: CertificatesDocument['default'];
  /** Served to clients that ask for their names. */
  readonly namedCertificates?: readonly NamedCertificateDocument[];
  readonly domains: readonly DomainDocument[];
  readonly users: readonly UserDocument[];
  readonly peers?: NonNullable<IndexDocument['peers']>;
  /** See Backend. */
  readonly bindPort: (port: number) => number;
}

/** Of a config: the hash of its index. */
export const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex');

export function relayGroup({
  relay,
  certificate,
  namedCertificates = [],
  domains,
  users,
  peers,
  bindPort,
}: RelayGroupInput): RelayGroup {
  const { metadata, spec } = relay;
  const request = certificateRequest(relay);
  const certificates: CertificatesDocument = {
    default: certificate,
    ...(namedCertificates.length > 0 && { named: [...namedCertificates] }),
  };
  const settings = settingsDocument(relay, bindPort);
  const documents = new Map<string, string>([
    [CERTIFICATES, canonicalJson(certificates)],
    ...shards(domains, ({ domain }) => domain, DOMAIN_SHARDS).map(
      ([shard, entries]) => [domainShardFile(shard), canonicalJson({ domains: entries })] as const,
    ),
    [SETTINGS, canonicalJson(settings)],
    ...shards(users, ({ username }) => username, USER_SHARDS).map(
      ([shard, entries]) => [userShardFile(shard), canonicalJson({ users: entries })] as const,
    ),
  ]);
  const requires = featuresIn(settings);
  const index: IndexDocument = {
    formatVersion: FORMAT_VERSION,
    ...(requires.length > 0 && { requires }),
    replicas: spec.replicas,
    ...(peers && { peers }),
    documents: Object.fromEntries([...documents].map(([file, text]) => [file, hashOf(text)])),
  };
  documents.set(INDEX, canonicalJson(index));
  return {
    namespace: metadata.namespace,
    name: metadata.name,
    uid: metadata.uid,
    replicas: spec.replicas,
    listeners: spec.listeners.map(({ name, port, protocol }) => ({ name, port, protocol })),
    monitoringPort: spec.monitoring.port,
    drainTimeoutMs: durationMs(spec.deletion.drainTimeout),
    workload: workloadOf(spec),
    documents,
    ...(request && { certificateRequest: request }),
    configHash: hashOf(documents.get(INDEX) ?? ''),
  };
}

export const workloadOf = (spec: SmtpRelaySpec): RelayWorkload => {
  const { services, image, podTemplate, networkPolicy, queue, delivery } = spec;
  const references = delivery.routes.flatMap(({ smarthosts }) =>
    smarthosts.flatMap(({ credentialsSecretRef: secret }) => secret?.name ?? []),
  );
  return {
    ...{ services, podTemplate, networkPolicy, storage: queue.storage },
    ...(image !== undefined && { image }),
    ...(references.length > 0 && { references: [...new Set(references)].sort() }),
  };
};

/** Entries by shard, both in order; a shard without entries is absent. */
function shards<Entry>(
  entries: readonly Entry[],
  nameOf: (entry: Entry) => string,
  count: number,
): [number, Entry[]][] {
  const sorted = [...entries].sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
  const byShard = Map.groupBy(sorted, (entry) => shardOf(nameOf(entry), count));
  return [...byShard].sort(([a], [b]) => a - b);
}

/** Where an entry stands in a config. */
export interface Place {
  readonly file: string;
  /** In the list of the file. It has to be looked for, and few ask. */
  readonly index: () => number;
}

/** Where a config holds exactly this domain, if it does. */
export const findDomain = (group: RelayGroup, entry: DomainDocument): Place | undefined =>
  find(group, domainShardFile(shardOf(entry.domain, DOMAIN_SHARDS)), 'domains', entry);

/** Where a config holds exactly this user, if it does. */
export const findUser = (group: RelayGroup, entry: UserDocument): Place | undefined =>
  find(group, userShardFile(shardOf(entry.username, USER_SHARDS)), 'users', entry);

function find(group: RelayGroup, file: string, list: string, entry: unknown): Place | undefined {
  const text = canonicalJson(entry);
  const shard = group.documents.get(file);
  // Entries are canonical, and none is part of another: a shard holds the entry that holds its bytes.
  if (!shard?.includes(text)) return undefined;
  const index = (): number => {
    const entries: Record<string, readonly unknown[]> = JSON.parse(shard);
    return entries[list]?.findIndex((other) => canonicalJson(other) === text) ?? -1;
  };
  return { file, index };
}
