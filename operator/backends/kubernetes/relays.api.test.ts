/**
 * Relays on a real API server with the controllers of Kubernetes: what is made, kept and ended for them. Their pods are
 * real relay processes that the test runs in place of a node.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { SmtpRelay, SmtpRelaySpec } from '../../../crds/smtprelay.ts';
import { ApiServer } from '../../../test/cluster/api-server.ts';
import { PlayedNode } from '../../../test/cluster/played-node.ts';
import { at, Destination, type Script } from '../../../test/harness/destination.ts';
import * as manifests from '../../../test/harness/manifests.ts';
import { SmtpClient } from '../../../test/harness/smtp-client.ts';
import type { OperatorEvent, RelayGroup } from '../../backend.ts';
import { makeCA, makeServerCertificate } from '../../smtprelay/pki.ts';
import { relayGroup } from '../../smtprelay/relay-group.ts';
import { bindPort, childLabels } from './children/identity.ts';
import { SECRET } from './children/kinds.ts';
import { Client } from './client.ts';
import { connect } from './connection.ts';
import { Copies } from './copies.ts';
import { KubernetesRelays } from './relays.ts';
import { replicaClient } from './replica-client.ts';

const WAIT_MS = 60_000;
const NAMESPACE = 'mail';
const KEY = { namespace: NAMESPACE, name: 'outbound' };
const SERVER_NAME = 'outbound.mail.svc';

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const endMs = performance.now() + WAIT_MS; !(await holds()); await pause(50)) {
    assert.ok(performance.now() < endMs, `never came: ${what}`);
  }
}

/** The part of an operator that keeps pods, started anew as often as a test wants. */
class Operator {
  readonly relays: KubernetesRelays;
  readonly copies: Copies;
  readonly events: OperatorEvent[] = [];
  readonly problems: unknown[] = [];

  constructor(client: Client, relay: () => SmtpRelay | undefined) {
    this.copies = new Copies({
      api: client,
      namespaces: undefined,
      changed: (key) => this.relays.noticed(key),
      failed: (_, error) => this.problems.push(error),
    });
    const log = (fields: object, message: string) => void this.problems.push({ message, ...fields });
    this.relays = new KubernetesRelays({
      ...{ api: client, copies: this.copies, client: replicaClient(), image: 'chasqui:test' },
      relay,
      events: { emit: (event) => void this.events.push(event) },
      operatorNamespace: 'chasqui-system',
      serverName: () => SERVER_NAME,
      log: { debug: () => undefined, info: () => undefined, warn: log },
      nowMs: Date.now,
    });
  }

  async start(): Promise<this> {
    await this.copies.start();
    this.relays.start();
    return this;
  }

  async stop(): Promise<void> {
    await this.relays.stop();
    await this.copies.stop();
  }

  states(): string {
    return this.relays
      .observe(KEY)
      .map(({ state, queued }) => `${state}${queued ? '+mail' : ''}`)
      .join(' ');
  }

  async untilStates(states: string): Promise<void> {
    await until(`replicas are ${states}`, () => this.states() === states).catch((error: unknown) => {
      assert.fail(
        `${String(error)}: ${this.states()} ${JSON.stringify(this.relays.observe(KEY))} ${JSON.stringify(this.problems)}`,
      );
    });
  }
}

