/** What is made for a relay in a cluster, comes back when another takes it away, and is left alone else. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { SmtpRelaySpec } from '../../../crds/smtprelay.ts';
import { KEY, Scene } from './fixtures/scene.ts';

describe('relays in a cluster', { timeout: 240_000 }, () => {
  let scene: Scene;
  before(async () => {
    scene = await Scene.start(1);
  });
  after(() => scene?.[Symbol.asyncDispose]());

  it('become pods, under the restricted profile, that report the config that was applied', async () => {
    const group = await scene.put({ replicas: 2 });
    await scene.untilStates('Ready Ready');
    await scene.untilReported(group);
    const made = await scene.kubectl(
      'get',
      'sts,svc,pdb,netpol,sa',
      '-l',
      'chasqui.dev/owner-name=outbound',
      '-o',
      'name',
    );
    assert.deepEqual(made.split('\n').sort(), [
      'networkpolicy.networking.k8s.io/outbound',
      'poddisruptionbudget.policy/outbound',
      'service/outbound',
      'service/outbound-pods',
      'serviceaccount/outbound',
      'statefulset.apps/outbound',
    ]);
  });

  it('are not written to while nothing changes, by an operator that starts anew neither', async () => {
    await scene.restart('operator-2');
    const group = await scene.put({ replicas: 2 });
    await scene.untilReported(group);
    await scene.relays.apply(group);
    assert.ok((await scene.writesOf('operator-1')).length > 10);
    assert.deepEqual(await scene.writesOf('operator-2'), []);
  });

  it('have another config put in force by the same pods', async () => {
    const before = await scene.podUids();
    const group = await scene.put({ replicas: 2, hostname: 'other.example.test' });
    await scene.untilReported(group);
    assert.equal(await scene.podUids(), before);
    const revisions = await scene.kubectl(
      'get',
      'sts',
      'outbound',
      '-o',
      'jsonpath={.status.currentRevision} {.status.updateRevision}',
    );
    assert.equal(new Set(revisions.split(' ')).size, 1, 'one revision');
  });

  describe('of which another', () => {
    const edits: readonly (readonly [sentence: string, edit: string[], look: string[], like: RegExp])[] = [
      ['deletes a Service', ['delete', 'service', 'outbound'], ['get', 'service', 'outbound'], /outbound/],
      ['deletes the NetworkPolicy', ['delete', 'netpol', 'outbound'], ['get', 'netpol', 'outbound'], /outbound/],
      ['deletes the config', ['delete', 'secret', 'outbound-config'], ['get', 'secret', 'outbound-config'], /outbound/],
      [
        'deletes a shard',
        ['delete', 'secret', '-l', 'chasqui.dev/purpose=config'],
        ['get', 'secret', '-l', 'chasqui.dev/purpose=config'],
        /outbound-domains/,
      ],
      [
        'sends clients elsewhere',
        ['patch', 'service', 'outbound', '-p', '{"spec":{"selector":{"other":"pods"}}}'],
        ['get', 'service', 'outbound', '-o', 'jsonpath={.spec.selector}'],
        /^(?!.*other)/,
      ],
      [
        'lets no pod be disrupted',
        ['patch', 'pdb', 'outbound', '--type=merge', '-p', '{"spec":{"maxUnavailable":0}}'],
        ['get', 'pdb', 'outbound', '-o', 'jsonpath={.spec.maxUnavailable}'],
        /^1$/,
      ],
      [
        'scales the StatefulSet down',
        ['scale', 'sts', 'outbound', '--replicas=1'],
        ['get', 'sts', 'outbound', '-o', 'jsonpath={.spec.replicas}'],
        /^2$/,
      ],
      [
        'takes a pod out of the Service',
        ['label', 'pod', 'outbound-0', 'chasqui.dev/accepts-mail=false', '--overwrite'],
        ['get', 'pod', 'outbound-0', '-o', 'jsonpath={.metadata.labels.chasqui\\.dev/accepts-mail}'],
        /^true$/,
      ],
    ];
    for (const [sentence, edit, look, like] of edits) {
      it(`${sentence}, it comes back`, async () => {
        await scene.kubectl(...edit);
        await scene.eventually(look, like);
      });
    }

    it('deletes the StatefulSet and leaves the pods, they are taken up again as they are', async () => {
      await scene.untilStates('Ready Ready');
      const before = await scene.podUids();
      await scene.kubectl('delete', 'sts', 'outbound', '--cascade=orphan');
      await scene.eventually(['get', 'sts', 'outbound', '-o', 'jsonpath={.status.readyReplicas}'], /^2$/);
      assert.equal(await scene.podUids(), before);
    });
  });

  it('find another under a name of theirs, they leave it alone and say so, until it is gone', async () => {
    const service: SmtpRelaySpec['services'][number] = {
      ...{ name: 'public', type: 'NodePort', listeners: [], annotations: {}, externalTrafficPolicy: 'Local' },
    };
    const spec = { replicas: 2, services: [service] };
    const look = ['get', 'service', 'outbound-public', '-o', 'jsonpath={.spec.type} {.spec.ports[*].targetPort}'];
    await scene.kubectl('create', 'service', 'clusterip', 'outbound-public', '--tcp=80');
    await scene.put(spec);
    const [told] = scene.relays.observe(KEY);
    assert.equal(told?.problem?.reason, 'NameTaken');
    assert.match(told.problem.message, /^Service outbound-public is there and belongs to someone else/);
    assert.equal(await scene.kubectl(...look), 'ClusterIP 80');

    await scene.kubectl('delete', 'service', 'outbound-public');
    await scene.put(spec);
    assert.equal(await scene.kubectl(...look), 'NodePort 10025');
    assert.equal(scene.relays.observe(KEY)[0]?.problem, undefined);
  });

  it('have no Service any more that is not listed', async () => {
    await scene.put({ replicas: 2 });
    assert.equal(await scene.kubectl('get', 'service', '-o', 'name'), 'service/outbound\nservice/outbound-pods');
  });

  it('have a PodMonitor once the cluster has that kind, written once', async () => {
    await scene.server.kubectl.apply(POD_MONITORS);
    await scene.server.kubectl.run('wait', '--for=condition=Established', 'crd', POD_MONITORS.metadata.name);
    await scene.restart('operator-3');
    await scene.put({ replicas: 2 });
    const port = 'jsonpath={.spec.podMetricsEndpoints[0].port}';
    assert.equal(await scene.kubectl('get', 'podmonitor', 'outbound', '-o', port), 'monitoring');
    await scene.restart('operator-4');
    await scene.untilReported(await scene.put({ replicas: 2 }));
    assert.deepEqual(await scene.writesOf('operator-4'), []);
  });
});

/** The kind of the Prometheus operator, without its schema. */
const POD_MONITORS = {
  ...{ apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition' },
  metadata: {
    name: 'podmonitors.monitoring.coreos.com',
    annotations: { 'api-approved.kubernetes.io': 'unapproved, for a test' },
  },
  spec: {
    ...{ group: 'monitoring.coreos.com', scope: 'Namespaced' },
    names: { kind: 'PodMonitor', listKind: 'PodMonitorList', plural: 'podmonitors', singular: 'podmonitor' },
    versions: [
      {
        ...{ name: 'v1', served: true, storage: true },
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
};
