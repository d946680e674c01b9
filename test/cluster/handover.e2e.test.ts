/**
 * Fewer replicas, in pods: what those that go still have is handed to those that stay, found by the name of their pod and
 * known by its certificate. Their volumes are good for nothing then.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { buildImage } from '../../image/build.ts';
import { CHART, Helm } from '../chart/helm.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { Cluster } from './cluster.ts';
import type { Namespace } from './namespace.ts';
import { importImage } from './node/images.ts';

const KINDS = ['smtprelays', 'maildomains', 'smtpusers'].map((plural) => `crd/${plural}.chasqui.dev`);
const SYSTEM = '--namespace=chasqui-system';
const MESSAGES = 5;

describe('a relay of three pods whose destination takes nothing', () => {
  let cluster: Cluster;
  let helm: Helm;
  let image: string;
  let mail: Namespace;
  let here: string;

  before(async () => {
    cluster = await Cluster.connect();
    helm = await Helm.prepare(cluster.kubectl.kubeconfig);
    await cluster.kubectl.run('delete', '--ignore-not-found', '--timeout=60s', ...KINDS);
    const built = await buildImage(join(import.meta.dirname, '../../.cache/image'));
    image = built.released;
    await importImage(built.archive);
    mail = await cluster.namespace();
    here = `--namespace=${mail.name}`;
    await helm.run('install', 'chasqui', CHART, SYSTEM, '--create-namespace', '--wait');
    await cluster.kubectl.apply(destinationService(), relay(), domain());
    await cluster.kubectl.run('wait', '--for=condition=Ready', 'smtprelay/outbound', here, '--timeout=3m');
  });
  after(async () => {
    await cluster?.kubectl.attempt(['delete', 'smtprelay', 'outbound', here, '--ignore-not-found', '--timeout=60s']);
    await helm?.attempt('uninstall', 'chasqui', SYSTEM, '--no-hooks');
    await cluster?.kubectl.attempt(['delete', '--ignore-not-found', '--wait=false', 'ns/chasqui-system', ...KINDS]);
    await mail?.[Symbol.asyncDispose]();
    await helm?.[Symbol.asyncDispose]();
  });

  /** So that nothing listens where mail goes, until a pod of that label does. */
  const destinationService = () => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'destination', namespace: mail.name },
    spec: { selector: { app: 'destination' }, ports: [{ port: 2525 }] },
  });
  const relay = () => ({
    apiVersion: 'chasqui.dev/v1alpha1',
    kind: 'SmtpRelay',
    metadata: { name: 'outbound', namespace: mail.name },
    spec: {
      hostname: 'relay.example.test',
      replicas: 3,
      listeners: [
        {
          ...{ name: 'submission', protocol: 'Submission', port: 587, tls: 'Optional' },
          auth: { exemptNetworks: ['127.0.0.0/8'] },
        },
      ],
      delivery: {
        routes: [
          {
            match: { domains: ['*'] },
            smarthosts: [{ host: `destination.${mail.name}.svc`, port: 2525, tls: { mode: 'Disabled' } }],
          },
        ],
        retry: { schedule: ['1s'] },
      },
      queue: { storage: { size: '1Gi' } },
      // Where the test fails, with mail in the queue, nobody waits for it.
      deletion: { drainTimeout: '5s' },
    },
  });
  const domain = () => ({
    apiVersion: 'chasqui.dev/v1alpha1',
    kind: 'MailDomain',
    metadata: { name: 'example-test', namespace: mail.name },
    spec: { domain: 'example.test', relayRefs: [{ name: 'outbound' }], dns: { verification: 'Disabled' } },
  });
  const destination = () => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'destination', namespace: mail.name, labels: { app: 'destination' } },
    spec: {
      automountServiceAccountToken: false,
      securityContext: { runAsNonRoot: true, runAsUser: 65_532, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [
        {
          name: 'sink',
          image,
          imagePullPolicy: 'IfNotPresent',
          args: ['sink', '--listen', '0.0.0.0:2525', '--json'],
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
        },
      ],
    },
  });

  const logsOf = (pod: string): Promise<string> => cluster.kubectl.run('logs', pod, here, '--tail=-1');

  async function send(pod: string): Promise<readonly string[]> {
    await using forward = await cluster.forward(mail.name, `pod/${pod}`, 10_587);
    await using client = await SmtpClient.connect(forward.port);
    await client.talk(['EHLO client.test', '250-']);
    const sent: string[] = [];
    for (let index = 0; index < MESSAGES; index++) {
      const recipient = `${pod}-${index}@dest.test`;
      await client.talk(['MAIL FROM:<app@example.test>', '250 '], [`RCPT TO:<${recipient}>`, '250 '], ['DATA', '354 ']);
      assert.match(await client.content('From: app@example.test\r\n\r\nHello\r\n'), /^250 /);
      sent.push(recipient);
    }
    return sent;
  }

  const sent: string[] = [];
  test('is scaled to one, which takes over what the others have', async () => {
    for (const pod of ['outbound-1', 'outbound-2']) sent.push(...(await send(pod)));
    await cluster.kubectl.run('scale', 'smtprelay/outbound', here, '--replicas=1');
    await cluster.kubectl.run('wait', '--for=delete', 'pod/outbound-1', 'pod/outbound-2', here, '--timeout=3m');
    const taken = [...(await logsOf('outbound-0')).matchAll(/message taken over from another replica/g)];
    assert.equal(taken.length, sent.length);
  });

  test('delivers each message once when the destination is there, without the volumes of the others', async () => {
    await cluster.kubectl.run('delete', 'pvc', 'spool-outbound-1', 'spool-outbound-2', here, '--timeout=60s');
    await cluster.kubectl.apply(destination());
    await cluster.kubectl.eventually(['logs', 'destination', here], new RegExp(`(.*\\n){${sent.length}}`));
    const arrived = (await logsOf('destination'))
      .trim()
      .split('\n')
      .flatMap((line): readonly string[] => JSON.parse(line).to);
    assert.deepEqual(arrived.toSorted(), sent.toSorted());
  });
});
