import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { valueAt } from '../../../../crds/problem.ts';
import type { SmtpRelaySpec } from '../../../../crds/smtprelay.ts';
import * as manifests from '../../../../test/harness/manifests.ts';
import { groupOf, podTemplate } from '../fixtures/group.ts';
import { type ChildrenOptions, children } from './children.ts';
import { hashOf } from './children-plan.ts';
import { CERTIFICATE, POD_MONITOR } from './kinds.ts';

const OPTIONS: ChildrenOptions = { image: 'chasqui:1', replicas: 2, storageSize: '10Gi', served: new Set() };

function child(kind: string, name: string, spec: Partial<SmtpRelaySpec> = {}, options: Partial<ChildrenOptions> = {}) {
  const all = children(groupOf(spec), { ...OPTIONS, ...options });
  return all.find(({ object }) => object.kind === kind && object.metadata.name === name)?.object;
}
const names = (spec: Partial<SmtpRelaySpec> = {}, options: Partial<ChildrenOptions> = {}) =>
  children(groupOf(spec, ['example.test']), { ...OPTIONS, ...options }).map(
    ({ object }) => `${object.kind} ${object.metadata.name}`,
  );
const pod = (spec: Partial<SmtpRelaySpec> = {}) =>
  valueAt(child('StatefulSet', 'outbound', spec), '/spec/template/spec');
const at = (kind: string, name: string, pointer: string, spec: Partial<SmtpRelaySpec> = {}) =>
  valueAt(child(kind, name, spec), pointer);

const listener = (name: string, port: number): SmtpRelaySpec['listeners'][number] => ({
  ...{ name, port, protocol: 'Submission', tls: 'Required' },
  ...{ auth: { exemptNetworks: [] }, proxyProtocol: { from: [] } },
});

describe('what is kept in a cluster for a relay', () => {
  it('is written in an order in which pods come last', () => {
    assert.deepEqual(names(), [
      'Secret outbound-domains-12',
      'Secret outbound-config',
      'ServiceAccount outbound',
      'Service outbound',
      'Service outbound-pods',
      'NetworkPolicy outbound',
      'PodDisruptionBudget outbound',
      'StatefulSet outbound',
    ]);
  });

  it('has a PodMonitor where there is that kind, and no NetworkPolicy where it is disabled', () => {
    assert.ok(names({}, { served: new Set([POD_MONITOR]) }).includes('PodMonitor outbound'));
    const networkPolicy: SmtpRelaySpec['networkPolicy'] = { mode: 'Disabled', clients: [], monitoring: [] };
    assert.ok(!names({ networkPolicy }).includes('NetworkPolicy outbound'));
  });

  it('asks for a certificate where an issuer is named, in a Secret that may be read, and where there is that kind', () => {
    const tls: SmtpRelaySpec['tls'] = {
      certificate: { issuerRef: { name: 'public', kind: 'ClusterIssuer', group: 'cert-manager.io' } },
      minVersion: 'TLSv1.2',
    };
    assert.ok(!names({ tls }).includes('Certificate outbound'));
    assert.ok(!names({}, { served: new Set([CERTIFICATE]) }).includes('Certificate outbound'));
    const made = child('Certificate', 'outbound', { tls }, { served: new Set([CERTIFICATE]) });
    assert.deepEqual(made?.spec, {
      secretName: 'outbound-issued',
      secretTemplate: { labels: { 'chasqui.dev/reference': 'true' } },
      dnsNames: ['relay.example.test'],
      issuerRef: { name: 'public', kind: 'ClusterIssuer', group: 'cert-manager.io' },
      privateKey: { algorithm: 'ECDSA', size: 256, rotationPolicy: 'Always' },
      usages: ['digital signature', 'server auth'],
    });
  });

  it('carries labels that say whose it is, and no ownerReference', () => {
    for (const { object } of children(groupOf(), { ...OPTIONS, served: new Set([POD_MONITOR]) })) {
      assert.equal(object.metadata.labels?.['chasqui.dev/owner-name'], 'outbound');
      assert.equal(object.metadata.labels['chasqui.dev/owner-uid'], 'uid-of-outbound');
      assert.equal(object.metadata.labels['app.kubernetes.io/managed-by'], 'chasqui');
      assert.equal(object.metadata.ownerReferences, undefined);
    }
  });
});

