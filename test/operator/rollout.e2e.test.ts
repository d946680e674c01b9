/**
 * Pods of a relay are replaced, one by one and at random, while clients send mail that never try anything again: none of
 * them is refused or cut off, and what was taken arrives, once.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Built, buildImage } from '../../image/build.ts';
import { CHART, Helm } from '../chart/helm.ts';
import { Cluster } from '../cluster/cluster.ts';
import type { Namespace } from '../cluster/namespace.ts';
import { importImage, importProbe, PROBE_IMAGE } from '../cluster/node/images.ts';

const ROOT = join(import.meta.dirname, '../..');
const SYSTEM = 'chasqui-system';

/** Sends one message after the other, each in a session of its own, until it is told to end; runs in a pod. */
const CLIENT = `
  const { connect } = require('node:net');
  let number = 0, ending = false;
  process.on('SIGTERM', () => { ending = true; });
  const send = (id) => new Promise((resolve, reject) => {
    const lines = ['EHLO client.test', 'MAIL FROM:<app@example.test>', 'RCPT TO:<' + id + '@dest.test>', 'DATA',
      'From: app@example.test\\r\\nSubject: ' + id + '\\r\\n\\r\\nHello\\r\\n.', 'QUIT'];
    const expected = ['220', '250', '250', '250', '354', '250', '221'];
    let step = 0, text = '';
    const socket = connect(25, 'outbound');
    socket.setTimeout(30_000, () => socket.destroy(new Error('silent')));
    socket.on('error', reject).on('close', () => reject(new Error('closed at step ' + step)));
    socket.on('data', (data) => {
      text += data;
      if (!/^\\d{3} .*\\r\\n$/m.test(text)) return;
      const reply = text; text = '';
      if (!reply.startsWith(expected[step])) return socket.destroy(new Error('step ' + step + ': ' + reply));
      if (step === 5) resolve();
      const line = lines[step++];
      if (line === undefined) socket.end(); else socket.write(line + '\\r\\n');
    });
  });
  (async () => {
    while (!ending) {
      const id = process.env.HOSTNAME + '-' + number++;
      await send(id).then(() => console.log('taken ' + id), (error) => console.log('FAILED ' + id + ': ' + error.message));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    console.log('ended');
    setInterval(() => {}, 1e6);
  })();
`;

