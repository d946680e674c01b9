/**
 * Many domains and users on one relay: what it takes until all are Ready, what is asked of the API server at rest, how
 * soon an edit is in force in every pod, and what a restart of the operator writes.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { Client } from '../../operator/backends/kubernetes/client.ts';
import { type Connection, connect } from '../../operator/backends/kubernetes/connection.ts';
import { ApiServer } from '../cluster/api-server.ts';
import type { AuditEvent } from '../cluster/audit.ts';
import { OperatorProcess } from '../cluster/operator-process.ts';
import { PlayedNode } from '../cluster/played-node.ts';
import { Destination } from '../harness/destination.ts';
import { SmtpClient } from '../harness/smtp-client.ts';

const NAMESPACE = 'mail';
const REPLICAS = 2;
const WRITES = new Set(['create', 'update', 'patch', 'delete']);
/** Objects in one call of kubectl. */
const BATCH = 100;
const LOOK_MS = 500;
/** No write for so long: it has come to rest. Events that come again are gathered for 10 s before they are written. */
const QUIET_MS = 12_000;

const manifest = (kind: string, name: string, spec: object): object => ({
  ...{ apiVersion: 'chasqui.dev/v1alpha1', kind, metadata: { name, namespace: NAMESPACE } },
  spec,
});

interface Listed {
  readonly items: readonly {
    readonly metadata: { readonly name: string };
    readonly data?: Readonly<Record<string, string>>;
    readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
  }[];
}

export class Many implements AsyncDisposable {
  readonly #api: ApiServer;
  readonly #connection: Connection;
  readonly #node: PlayedNode;
  readonly #destination: Destination;
  readonly #count: number;
  #operator: OperatorProcess;

  private constructor(
    api: ApiServer,
    connection: Connection,
    node: PlayedNode,
    destination: Destination,
    count: number,
    operator: OperatorProcess,
  ) {
    this.#api = api;
    this.#connection = connection;
    this.#node = node;
    this.#destination = destination;
    this.#count = count;
    this.#operator = operator;
  }

  /**
   * A relay that is Ready, and nothing else yet.
   * @param count domains, and users
   * @param network see PlayedNode
   */
  static async start(count: number, network: number): Promise<Many> {
    const api = await ApiServer.start({ audit: true, controllers: true });
    await api.applyCrds();
    await api.kubectl.run('create', 'namespace', NAMESPACE);
    const connection = await connect(api.kubeconfig);
    const client = new Client({ connection, userAgent: 'node', writeTimeoutMs: 10_000, mayWrite: () => undefined });
    const node = await PlayedNode.start(api, client, network);
    const destination = await Destination.start();
    const operator = await OperatorProcess.start(api.kubeconfig);
    await operator.untilReady();
    await api.kubectl.apply(
      manifest('SmtpRelay', 'outbound', {
        hostname: 'relay.example.test',
        replicas: REPLICAS,
        listeners: [
          { name: 'submission', protocol: 'Submission', port: 587 },
          {
            name: 'smtp',
            protocol: 'Submission',
            port: 25,
            tls: 'Optional',
            auth: { exemptNetworks: ['127.0.0.0/8'] },
          },
        ],
        egress: { addresses: ['192.0.2.10'] },
        delivery: {
          routes: [
            {
              match: { domains: ['*'] },
              smarthosts: [{ host: '127.0.0.1', port: destination.port, tls: { mode: 'Disabled' } }],
            },
          ],
        },
      }),
    );
    await api.kubectl.run('wait', '--for=condition=Ready', 'smtprelay/outbound', `-n${NAMESPACE}`, '--timeout=90s');
    return new Many(api, connection, node, destination, count, operator);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#operator[Symbol.asyncDispose]();
    await this.#node[Symbol.asyncDispose]();
    await this.#destination[Symbol.asyncDispose]();
    await this.#connection.close();
    await this.#api[Symbol.asyncDispose]();
  }