describe('the Services of a relay', () => {
  const spec = { listeners: [listener('smtp', 25), listener('submission', 587), listener('alternative', 2525)] };

  it('map the ports that clients connect to onto those that a pod may bind', () => {
    const ports = valueAt(child('Service', 'outbound', spec), '/spec/ports');
    assert.deepEqual(ports, [
      { name: 'smtp', port: 25, targetPort: 10_025, protocol: 'TCP' },
      { name: 'submission', port: 587, targetPort: 10_587, protocol: 'TCP' },
      { name: 'alternative', port: 2525, targetPort: 2525, protocol: 'TCP' },
    ]);
  });

  it('lead clients to replicas that take mail, and replicas to each other in any case', () => {
    assert.equal(valueAt(child('Service', 'outbound'), '/spec/selector/chasqui.dev~1accepts-mail'), 'true');
    const pods = child('Service', 'outbound-pods');
    assert.equal(valueAt(pods, '/spec/selector/chasqui.dev~1accepts-mail'), undefined);
    assert.equal(valueAt(pods, '/spec/publishNotReadyAddresses'), true);
    assert.equal(valueAt(pods, '/spec/clusterIP'), 'None');
  });

  it('are as many more as are listed, each with its listeners and what its type has', () => {
    const wanted: SmtpRelaySpec['services'] = [
      {
        ...{ name: 'public', type: 'LoadBalancer', listeners: ['smtp'], annotations: { cloud: 'x' } },
        ...{ loadBalancerClass: 'a/b', externalTrafficPolicy: 'Local', ipFamilyPolicy: 'PreferDualStack' },
      },
      { name: 'inner', type: 'ClusterIP', listeners: [], annotations: {}, externalTrafficPolicy: 'Cluster' },
    ];
    const balanced = child('Service', 'outbound-public', { ...spec, services: wanted });
    assert.deepEqual(balanced?.metadata.annotations, { cloud: 'x' });
    const { selector: _, ...rest } = (balanced?.spec ?? {}) as Record<string, unknown>;
    assert.deepEqual(rest, {
      ...{ type: 'LoadBalancer', loadBalancerClass: 'a/b', externalTrafficPolicy: 'Local' },
      ipFamilyPolicy: 'PreferDualStack',
      ports: [{ name: 'smtp', port: 25, targetPort: 10_025, protocol: 'TCP' }],
    });
    const inner = child('Service', 'outbound-inner', { ...spec, services: wanted });
    assert.equal((valueAt(inner, '/spec/ports') as unknown[]).length, 3);
    assert.equal(valueAt(inner, '/spec/externalTrafficPolicy'), undefined);
  });
});

describe('the pods of a relay', () => {
  it('have no rights: no root, no capabilities, no token, no disk but their own', () => {
    assert.equal(valueAt(pod(), '/securityContext/runAsNonRoot'), true);
    assert.equal(valueAt(pod(), '/securityContext/seccompProfile/type'), 'RuntimeDefault');
    assert.equal(valueAt(pod(), '/automountServiceAccountToken'), false);
    assert.deepEqual(valueAt(pod(), '/containers/0/securityContext'), {
      ...{ runAsNonRoot: true, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true },
      capabilities: { drop: ['ALL'] },
    });
  });

  it('hold neither config nor listeners: an edit of either leaves the template as it is', () => {
    const template = (spec: Partial<SmtpRelaySpec>) => at('StatefulSet', 'outbound', '/spec/template', spec);
    const edited = { hostname: 'other.example.test', listeners: [listener('smtp', 25)] };
    assert.deepEqual(template(edited), template({}));
  });

  it('mount every shard that there may ever be, so that none is added to a running pod', () => {
    const sources = valueAt(pod(), '/volumes/0/projected/sources') as {
      secret: { name: string; optional?: boolean };
    }[];
    assert.equal(sources.length, 1 + 16 + 8);
    assert.deepEqual(
      sources.filter(({ secret }) => !secret.optional).map(({ secret }) => secret.name),
      ['outbound-config'],
    );
  });

  it('have the image of the operator, or that of the spec', () => {
    assert.equal(valueAt(pod(), '/containers/0/image'), 'chasqui:1');
    assert.equal(valueAt(pod({ image: 'mine:2' }), '/containers/0/image'), 'mine:2');
  });

  it('are spread over nodes where the spec does not say otherwise, and count themselves', () => {
    assert.equal(valueAt(pod(), '/topologySpreadConstraints/0/topologyKey'), 'kubernetes.io/hostname');
    const constraint = { maxSkew: 2, topologyKey: 'zone', whenUnsatisfiable: 'DoNotSchedule' } as const;
    assert.deepEqual(
      valueAt(pod(podTemplate({ topologySpreadConstraints: [constraint] })), '/topologySpreadConstraints'),
      [
        {
          ...constraint,
          labelSelector: {
            matchLabels: { 'app.kubernetes.io/name': 'chasqui-relay', 'app.kubernetes.io/instance': 'outbound' },
          },
        },
      ],
    );
  });

  it('ask for what the spec says, or for a little', () => {
    assert.deepEqual(valueAt(pod(), '/containers/0/resources'), { requests: { cpu: '100m', memory: '256Mi' } });
    const resources = { requests: {}, limits: { memory: '1Gi' } };
    assert.deepEqual(valueAt(pod(podTemplate({ resources })), '/containers/0/resources'), {
      limits: { memory: '1Gi' },
    });
  });

  it('carry labels of the spec, but not in place of ours', () => {
    const labels = { team: 'a', 'app.kubernetes.io/name': 'other' };
    const given = at('StatefulSet', 'outbound', '/spec/template/metadata/labels', podTemplate({ labels })) as object;
    assert.equal(valueAt(given, '/team'), 'a');
    assert.equal(valueAt(given, '/app.kubernetes.io~1name'), 'chasqui-relay');
    assert.equal(valueAt(given, '/chasqui.dev~1accepts-mail'), 'true');
  });

  it('are the same for an operator of another version: a change of this number rolls every pod at its upgrade', () => {
    const set = child('StatefulSet', 'outbound');
    assert.ok(set);
    const template = valueAt(set, '/spec/template');
    assert.equal(hashOf(template as typeof set).slice(0, 16), 'e4c014baa97a5a2c');
  });
});