describe('pods of a relay under load', () => {
  let cluster: Cluster;
  let helm: Helm;
  let namespace: Namespace;
  let built: Built;
  const kubectl = async (...words: readonly string[]) =>
    (await cluster.kubectl.run(...words, `--namespace=${namespace.name}`)).trim();
  const eventually = (words: readonly string[], like: RegExp) =>
    cluster.kubectl.eventually([...words, `--namespace=${namespace.name}`], like);

  before(async () => {
    cluster = await Cluster.connect();
    helm = await Helm.prepare(cluster.kubectl.kubeconfig);
    built = await buildImage(join(ROOT, '.cache/image'));
    await importImage(built.archive);
    await importProbe();
    const place = [`--namespace=${SYSTEM}`, '--create-namespace'];
    await helm.run('install', 'chasqui', CHART, ...place, '--wait', '--take-ownership');
    namespace = await cluster.namespace();
    await cluster.kubectl.apply(...manifests(namespace.name, built.released));
    await kubectl('wait', '--for=condition=Ready', 'pod/destination', '--timeout=60s');
    await kubectl('wait', '--for=condition=Ready', 'smtprelay/outbound', 'maildomain/example', '--timeout=2m');
  });
  after(async () => {
    await cluster?.kubectl.attempt(['delete', 'smtprelay', '--all', `--namespace=${namespace?.name}`, '--timeout=60s']);
    await namespace?.[Symbol.asyncDispose]();
    await helm?.attempt('uninstall', 'chasqui', `--namespace=${SYSTEM}`, '--no-hooks');
    await cluster?.kubectl.attempt(['delete', 'namespace', SYSTEM, '--ignore-not-found', '--wait=false']);
    await helm?.[Symbol.asyncDispose]();
  });

  test('are replaced by an update and deleted by hand, and no client notices', async (t) => {
    await cluster.kubectl.apply(client(namespace.name, 'client-a'), client(namespace.name, 'client-b'));
    await eventually(['logs', 'client-a'], /taken/);
    const uids = () =>
      kubectl('get', 'pods', '-l', 'app.kubernetes.io/name=chasqui-relay', '-o', 'jsonpath={.items[*].metadata.uid}');
    const former = (await uids()).split(' ');

    await kubectl('patch', 'smtprelay', 'outbound', '--type=merge', `--patch={"spec":{"image":"${built.name}"}}`);
    const images = [
      'get',
      'pods',
      '-l',
      'app.kubernetes.io/name=chasqui-relay',
      '-o',
      'jsonpath={.items[*].spec.containers[0].image}',
    ];
    await eventually(images, new RegExp(`^${built.name} ${built.name}$`));
    await kubectl('rollout', 'status', 'statefulset/outbound', '--timeout=2m');
    for (const ordinal of [0, 1, 0]) {
      await kubectl('delete', 'pod', `outbound-${ordinal}`);
      await kubectl('rollout', 'status', 'statefulset/outbound', '--timeout=2m');
      await kubectl('wait', '--for=condition=Ready', `pod/outbound-${ordinal}`, '--timeout=60s');
    }
    const now = (await uids()).split(' ');
    assert.ok(now.length === 2 && !now.some((uid) => former.includes(uid)), 'both were replaced');

    const taken: string[] = [];
    for (const name of ['client-a', 'client-b']) {
      const end = ['/usr/bin/node', '-e', 'process.kill(1, "SIGTERM")'];
      await cluster.kubectl.run('exec', `--namespace=${namespace.name}`, name, '--', ...end);
      await eventually(['logs', name], /^ended$/m);
      const lines = (await kubectl('logs', name)).split('\n');
      assert.deepEqual(
        lines.filter((line) => line.startsWith('FAILED')),
        [],
      );
      taken.push(...lines.flatMap((line) => /^taken (.*)$/.exec(line)?.[1] ?? []));
    }
    t.diagnostic(`${taken.length} messages taken`);
    await eventually(['logs', 'destination', '--tail=-1'], new RegExp(`^(.*\\n){${taken.length}}`));
    const arrived = (await kubectl('logs', 'destination')).split('\n').map((line): string => JSON.parse(line).subject);
    assert.deepEqual(arrived.sort(), taken.sort());
  });
});

const RESTRICTED = {
  pod: { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: 'RuntimeDefault' } },
  container: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
};

const manifests = (namespace: string, image: string): readonly object[] => [
  {
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'destination', namespace } },
    spec: { selector: { app: 'destination' }, ports: [{ port: 2525 }] },
  },
  {
    ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'destination', namespace, labels: { app: 'destination' } } },
    spec: {
      securityContext: RESTRICTED.pod,
      containers: [
        {
          ...{ name: 'sink', image, imagePullPolicy: 'IfNotPresent', securityContext: RESTRICTED.container },
          args: ['sink', '--listen', '0.0.0.0:2525', '--json', '--state', '/tmp'],
          readinessProbe: { tcpSocket: { port: 2525 }, periodSeconds: 1 },
        },
      ],
    },
  },
  {
    ...{ apiVersion: 'chasqui.dev/v1alpha1', kind: 'SmtpRelay', metadata: { name: 'outbound', namespace } },
    spec: {
      ...{ hostname: 'relay.example.test', replicas: 2, queue: { storage: { size: '1Gi' } } },
      listeners: [
        {
          ...{ name: 'smtp', protocol: 'Submission', port: 25, tls: 'Optional' },
          auth: { exemptNetworks: ['10.0.0.0/8'] },
        },
      ],
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

const client = (namespace: string, name: string): object => ({
  ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace } },
  spec: {
    securityContext: RESTRICTED.pod,
    terminationGracePeriodSeconds: 1,
    containers: [
      {
        ...{ name: 'client', image: PROBE_IMAGE, imagePullPolicy: 'Never', securityContext: RESTRICTED.container },
        args: ['-e', CLIENT],
      },
    ],
  },
});
