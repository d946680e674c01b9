/**
 * The rights that the chart gives against what the operator does, by the API server's audit log: it runs as its own
 * service account through the life of a relay, a domain and users, is refused nothing, and uses all that it was given.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import Type from 'typebox';
import Schema from 'typebox/schema';
import { Client } from '../../operator/backends/kubernetes/client.ts';
import { type Connection, connect } from '../../operator/backends/kubernetes/connection.ts';
import { ApiServer, needsOwnApiServer } from '../cluster/api-server.ts';
import type { AuditEvent } from '../cluster/audit.ts';
import { OperatorProcess } from '../cluster/operator-process.ts';
import { PlayedNode } from '../cluster/played-node.ts';
import { Helm, type Rendered } from './helm.ts';

const OPERATOR = 'system:serviceaccount:chasqui-system:chasqui';
const SCOPE = '--set=scope.namespaces={team-a},scope.relayNamespaces={mail}';

const Rules = Schema.Compile(
  Type.Object({
    rules: Type.Array(
      Type.Object({
        apiGroups: Type.Array(Type.String()),
        resources: Type.Array(Type.String()),
        verbs: Type.Array(Type.String()),
      }),
    ),
  }),
);

/** A right as it is told: `patch smtprelays/status.chasqui.dev`. */
const right = (verb: string, resource: string, group = ''): string => `${verb} ${resource}${group && `.${group}`}`;

/** What the roles of the operator say, by role and the namespaces in which it is bound. */
function given(
  objects: readonly Rendered[],
): ReadonlyMap<string, { rights: readonly string[]; where: readonly string[] }> {
  const roles = objects.filter(({ kind, metadata }) => kind === 'ClusterRole' && !metadata.name.includes('uninstall'));
  return new Map(
    roles.map((role) => {
      assert.ok(Rules.Check(role), role.metadata.name);
      const rights = role.rules.flatMap(({ apiGroups, resources, verbs }) =>
        apiGroups.flatMap((group) => resources.flatMap((of) => verbs.map((verb) => right(verb, of, group)))),
      );
      const bindings = objects.filter(
        ({ kind, metadata }) => kind === 'RoleBinding' && metadata.name === role.metadata.name,
      );
      return [role.metadata.name, { rights, where: bindings.map(({ metadata }) => metadata.namespace ?? '') }];
    }),
  );
}

/** What was done, by namespace. An apply that makes an object needs the right to create it too. */
function used(events: readonly AuditEvent[]): ReadonlyMap<string, ReadonlySet<string>> {
  const found = new Map<string, Set<string>>();
  for (const { verb, objectRef, responseStatus } of events) {
    if (objectRef?.resource === undefined) continue;
    const { resource, subresource, apiGroup, name } = objectRef;
    // The namespace of a namespace is itself, to RBAC.
    const namespace = (resource === 'namespaces' ? name : objectRef.namespace) ?? '';
    const rights = found.get(namespace) ?? new Set();
    found.set(namespace, rights);
    const what = subresource ? `${resource}/${subresource}` : resource;
    rights.add(right(verb, what, apiGroup));
    if (verb === 'patch' && responseStatus?.code === 201) rights.add(right('create', what, apiGroup));
  }
  return found;
}

const ours = (kind: string, namespace: string, name: string, spec: object) => ({
  ...{ apiVersion: 'chasqui.dev/v1alpha1', kind, metadata: { namespace, name }, spec },
});
const relay = (replicas: number, size: string, certificate: object = { ownCA: {} }) =>
  ours('SmtpRelay', 'mail', 'outbound', {
    tls: { certificate },
    hostname: 'relay.example.test',
    replicas,
    listeners: [{ name: 'submission', protocol: 'Submission', port: 2587 }],
    allowedNamespaces: { from: 'All' },
    queue: {
      minFree: '1Mi',
      storage: {
        size,
        storageClassName: 'growing',
        retentionPolicy: { whenScaled: 'DeleteIfEmpty', whenDeleted: 'DeleteIfEmpty' },
      },
    },
  });