  /** Applies all of them; resolves once each is Ready. */
  async become(): Promise<{ readonly appliedMs: number; readonly readyMs: number }> {
    const began = performance.now();
    for (let first = 0; first < this.#count; first += BATCH) {
      const numbers = Array.from({ length: Math.min(BATCH, this.#count - first) }, (_, index) => first + index);
      await this.#api.kubectl.apply(
        ...numbers.flatMap((number) => [
          manifest('MailDomain', `d${number}`, {
            domain: `d${number}.test`,
            relayRefs: [{ name: 'outbound' }],
            dns: { verification: 'Disabled' },
          }),
          manifest('SmtpUser', `u${number}`, { relayRef: { name: 'outbound' }, senders: [`*@d${number}.test`] }),
        ]),
      );
    }
    const appliedMs = performance.now() - began;
    const deadline = performance.now() + 60_000 + this.#count * 1_000;
    for (let ready = 0; ready < 2 * this.#count; await pause(LOOK_MS)) {
      assert.ok(performance.now() < deadline, `${ready} of ${2 * this.#count} are Ready`);
      ready = await this.#ready();
    }
    return { appliedMs, readyMs: performance.now() - began };
  }

  async #ready(): Promise<number> {
    const { items } = (await this.#api.kubectl.json('get', 'maildomains,smtpusers', `-n${NAMESPACE}`)) as Listed;
    return items.filter(({ status }) =>
      status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True'),
    ).length;
  }

  /** What the operator asked of the API server so far, the longest lists of it first: `patch maildomains/status`. */
  async requests(since = 0): Promise<ReadonlyMap<string, number>> {
    const counts = new Map<string, number>();
    for (const { verb, objectRef } of (await this.#asked()).slice(since)) {
      const { resource = '', subresource } = objectRef ?? {};
      const what = `${verb} ${resource}${subresource === undefined ? '' : `/${subresource}`}`;
      counts.set(what, (counts.get(what) ?? 0) + 1);
    }
    return new Map([...counts].sort(([, a], [, b]) => b - a));
  }

  async #asked(): Promise<readonly AuditEvent[]> {
    const { userAgent } = this.#operator;
    const events = await this.#api.audit();
    return events.filter(
      (event) => event.userAgent === userAgent && (event.verb !== 'watch' || event.stage === 'ResponseStarted'),
    );
  }

  /** Resolves once nothing was written for a while but the lease; with how much was asked until then. */
  async rest(): Promise<number> {
    let before = -1;
    for (;;) {
      const asked = await this.#asked();
      const writes = asked.filter(({ verb, objectRef }) => WRITES.has(verb) && objectRef?.resource !== 'leases').length;
      if (writes === before) return asked.length;
      before = writes;
      await pause(QUIET_MS);
    }
  }

  /** Bytes of the Secrets that pods read, by name. */
  async shards(): Promise<ReadonlyMap<string, number>> {
    const label = '--selector=chasqui.dev/purpose=config';
    const { items } = (await this.#api.kubectl.json('get', 'secrets', `-n${NAMESPACE}`, label)) as Listed;
    return new Map(
      items.map(({ metadata: { name }, data = {} }) => [
        name,
        Object.values(data).reduce((bytes, value) => bytes + Buffer.byteLength(value, 'base64'), 0),
      ]),
    );
  }

  /** Peak of the operator's resident set, MiB. */
  peakMiB(): number {
    const status = readFileSync(`/proc/${this.#operator.pid}/status`, 'utf8');
    return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1]) / 1024;
  }

  /** CPU time of the operator, s. */
  cpuSeconds(): number {
    const fields = readFileSync(`/proc/${this.#operator.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  /**
   * Takes one algorithm off a domain; resolves once every pod signs by the other alone, with the time from the edit until
   * the first message of each pod that is signed so was taken, ms.
   */
  async edit(number: number): Promise<number> {
    const patch = '--patch={"spec":{"dkim":{"algorithms":["RSA2048"]}}}';
    assert.equal(await this.#signatures(0, number), 2);
    const began = performance.now();
    await this.#api.kubectl.run('patch', 'maildomain', `d${number}`, `-n${NAMESPACE}`, '--type=merge', patch);
    for (let ordinal = 0; ordinal < REPLICAS; ordinal += 1) {
      while ((await this.#signatures(ordinal, number)) !== 1) {
        assert.ok(performance.now() - began < 60_000, `replica ${ordinal} still signs by both`);
      }
    }
    return performance.now() - began;
  }

  /** Of a message that this replica takes now. */
  async #signatures(ordinal: number, number: number): Promise<number> {
    await using client = await SmtpClient.connect(10_025, { host: this.#node.addressOf(ordinal) });
    const sent = this.#destination.messages.length;
    await client.talk(
      ['EHLO client.test', '250'],
      [`MAIL FROM:<app@d${number}.test>`, '250'],
      ['RCPT TO:<someone@dest.test>', '250'],
      ['DATA', '354'],
    );
    assert.match(await client.content(`From: app@d${number}.test\r\n\r\nHello\r\n`), /^250 /);
    await this.#destination.until(() => this.#destination.messages.length > sent);
    const text = this.#destination.messages[sent]?.data.toString() ?? '';
    return text.match(/^DKIM-Signature:/gm)?.length ?? 0;
  }

  /** Starts the operator anew; what it wrote until it came to rest, but its lease. */
  async restart(): Promise<readonly string[]> {
    await this.#operator.stop();
    this.#operator = await OperatorProcess.start(this.#api.kubeconfig);
    await this.#operator.untilSays('this process leads');
    await this.#operator.until('it has looked at all', async () => {
      const done = await Promise.all(
        ['maildomain', 'smtpuser'].map((kind) =>
          this.#operator.metric(`controller_runtime_reconcile_total{controller="${kind}",result="success"}`),
        ),
      );
      return done.every((times) => (times ?? 0) >= this.#count);
    });
    await this.rest();
    return (await this.#asked())
      .filter(({ verb, objectRef }) => WRITES.has(verb) && objectRef?.resource !== 'leases')
      .map(({ verb, requestURI }) => `${verb} ${requestURI}`);
  }
}