describe('the claims of a relay', () => {
  it('outlive the StatefulSet and its pods', () => {
    assert.deepEqual(at('StatefulSet', 'outbound', '/spec/persistentVolumeClaimRetentionPolicy'), {
      ...{ whenDeleted: 'Retain', whenScaled: 'Retain' },
    });
  });
});

describe('the credentials that smarthosts ask for', () => {
  const smarthost = (name: string, secret?: string) => ({
    ...{ host: name, port: 587, tls: { mode: 'Verified' as const } },
    ...(secret !== undefined && { credentialsSecretRef: { name: secret } }),
  });
  const { delivery } = manifests.relay('outbound').spec;
  const through = (...smarthosts: ReturnType<typeof smarthost>[]): Partial<SmtpRelaySpec> => ({
    delivery: { ...delivery, routes: [{ match: { domains: ['*'] }, smarthosts }] },
  });
  const places = (spec: Partial<SmtpRelaySpec>): readonly string[] =>
    [...JSON.stringify(pod(spec)).matchAll(/"path":"([^"]*(?:username|password))"/g)].map(([, place = '']) => place);

  it('are mounted beside the config, each Secret once, and nothing else of it', () => {
    const spec = through(smarthost('a.test', 'two'), smarthost('b.test', 'one'), smarthost('c.test', 'two'));
    assert.deepEqual(places(spec), ['one/username', 'one/password', 'two/username', 'two/password']);
    const mounts = JSON.stringify(valueAt(pod(spec), '/containers/0/volumeMounts'));
    assert.match(mounts, /"name":"references","mountPath":"\/etc\/chasqui\/references","readOnly":true/);
  });

  it('are waited for by no pod', () => {
    assert.match(JSON.stringify(pod(through(smarthost('a.test', 'one')))), /"name":"one","optional":true/);
  });

  it('change nothing of the pods of a relay that needs none', () => {
    assert.deepEqual(pod(through(smarthost('a.test'))), pod());
  });
});

describe('who may connect to the replicas of a relay', () => {
  const ingress = (spec: Partial<SmtpRelaySpec> = {}, options: Partial<ChildrenOptions> = {}) =>
    valueAt(child('NetworkPolicy', 'outbound', spec, options), '/spec/ingress') as {
      from?: unknown[];
      ports: { port: number }[];
    }[];

  it('is everybody for mail and metrics, and for the admin API the other replicas', () => {
    const [mail, metrics, admin] = ingress({ listeners: [listener('smtp', 25)] });
    assert.deepEqual(mail, { ports: [{ port: 10_025, protocol: 'TCP' }] });
    assert.deepEqual(metrics, { ports: [{ port: 9465, protocol: 'TCP' }] });
    assert.deepEqual(admin?.ports, [{ port: 9466, protocol: 'TCP' }]);
    assert.equal(admin?.from?.length, 1);
  });

  it('is the operator too, where it runs in the cluster', () => {
    const [, , admin] = ingress({}, { operatorNamespace: 'chasqui-system' });
    assert.deepEqual(admin?.from?.[1], {
      namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'chasqui-system' } },
    });
  });

  it('is whom the spec lists', () => {
    const clients = [{ ipBlock: { cidr: '10.0.0.0/8' } }];
    const [mail] = ingress({ networkPolicy: { mode: 'Managed', clients, monitoring: [] } });
    assert.deepEqual(mail?.from, clients);
  });
});
