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
import * as manifests from '../../../test/harness/manifests.ts';
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

describe('relays in a cluster', () => {
  let server: ApiServer;
  let client: Client;
  let connection: Awaited<ReturnType<typeof connect>>;
  let node: PlayedNode;
  let operator: Operator;
  let object: SmtpRelay;
  let groupOf: (spec: Partial<SmtpRelaySpec>) => RelayGroup;
  const kubectl = (...words: string[]) => server.kubectl.run(...words, `--namespace=${NAMESPACE}`);

  before(async () => {
    server = await ApiServer.start({ controllers: true });
    connection = await connect(server.kubeconfig);
    client = new Client({ connection, userAgent: 'test', writeTimeoutMs: 10_000, mayWrite: () => undefined });
    await server.kubectl.apply({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: NAMESPACE, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
    });
    node = await PlayedNode.start(server, client, 1);
    const now = Date.now();
    const ca = await makeCA('Test', now);
    const names = [SERVER_NAME, ...[0, 1, 2, 3].map((ordinal) => node.addressOf(ordinal))];
    const { certificate: chain, key } = await makeServerCertificate(ca, names, now);
    groupOf = (spec) => {
      object = manifests.relay('outbound', spec, { namespace: NAMESPACE });
      return relayGroup({
        ...{ relay: object, certificate: { chain, key }, domains: [], users: [], bindPort },
        peers: { host: node.place, port: 9466, ca: ca.certificate },
      });
    };
    const group = groupOf({});
    await client.create(SECRET, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { namespace: NAMESPACE, name: 'outbound-ca', labels: { ...childLabels(group) } },
      data: { 'ca.crt': Buffer.from(ca.certificate).toString('base64') },
    });
    operator = await new Operator(client, () => object).start();
  });
  after(async () => {
    await operator?.stop();
    await node?.[Symbol.asyncDispose]();
    await connection?.close();
    await server?.[Symbol.asyncDispose]();
  });

  it('become pods that are ready and report the config that was applied', async () => {
    const group = groupOf({ replicas: 2 });
    await operator.relays.apply(group);
    await operator.untilStates('Ready Ready');
    await until('both report it', () =>
      operator.relays.observe(KEY).every(({ configHash }) => configHash === group.configHash),
    );
    const made = await kubectl('get', 'sts,svc,pdb,netpol,sa', '-l', 'chasqui.dev/owner-name=outbound', '-o', 'name');
    assert.deepEqual(made.trim().split('\n').sort(), [
      'networkpolicy.networking.k8s.io/outbound',
      'poddisruptionbudget.policy/outbound',
      'service/outbound',
      'service/outbound-pods',
      'serviceaccount/outbound',
      'statefulset.apps/outbound',
    ]);
  });
});
