/**
 * The operator as a program, on a real API server with the controllers of Kubernetes: what users do with kubectl, and what
 * becomes of pods. These are real relay processes that the test runs in place of a node.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Client } from '../../operator/backends/kubernetes/client.ts';
import { type Connection, connect } from '../../operator/backends/kubernetes/connection.ts';
import { ApiServer } from '../cluster/api-server.ts';
import { OperatorProcess } from '../cluster/operator-process.ts';
import { PlayedNode } from '../cluster/played-node.ts';
import { at, Destination } from '../harness/destination.ts';
import { SmtpClient } from '../harness/smtp-client.ts';

const NAMESPACE = 'mail';

const manifests = (destinationPort: number): readonly object[] => [
  {
    ...{ apiVersion: 'v1', kind: 'Namespace' },
    metadata: { name: NAMESPACE, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
  },
  {
    ...{ apiVersion: 'chasqui.dev/v1alpha1', kind: 'SmtpRelay', metadata: { name: 'outbound', namespace: NAMESPACE } },
    spec: {
      hostname: 'relay.example.test',
      listeners: [
        {
          ...{ name: 'smtp', protocol: 'Submission', port: 25, tls: 'Optional' },
          auth: { exemptNetworks: ['127.0.0.0/8'] },
        },
      ],
      delivery: {
        routes: [
          {
            match: { domains: ['*'] },
            smarthosts: [{ host: '127.0.0.1', port: destinationPort, tls: { mode: 'Disabled' } }],
          },
        ],
        retry: { schedule: ['1s'] },
      },
    },
  },
  {
    ...{ apiVersion: 'chasqui.dev/v1alpha1', kind: 'MailDomain', metadata: { name: 'example', namespace: NAMESPACE } },
    spec: { domain: 'example.test', relayRefs: [{ name: 'outbound' }], dns: { verification: 'Disabled' } },
  },
];

describe('an SmtpRelay that kubectl applied', { timeout: 280_000 }, () => {
  let server: ApiServer;
  let connection: Connection;
  let node: PlayedNode;
  let destination: Destination;
  let operator: OperatorProcess;
  let isOpen = true;

  const kubectl = async (...words: readonly string[]) =>
    (await server.kubectl.run(...words, `--namespace=${NAMESPACE}`)).trim();
  const eventually = (words: readonly string[], like: RegExp) =>
    server.kubectl.eventually([...words, `--namespace=${NAMESPACE}`], like);
  const relay = (jsonpath: string) => ['get', 'smtprelay', 'outbound', '-o', `jsonpath=${jsonpath}`];

  async function send(to: string): Promise<void> {
    await using client = await SmtpClient.connect(10_025, { host: node.addressOf(0) });
    await client.talk(
      ['EHLO client.test', '250'],
      ['MAIL FROM:<app@example.test>', '250'],
      [`RCPT TO:<${to}>`, '250'],
      ['DATA', '354'],
    );
    assert.match(await client.content('From: app@example.test\r\n\r\nHello\r\n'), /^250 /);
  }

  before(async () => {
    server = await ApiServer.start({ controllers: true, audit: true });
    await server.applyCrds();
    connection = await connect(server.kubeconfig);
    const client = new Client({
      ...{ connection, userAgent: 'node', writeTimeoutMs: 10_000, mayWrite: () => undefined },
    });
    node = await PlayedNode.start(server, client, 4);
    destination = await Destination.start({
      react: (step) => (isOpen ? undefined : at('rcpt', '451 4.2.1 Not now')(step)),
    });
    operator = await OperatorProcess.start(server.kubeconfig);
  });
  after(async () => {
    await operator?.stop();
    await node?.[Symbol.asyncDispose]();
    await destination?.[Symbol.asyncDispose]();
    await connection?.close();
    await server?.[Symbol.asyncDispose]();
  });

  it('becomes Ready, and takes mail and delivers it signed', async () => {
    await server.kubectl.apply(...manifests(destination.port));
    await kubectl('wait', '--for=condition=Ready', 'smtprelay/outbound', '--timeout=60s');
    await kubectl('wait', '--for=condition=Ready', 'maildomain/example', '--timeout=60s');
    await send('first@dest.test');
    const [message] = await destination.received(1);
    assert.match(message?.data.toString() ?? '', /^DKIM-Signature: /m);
  });

  it('is not written to by an operator that starts anew, nor is anything of it', async () => {
    await operator.stop();
    operator = await OperatorProcess.start(server.kubeconfig);
    await operator.untilSays('this process leads');
    // Whatever it does at its start is done by the time that it has put an edit in force.
    const version = await kubectl('get', 'secret', 'outbound-config', '-o', 'jsonpath={.metadata.resourceVersion}');
    await kubectl('patch', 'smtprelay', 'outbound', '--type=merge', '-p', '{"spec":{"limits":{"recipients":500}}}');
    await eventually(relay('{.status.observedGeneration}'), /^2$/);
    await eventually(relay('{.status.conditions[?(@.type=="Programmed")].status}'), /^True$/);
    const written = (await server.audit())
      .filter(({ userAgent, verb }) => userAgent === operator.userAgent && !['get', 'list', 'watch'].includes(verb))
      .map(({ verb, objectRef }) => `${verb} ${objectRef?.resource} ${objectRef?.name ?? ''}`)
      .filter((write) => !/ (leases|events) /.test(write));
    assert.notEqual(
      await kubectl('get', 'secret', 'outbound-config', '-o', 'jsonpath={.metadata.resourceVersion}'),
      version,
    );
    const ofTheEdit = ['patch pods outbound-0', 'patch secrets outbound-config', 'patch smtprelays outbound'];
    assert.deepEqual(
      [...new Set(written)].sort().filter((write) => !ofTheEdit.includes(write)),
      [],
    );
    assert.equal(written.filter((write) => write === 'patch secrets outbound-config').length, 1);
  });

  it('is scaled by kubectl, and tells which pods are its own', async () => {
    await kubectl('scale', 'smtprelay/outbound', '--replicas=2');
    await eventually(relay('{.status.readyReplicas}'), /^2$/);
    const selector = await kubectl(...relay('{.status.selector}'));
    assert.equal(await kubectl('get', 'pods', '-l', selector, '-o', 'name'), 'pod/outbound-0\npod/outbound-1');
    await kubectl('scale', 'smtprelay/outbound', '--replicas=1');
    await eventually(relay('{.status.replicas}'), /^1$/);
    await kubectl('wait', '--for=delete', 'pod/outbound-1', '--timeout=60s');
  });

  it('has its pods replaced when it names another image', async () => {
    await kubectl('patch', 'smtprelay', 'outbound', '--type=merge', '-p', '{"spec":{"image":"chasqui:mine"}}');
    await eventually(['get', 'pod', 'outbound-0', '-o', 'jsonpath={.spec.containers[0].image}'], /^chasqui:mine$/);
    await kubectl('wait', '--for=condition=Ready', 'smtprelay/outbound', '--timeout=60s');
  });

  it('that is deleted in the foreground keeps its pods until they have delivered what they hold', async () => {
    isOpen = false;
    await send('held@dest.test');
    await kubectl('delete', 'smtprelay', 'outbound', '--cascade=foreground', '--wait=false');
    await eventually(relay('{.status.conditions[?(@.type=="Draining")].reason}'), /^Deleting$/);
    await eventually(relay('{.status.replicaStates[0].queued}'), /^true$/);
    assert.equal(await kubectl('get', 'pod', 'outbound-0', '-o', 'jsonpath={.metadata.deletionTimestamp}'), '');
    isOpen = true;
    await destination.received(2);
    await kubectl('wait', '--for=delete', 'smtprelay/outbound', '--timeout=60s');
    const left = 'sts,svc,pdb,netpol,secret,pod';
    assert.equal(await kubectl('get', left, '-l', 'chasqui.dev/owner-name=outbound', '-o', 'name'), '');
    assert.equal(
      await kubectl('get', 'pvc', '-o', 'name'),
      [0, 1].map((ordinal) => `persistentvolumeclaim/spool-outbound-${ordinal}`).join('\n'),
    );
  });

  it('goes with its namespace, though it holds mail', async () => {
    await server.kubectl.apply(...manifests(destination.port));
    await kubectl('wait', '--for=condition=Ready', 'smtprelay/outbound', '--timeout=60s');
    isOpen = false;
    await send('lost@dest.test');
    await server.kubectl.run('delete', 'namespace', NAMESPACE, '--timeout=60s');
  });
});
