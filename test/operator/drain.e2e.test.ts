/**
 * A relay of real pods is made smaller while its destination takes no mail: what the pods that go hold moves to the one
 * that stays, so their volumes may be deleted with all that is on them, and every message arrives, once.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { buildImage } from '../../image/build.ts';
import { CHART, Helm } from '../chart/helm.ts';
import { Cluster } from '../cluster/cluster.ts';
import type { Namespace } from '../cluster/namespace.ts';
import { importImage } from '../cluster/node/images.ts';
import { SmtpClient } from '../harness/smtp-client.ts';

const ROOT = join(import.meta.dirname, '../..');
const SYSTEM = 'chasqui-system';
const EACH = 5;

describe('a relay of three pods', () => {
  let cluster: Cluster;
  let helm: Helm;
  let namespace: Namespace;
  let image: string;
  const kubectl = async (...words: readonly string[]) =>
    (await cluster.kubectl.run(...words, `--namespace=${namespace.name}`)).trim();
  const eventually = (words: readonly string[], like: RegExp) =>
    cluster.kubectl.eventually([...words, `--namespace=${namespace.name}`], like);
  const relay = (jsonpath: string) => ['get', 'smtprelay', 'outbound', `--output=jsonpath=${jsonpath}`];
  const restarts = () =>
    kubectl(
      'get',
      'pods',
      '--selector=app.kubernetes.io/name=chasqui-relay',
      '--output=jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].restartCount} {end}',
    );

  before(async () => {
    cluster = await Cluster.connect();
    helm = await Helm.prepare(cluster.kubectl.kubeconfig);
    const built = await buildImage(join(ROOT, '.cache/image'));
    image = built.released;
    await importImage(built.archive);
    await helm.run(
      'install',
      'chasqui',
      CHART,
      `--namespace=${SYSTEM}`,
      '--create-namespace',
      '--wait',
      '--take-ownership',
    );
    namespace = await cluster.namespace();
  });
  after(async () => {
    await cluster?.kubectl.attempt(['delete', 'smtprelay', '--all', `--namespace=${namespace?.name}`, '--timeout=60s']);
    await namespace?.[Symbol.asyncDispose]();
    await helm?.attempt('uninstall', 'chasqui', `--namespace=${SYSTEM}`, '--no-hooks');
    await cluster?.kubectl.attempt(['delete', 'namespace', SYSTEM, '--ignore-not-found', '--wait=false']);
    await helm?.[Symbol.asyncDispose]();
  });

  test('takes mail in each of them, though nobody answers at the destination', async () => {
    await cluster.kubectl.apply(...manifests(namespace.name));
    await kubectl('wait', '--for=condition=Ready', 'smtprelay/outbound', 'maildomain/example', '--timeout=2m');
    for (const ordinal of [0, 1, 2]) {
      await using forward = await cluster.forward(namespace.name, `pod/outbound-${ordinal}`, 10_025);
      await using client = await SmtpClient.connect(forward.port);
      await client.talk(['EHLO client.test', '250']);
      for (let number = 0; number < EACH; number++) {
        await client.talk(
          ['MAIL FROM:<app@example.test>', '250'],
          [`RCPT TO:<to-${ordinal}-${number}@dest.test>`, '250'],
          ['DATA', '354'],
        );
        assert.match(await client.content('From: app@example.test\r\nSubject: Hello\r\n\r\nHello\r\n'), /^250 /);
      }
    }
  });

  test('puts an edit in force within seconds, in the same containers', async (t) => {
    const before = await restarts();
    const beganMs = performance.now();
    await kubectl('patch', 'smtprelay', 'outbound', '--type=merge', '--patch={"spec":{"limits":{"recipients":500}}}');
    await eventually(
      relay('{.metadata.generation} {.status.observedGeneration} {.status.conditions[?(@.type=="Programmed")].status}'),
      /^2 2 True$/,
    );
    t.diagnostic(`${Math.round(performance.now() - beganMs)} ms, kubectl included`);
    assert.equal(await restarts(), before);
  });

  test('shrinks to one, and keeps nothing on the volumes of the others', async () => {
    await kubectl('scale', 'smtprelay/outbound', '--replicas=1');
    await eventually(relay('{.status.replicaStates[*].state}'), /^Ready Stopped Stopped$/);
    await kubectl('wait', '--for=delete', 'pod/outbound-1', 'pod/outbound-2', '--timeout=60s');
    await kubectl('delete', 'pvc', 'spool-outbound-1', 'spool-outbound-2', '--timeout=60s');
  });

  test('delivers every message once, when somebody answers', async () => {
    await cluster.kubectl.apply(sink(namespace.name, image));
    await kubectl('wait', '--for=condition=Ready', 'pod/destination', '--timeout=60s');
    await eventually(['logs', 'destination'], new RegExp(`^(.*"to":.*\\n){${3 * EACH}}$`));
    await eventually(relay('{.status.conditions[?(@.type=="QueueHealthy")].status}'), /^True$/);
    const arrived = (await kubectl('logs', 'destination')).split('\n').map((line): string[] => JSON.parse(line).to);
    const expected = [0, 1, 2].flatMap((ordinal) =>
      Array.from({ length: EACH }, (_, number) => `to-${ordinal}-${number}@dest.test`),
    );
    assert.deepEqual(arrived.flat().sort(), expected.sort());
  });
});

const manifests = (namespace: string): readonly object[] => [
  {
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'destination', namespace } },
    spec: { selector: { app: 'destination' }, ports: [{ port: 2525 }] },
  },
  {
    ...{ apiVersion: 'chasqui.dev/v1alpha1', kind: 'SmtpRelay', metadata: { name: 'outbound', namespace } },
    spec: {
      hostname: 'relay.example.test',
      replicas: 3,
      listeners: [
        {
          ...{ name: 'smtp', protocol: 'Submission', port: 25, tls: 'Optional' },
          // Connections through kubectl come from the pod itself.
          auth: { exemptNetworks: ['127.0.0.0/8'] },
        },
      ],
      queue: { storage: { size: '1Gi' } },
      delivery: {
        routes: [
          {
            match: { domains: ['*'] },
            smarthosts: [{ host: `destination.${namespace}.svc`, port: 2525, tls: { mode: 'Disabled' } }],
          },
        ],
        retry: { schedule: ['2s'] },
      },
    },
  },
  {
    ...{ apiVersion: 'chasqui.dev/v1alpha1', kind: 'MailDomain', metadata: { name: 'example', namespace } },
    spec: { domain: 'example.test', relayRefs: [{ name: 'outbound' }], dns: { verification: 'Disabled' } },
  },
];

const sink = (namespace: string, image: string): object => ({
  ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'destination', namespace, labels: { app: 'destination' } } },
  spec: {
    securityContext: { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: 'RuntimeDefault' } },
    containers: [
      {
        ...{ name: 'sink', image, imagePullPolicy: 'IfNotPresent' },
        args: ['sink', '--listen', '0.0.0.0:2525', '--json', '--state', '/tmp'],
        readinessProbe: { tcpSocket: { port: 2525 }, periodSeconds: 1 },
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
      },
    ],
  },
});