const reference = { namespace: 'mail', name: 'outbound' };
const domain = (rotation: object = {}, publisher = 'Manual') =>
  ours('MailDomain', 'team-a', 'example-test', {
    ...{ domain: 'example.test', relayRefs: [reference], dns: { verification: 'Disabled', publisher } },
    dkim: { algorithms: ['Ed25519'], ...rotation },
  });
const user = (name: string, senders: string) =>
  ours('SmtpUser', 'team-a', name, { relayRef: reference, senders: [senders] });

/** As somebody else's CRD brings it, as far as we see. */
const optionalKind = (group: string, version: string, kind: string, plural: string) => ({
  ...{ apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition' },
  metadata: {
    name: `${plural}.${group}`,
    annotations: { 'api-approved.kubernetes.io': 'https://github.com/kubernetes/enhancements/pull/1111' },
  },
  spec: {
    ...{ group, scope: 'Namespaced', names: { kind, plural } },
    versions: [
      {
        ...{ name: version, served: true, storage: true },
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
});

/** Volumes that may grow, and the kinds of the Prometheus operator, of cert-manager and of external-dns. */
const SURROUNDINGS = [
  {
    ...{ apiVersion: 'storage.k8s.io/v1', kind: 'StorageClass', metadata: { name: 'growing' } },
    ...{ provisioner: 'kubernetes.io/no-provisioner', allowVolumeExpansion: true },
  },
  ...[0, 1].map((number) => ({
    ...{ apiVersion: 'v1', kind: 'PersistentVolume', metadata: { name: `volume-${number}` } },
    spec: {
      ...{ capacity: { storage: '10Gi' }, accessModes: ['ReadWriteOnce'], storageClassName: 'growing' },
      ...{ hostPath: { path: '/nonexistent' }, persistentVolumeReclaimPolicy: 'Retain' },
    },
  })),
  optionalKind('monitoring.coreos.com', 'v1', 'PodMonitor', 'podmonitors'),
  optionalKind('cert-manager.io', 'v1', 'Certificate', 'certificates'),
  optionalKind('externaldns.k8s.io', 'v1alpha1', 'DNSEndpoint', 'dnsendpoints'),
];

describe('the operator under the roles of the chart', needsOwnApiServer, () => {
  let api: ApiServer;
  let helm: Helm;
  let connection: Connection;
  let node: PlayedNode;
  let operator: OperatorProcess;
  let objects: readonly Rendered[];
  let events: readonly AuditEvent[];
  before(async () => {
    helm = await Helm.prepare();
    api = await ApiServer.start({ audit: true, controllers: true });
    await api.applyCrds();
    const namespaces = ['chasqui-system', 'mail', 'team-a'];
    await api.kubectl.apply(
      ...namespaces.map((name) => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })),
      ...SURROUNDINGS,
    );
    await api.kubectl.run(
      'wait',
      '--for=condition=Established',
      'crd/podmonitors.monitoring.coreos.com',
      'crd/certificates.cert-manager.io',
      'crd/dnsendpoints.externaldns.k8s.io',
      '--timeout=60s',
    );
    objects = await helm.template(SCOPE);
    const kinds = ['ServiceAccount', 'ClusterRole', 'RoleBinding'];
    const rights = objects.filter(({ kind }) => kinds.includes(kind) || kind.startsWith('ValidatingAdmission'));
    await api.kubectl.apply(...rights);

    connection = await connect(api.kubeconfig);
    const client = new Client({ connection, userAgent: 'node', writeTimeoutMs: 10_000, mayWrite: () => undefined });
    node = await PlayedNode.start(api, client, 7);
    const { kubeconfig } = await api.serviceAccount('chasqui-system', 'chasqui');
    operator = await OperatorProcess.start(
      ...([
        kubeconfig,
        '--namespaces=team-a,mail',
        '--relay-namespaces=mail',
        '--leader-election-namespace=chasqui-system',
      ] as const),
    );
  });
  after(async () => {
    await operator?.[Symbol.asyncDispose]();
    await node?.[Symbol.asyncDispose]();
    await connection?.close();
    await api?.[Symbol.asyncDispose]();
    await helm?.[Symbol.asyncDispose]();
  });

  const condition = (object: string, type: string, namespace: string) =>
    api.kubectl.run('wait', `--for=condition=${type}`, object, `--namespace=${namespace}`, '--timeout=90s');
  const gone = (what: string, namespace: string) =>
    api.kubectl.eventually(['get', what, `--namespace=${namespace}`, '--ignore-not-found', '--output=name'], /^$/);

  test('lives with a relay, a domain and users from their first day to their last', async () => {
    // A name that is taken by another's Secret.
    const taken = { ...{ apiVersion: 'v1', kind: 'Secret' }, metadata: { name: 'late-smtp', namespace: 'team-a' } };
    // Nobody issues it: it is asked for, and then no more.
    await api.kubectl.apply(relay(2, '1Gi', { issuerRef: { name: 'nobody' } }));
    await api.kubectl.eventually(['get', 'certificate', 'outbound', '--namespace=mail', '--output=name']);
    await api.kubectl.apply(
      taken,
      relay(2, '1Gi'),
      domain(),
      user('app', '*@example.test'),
      user('late', '*@example.test'),
    );
    await condition('smtprelay/outbound', 'Ready', 'mail');
    // Nobody publishes them either.
    await api.kubectl.apply(domain({}, 'ExternalDNS'));
    await api.kubectl.eventually(['get', 'dnsendpoint', 'example-test', '--namespace=team-a', '--output=name']);
    await api.kubectl.apply(domain());
    await gone('dnsendpoint/example-test', 'team-a');
    await condition('maildomain/example-test', 'Ready', 'team-a');
    await condition('smtpuser/app', 'Ready', 'team-a');
    await condition('smtpuser/late', 'CredentialReady=False', 'team-a');

    // The same news twice is one event that is counted.
    for (const senders of ['*@other.test', '*@example.test', '*@other.test', '*@example.test']) {
      await api.kubectl.apply(user('app', senders));
      await condition('smtpuser/app', senders === '*@example.test' ? 'Accepted' : 'Accepted=False', 'team-a');
    }
    await api.kubectl.eventually(
      ['get', 'events.events.k8s.io', '--namespace=team-a', '--output=jsonpath={.items[*].series.count}'],
      /[0-9]/,
    );
    await api.kubectl.apply(relay(2, '2Gi'));
    await api.kubectl.eventually(
      ['get', 'pvc', 'spool-outbound-0', '--namespace=mail', '--output=jsonpath={.spec.resources.requests.storage}'],
      /^2Gi$/,
    );
    await api.kubectl.apply(relay(1, '2Gi'));
    await gone('pod/outbound-1', 'mail');
    await gone('pvc/spool-outbound-1', 'mail');

    await api.kubectl.run('delete', 'smtpuser,maildomain', '--all', '--namespace=team-a');
    await gone('secret/app-smtp', 'team-a');
    await api.kubectl.run('delete', 'smtprelay', 'outbound', '--namespace=mail', '--timeout=120s');
    await operator.stop();
    events = (await api.audit()).filter((event) => event.user.username === OPERATOR);
  });

  test('is refused nothing', () => {
    const refused = events.filter(({ responseStatus }) => responseStatus?.code === 401 || responseStatus?.code === 403);
    assert.deepEqual(
      refused.map(({ verb, requestURI }) => `${verb} ${requestURI}`),
      [],
    );
    assert.ok(events.length > 100, `${events.length} requests`);
  });

  test('uses each right that a role gives', () => {
    const done = used(events);
    const idle = [...given(objects)].flatMap(([role, { rights, where }]) =>
      rights.filter((one) => !where.some((namespace) => done.get(namespace)?.has(one))).map((one) => `${role}: ${one}`),
    );
    assert.deepEqual(idle, []);
  });
});