/** Takes mail of example.test from this machine, and sends all of it to one destination. */
const specOf = (destinationPort: number): Partial<SmtpRelaySpec> => ({
  listeners: [
    {
      ...{ name: 'smtp', protocol: 'Submission', port: 25, tls: 'Optional', proxyProtocol: { from: [] } },
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
    ...{ direct: { resolvers: [], port: 25 }, suspended: false },
    retry: { schedule: ['1s'], expireAfter: '1h' },
  },
});

const queueOf = (size: string): SmtpRelaySpec['queue'] => ({
  ...{ minFree: '1Mi', maxMessages: 1_000 },
  storage: { size, storageClassName: 'growing', retentionPolicy: { whenScaled: 'Retain', whenDeleted: 'Retain' } },
});

/** Volumes of a kind that may grow: what a cluster with a provisioner has. */
const VOLUMES = [
  {
    ...{ apiVersion: 'storage.k8s.io/v1', kind: 'StorageClass', metadata: { name: 'growing' } },
    ...{ provisioner: 'kubernetes.io/no-provisioner', allowVolumeExpansion: true },
  },
  ...[0, 1, 2].map((number) => ({
    ...{ apiVersion: 'v1', kind: 'PersistentVolume', metadata: { name: `volume-${number}` } },
    spec: {
      ...{ capacity: { storage: '10Gi' }, accessModes: ['ReadWriteOnce'], storageClassName: 'growing' },
      ...{ hostPath: { path: '/nonexistent' }, persistentVolumeReclaimPolicy: 'Retain' },
    },
  })),
];

/** Takes no mail while it is closed. */
class Gate {
  open = false;
  readonly script: Script = (step) => (this.open ? undefined : at('rcpt', '451 4.2.1 Not now')(step));
}

describe('relays in a cluster', { timeout: 240_000 }, () => {
  let server: ApiServer;
  let client: Client;
  let connection: Awaited<ReturnType<typeof connect>>;
  let node: PlayedNode;
  let operator: Operator;
  let destination: Destination;
  const gate = new Gate();
  let object: SmtpRelay;
  let groupOf: (spec: Partial<SmtpRelaySpec>) => RelayGroup;
  const kubectl = async (...words: string[]) => (await server.kubectl.run(...words, `--namespace=${NAMESPACE}`)).trim();
  const podUids = () => kubectl('get', 'pods', '-o', 'jsonpath={.items[*].metadata.uid}');
  const writesOf = async (agent: string) =>
    (await server.audit()).filter(
      ({ userAgent, verb }) => userAgent === agent && !['get', 'list', 'watch'].includes(verb),
    );
  const clientOf = (userAgent: string) =>
    new Client({ connection, userAgent, writeTimeoutMs: 10_000, mayWrite: () => undefined });

  async function put(spec: Partial<SmtpRelaySpec>): Promise<RelayGroup> {
    const group = groupOf({ ...specOf(destination.port), queue: queueOf('1Gi'), ...spec });
    await operator.relays.apply(group);
    return group;
  }
  async function untilReported({ configHash, replicas }: RelayGroup): Promise<void> {
    await until('every replica reports the config', () => {
      const wanted = operator.relays.observe(KEY).slice(0, replicas);
      return wanted.every((replica) => replica.state === 'Ready' && replica.configHash === configHash);
    });
  }
  async function send(ordinal: number, to: string): Promise<void> {
    await using sender = await SmtpClient.connect(10_025, { host: node.addressOf(ordinal) });
    await sender.talk(
      ['EHLO client.test', '250'],
      ['MAIL FROM:<app@example.test>', '250'],
      [`RCPT TO:<${to}>`, '250'],
      ['DATA', '354'],
    );
    assert.match(await sender.content('From: app@example.test\r\n\r\nHello\r\n'), /^250 /);
  }
  const drained = () =>
    kubectl(
      'get',
      'pvc',
      '-o',
      'jsonpath={range .items[*]}{.metadata.name}={.metadata.annotations.chasqui\\.dev/drained} {end}',
    ).then((text) =>
      text
        .split(' ')
        .filter((claim) => !claim.endsWith('='))
        .map((claim) => claim.split('=')[0])
        .join(' '),
    );

  before(async () => {
    server = await ApiServer.start({ controllers: true, audit: true });
    connection = await connect(server.kubeconfig);
    client = clientOf('node');
    await server.kubectl.apply({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: NAMESPACE, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
    });
    await server.kubectl.apply(...VOLUMES);
    destination = await Destination.start({ react: gate.script });
    node = await PlayedNode.start(server, client, 1);
    const now = Date.now();
    const ca = await makeCA('Test', now);
    const names = [SERVER_NAME, ...[0, 1, 2, 3].map((ordinal) => node.addressOf(ordinal))];
    const { certificate: chain, key } = await makeServerCertificate(ca, names, now);
    const domains = [{ name: 'mail/example', domain: 'example.test', dkim: { sign: false, keys: [] } }];
    groupOf = (spec) => {
      object = manifests.relay('outbound', spec, { namespace: NAMESPACE });
      return relayGroup({
        ...{ relay: object, certificate: { chain, key }, domains, users: [], bindPort },
        // A played node has no DNS: its pods find each other by address.
        peers: { host: node.place, port: 9466, ca: ca.certificate },
      });
    };
    await client.create(SECRET, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { namespace: NAMESPACE, name: 'outbound-ca', labels: { ...childLabels(groupOf({})) } },
      data: { 'ca.crt': Buffer.from(ca.certificate).toString('base64') },
    });
    operator = await new Operator(clientOf('operator-1'), () => object).start();
  });
  after(async () => {
    await operator?.stop();
    await node?.[Symbol.asyncDispose]();
    await destination?.[Symbol.asyncDispose]();
    await connection?.close();
    await server?.[Symbol.asyncDispose]();
  });

  it('become pods, under the restricted profile, that report the config that was applied', async () => {
    const group = await put({ replicas: 2 });
    await operator.untilStates('Ready Ready');
    await untilReported(group);
    const made = await kubectl('get', 'sts,svc,pdb,netpol,sa', '-l', 'chasqui.dev/owner-name=outbound', '-o', 'name');
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
    await operator.stop();
    operator = await new Operator(clientOf('operator-2'), () => object).start();
    const group = await put({ replicas: 2 });
    await untilReported(group);
    await operator.relays.apply(group);
    assert.ok((await writesOf('operator-1')).length > 10);
    assert.deepEqual(await writesOf('operator-2'), []);
  });

  it('have another config within a second or two, in the same pods', async () => {
    const before = await podUids();
    const beganMs = performance.now();
    const group = await put({ replicas: 2, hostname: 'other.example.test' });
    await untilReported(group);
    const tookMs = performance.now() - beganMs;
    assert.equal(await podUids(), before);
    const image = await kubectl(
      'get',
      'sts',
      'outbound',
      '-o',
      'jsonpath={.status.currentRevision} {.status.updateRevision}',
    );
    assert.equal(new Set(image.split(' ')).size, 1, 'one revision');
    console.log(`config took ${Math.round(tookMs)} ms`);
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
        await kubectl(...edit);
        await server.kubectl.eventually([...look, `--namespace=${NAMESPACE}`], like);
      });
    }

    it('deletes the StatefulSet and leaves the pods, they are taken up again as they are', async () => {
      await operator.untilStates('Ready Ready');
      const before = await podUids();
      await kubectl('delete', 'sts', 'outbound', '--cascade=orphan');
      await server.kubectl.eventually(
        ['get', 'sts', 'outbound', '-o', 'jsonpath={.status.readyReplicas}', `--namespace=${NAMESPACE}`],
        /^2$/,
      );
      assert.equal(await podUids(), before);
    });
  });

  it('of which fewer are wanted, hand their mail over and go, and no message is lost or doubled', async () => {
    const group = await put({ replicas: 3 });
    await untilReported(group);
    for (const ordinal of [0, 1, 2]) await send(ordinal, `to-${ordinal}@dest.test`);
    await put({ replicas: 1 });
    await operator.untilStates('Ready Stopped Stopped');
    assert.equal(await drained(), 'spool-outbound-1 spool-outbound-2');
    assert.equal(await kubectl('get', 'sts', 'outbound', '-o', 'jsonpath={.spec.replicas}'), '1');
    assert.equal(destination.messages.length, 0);
    gate.open = true;
    await destination.received(3);
    const recipients = destination.messages.flatMap(({ to }) => to);
    assert.deepEqual(recipients.sort(), ['to-0@dest.test', 'to-1@dest.test', 'to-2@dest.test']);
  });

  it('of which a queue is left behind, have its replica started again until it is empty', async () => {
    await kubectl('annotate', 'pvc', 'spool-outbound-2', 'chasqui.dev/drained-');
    await until('ordinal 2 runs again', () => operator.states() === 'Ready Draining Draining');
    await operator.untilStates('Ready Stopped Stopped');
    assert.equal(await drained(), 'spool-outbound-1 spool-outbound-2');
  });

  it('of which more are wanted again, take mail in all of them, and no claim says it is empty', async () => {
    await untilReported(await put({ replicas: 2 }));
    assert.equal(await drained(), 'spool-outbound-2');
    await send(1, 'again@dest.test');
    await destination.received(4);
  });

  it('keep their pods while their volumes grow, and ask for the new size where there will be further ones', async () => {
    const before = await podUids();
    await put({ replicas: 2, queue: queueOf('2Gi') });
    const sizes = [
      'get',
      'pvc',
      '-o',
      'jsonpath={.items[*].spec.resources.requests.storage}',
      `--namespace=${NAMESPACE}`,
    ];
    await server.kubectl.eventually(sizes, /^2Gi 2Gi 2Gi$/);
    const template = '{.spec.volumeClaimTemplates[0].spec.resources.requests.storage} {.status.readyReplicas}';
    const set = ['get', 'sts', 'outbound', '-o', `jsonpath=${template}`, `--namespace=${NAMESPACE}`];
    await server.kubectl.eventually(set, /^2Gi 2$/);
    assert.equal(await podUids(), before);
  });

  it('never shrink a volume', async () => {
    await untilReported(await put({ replicas: 2, queue: queueOf('1Gi') }));
    const template = 'jsonpath={.spec.volumeClaimTemplates[0].spec.resources.requests.storage}';
    assert.equal(await kubectl('get', 'sts', 'outbound', '-o', template), '2Gi');
  });

  describe('that are deleted', () => {
    /** As the controller does: until there is nothing left to do. */
    async function remove(drainTimeoutMs = 600_000): Promise<void> {
      await until('the relay is gone', () => operator.relays.remove(KEY, drainTimeoutMs));
    }
    const deleted = (annotations: Record<string, string> = {}): void => {
      const deletionTimestamp = new Date().toISOString();
      object = { ...object, metadata: { ...object.metadata, deletionTimestamp, annotations } };
    };
    const left = () =>
      kubectl('get', 'sts,svc,pdb,netpol,secret,pod', '-l', 'chasqui.dev/owner-name=outbound', '-o', 'name');

    it('deliver what they hold first, and leave nothing but their volumes and their CA', async () => {
      gate.open = false;
      await send(1, 'last@dest.test');
      deleted();
      assert.equal(await operator.relays.remove(KEY, 600_000), false);
      await until('both drain', async () => {
        await operator.relays.remove(KEY, 600_000);
        return /^Draining(\+mail)? Draining\+mail/.test(operator.states());
      });
      gate.open = true;
      await destination.received(5);
      await remove();
      assert.equal(await left(), 'secret/outbound-ca');
      assert.equal(await drained(), 'spool-outbound-0 spool-outbound-1 spool-outbound-2');
      assert.deepEqual(operator.events, []);
    });

    it('end at once where their owner says so, with an Event for each queue that is left', async () => {
      gate.open = false;
      await untilReported(await put({ replicas: 1 }));
      assert.equal(await drained(), 'spool-outbound-1 spool-outbound-2');
      await send(0, 'kept@dest.test');
      deleted({ 'chasqui.dev/skip-drain': '' });
      await remove();
      assert.equal(await left(), 'secret/outbound-ca');
      assert.deepEqual(
        operator.events.map(({ reason, message }) => [reason, message.split(' ')[1]]),
        [['QueueKept', 'spool-outbound-0']],
      );
    });

    it('have their queue taken up by one of the same name', async () => {
      gate.open = true;
      await untilReported(await put({ replicas: 1 }));
      await destination.received(6);
      assert.deepEqual(destination.messages.at(-1)?.to, ['kept@dest.test']);
    });

    it('are waited for no longer than drainTimeout', async () => {
      gate.open = false;
      await send(0, 'late@dest.test');
      deleted();
      operator.events.length = 0;
      await remove(1_500);
      assert.deepEqual(
        operator.events.map(({ reason }) => reason),
        ['QueueKept'],
      );
    });
  });

  it('whose name is taken by another leave what is there, and say so', async () => {
    await kubectl('create', 'service', 'clusterip', 'outbound', '--tcp=80');
    await put({ replicas: 1 });
    await until('it says so', () => operator.relays.observe(KEY)[0]?.problem?.reason === 'NameTaken');
    const ports = 'jsonpath={.spec.ports[*].port}';
    assert.equal(await kubectl('get', 'service', 'outbound', '-o', ports), '80');
    await kubectl('delete', 'service', 'outbound');
    await put({ replicas: 1 });
    assert.equal(await kubectl('get', 'service', 'outbound', '-o', ports), '25');
    assert.equal(operator.relays.observe(KEY)[0]?.problem, undefined);
  });
});
