/** The smallest of what users write: a relay, a domain, a user; and what an operator should make of them. */
import type { ApiServer } from './api-server.ts';

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: object;
}

const manifest = (kind: string, namespace: string, name: string, spec: object): Manifest => ({
  apiVersion: 'chasqui.dev/v1alpha1',
  kind,
  metadata: { name, namespace },
  spec,
});

/** @param domain every namespace of a test that has its own domain holds it */
export const threeManifests = (namespace: string, domain = 'example.test'): readonly [Manifest, Manifest, Manifest] => [
  manifest('SmtpRelay', namespace, 'outbound', {
    hostname: 'relay.example.test',
    listeners: [{ name: 'submission', protocol: 'Submission', port: 2587 }],
    egress: { addresses: ['192.0.2.10'] },
  }),
  manifest('MailDomain', namespace, 'example-test', {
    domain,
    relayRefs: [{ name: 'outbound' }],
    dns: { verification: 'Disabled' },
  }),
  manifest('SmtpUser', namespace, 'app', { relayRef: { name: 'outbound' }, senders: [`*@${domain}`] }),
];

export interface Seen {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly finalizers?: readonly string[];
  };
  readonly data?: Readonly<Record<string, string>>;
  readonly status?: {
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly reason: string;
      readonly observedGeneration: number;
    }[];
  };
}

const KINDS = 'smtprelays,maildomains,smtpusers,secrets,statefulsets,services,serviceaccounts,networkpolicies,pdb';

/** All of a namespace that an operator makes or writes to. */
export async function seenIn(api: ApiServer, namespace: string): Promise<readonly Seen[]> {
  const { items } = (await api.kubectl.json('get', KINDS, `--namespace=${namespace}`)) as { items: readonly Seen[] };
  return items.filter(({ kind, metadata: { name } }) => kind !== 'ServiceAccount' || name !== 'default');
}

/** What is the same in every namespace that the same was applied to: which objects there are, and what is said of them. */
export const outcome = (seen: readonly Seen[]): readonly string[] =>
  seen
    .map(({ kind, metadata: { name, labels, finalizers = [] }, data, status }) => {
      const purpose = labels?.['chasqui.dev/purpose'] ?? '';
      const conditions = status?.conditions?.map((each) => `${each.type}=${each.status}(${each.reason})`) ?? [];
      const keys = purpose === 'config' ? [] : Object.keys(data ?? {}).sort();
      // Which shard a name falls into differs by namespace.
      const place = name.replace(/-[0-9]{2}$/, '-NN');
      return [kind, place, purpose, finalizers.join(), keys.join(), conditions.join(' ')].join(' ').trim();
    })
    .sort();

/** Names of Secrets whose content must never be made twice, and that content. */
export const keyMaterial = (seen: readonly Seen[]): ReadonlyMap<string, string> =>
  new Map(
    seen
      .filter(({ metadata }) =>
        ['dkim', 'ca', 'credential', 'admin'].includes(metadata.labels?.['chasqui.dev/purpose'] ?? ''),
      )
      .map(({ metadata, data = {} }) => [
        metadata.name,
        JSON.stringify([data['private.pem'], data['ca.key'] ?? data['tls.key'], data.password, data.view]),
      ]),
  );
