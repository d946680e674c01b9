/** Clients in pods that send mail to relays and never try anything again, and the destination where it arrives. */
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import type { Kubectl } from './kubectl.ts';
import { PROBE_IMAGE } from './node/images.ts';

/** Longer than what is under way takes to arrive on a busy machine. */
const WAIT_MS = 60_000;

/** Sends one message after the other, each in a session of its own, until it is told to end. */
const CLIENT = `
  const { connect } = require('node:net');
  const { HOSTNAME: name, RELAY: relay, PAUSE_MS: pauseMs } = process.env;
  let number = 0, ending = false;
  process.on('SIGTERM', () => { ending = true; });
  const send = (id) => new Promise((resolve, reject) => {
    const lines = ['EHLO client.test', 'MAIL FROM:<app@example.test>', 'RCPT TO:<' + id + '@dest.test>', 'DATA',
      'From: app@example.test\\r\\nSubject: ' + id + '\\r\\n\\r\\nHello\\r\\n.', 'QUIT'];
    const expected = ['220', '250', '250', '250', '354', '250', '221'];
    let step = 0, text = '';
    const socket = connect(25, relay);
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
      const id = name + '-' + number++;
      await send(id).then(() => console.log('taken ' + id), (error) => console.log('FAILED ' + id + ': ' + error.message));
      await new Promise((resolve) => setTimeout(resolve, Number(pauseMs)));
    }
    console.log('ended');
    setInterval(() => {}, 1e6);
  })();
`;

const RESTRICTED = {
  pod: { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: 'RuntimeDefault' } },
  container: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
};

export interface LoadOptions {
  readonly namespace: string;
  /** The relay that a client sends to, by the client's name. */
  readonly clients: Readonly<Record<string, string>>;
  /** Between two messages of a client. */
  readonly pauseMs?: number;
}

/** Clients that send from example.test to dest.test. */
export class Load {
  readonly #kubectl: Kubectl;
  readonly #namespace: string;
  readonly #clients: readonly string[];

  private constructor(kubectl: Kubectl, namespace: string, clients: readonly string[]) {
    this.#kubectl = kubectl;
    this.#namespace = namespace;
    this.#clients = clients;
  }

  /** Resolves once a message of each client was taken. */
  static async begin(kubectl: Kubectl, { namespace, clients, pauseMs = 20 }: LoadOptions): Promise<Load> {
    const pods = Object.entries(clients).map(([name, relay]) => clientPod(namespace, name, { relay, pauseMs }));
    await kubectl.apply(...pods);
    const load = new Load(kubectl, namespace, Object.keys(clients));
    for (const name of load.#clients) {
      await kubectl.eventually(['logs', name, `--namespace=${namespace}`], /^taken/m);
    }
    return load;
  }

  /** How many messages were taken so far. */
  async taken(): Promise<number> {
    let count = 0;
    for (const name of this.#clients) count += idsIn(await this.#log(name)).length;
    return count;
  }

  /**
   * Ends the clients: none of them was refused or cut off, ever.
   *
   * @returns the subject of each message that was taken
   */
  async end(): Promise<readonly string[]> {
    const taken: string[] = [];
    for (const name of this.#clients) {
      const inside = [`--namespace=${this.#namespace}`, name];
      await this.#kubectl.run('exec', ...inside, '--', '/usr/bin/node', '-e', 'process.kill(1, "SIGTERM")');
      await this.#kubectl.eventually(['logs', ...inside], /^ended$/m);
      const log = await this.#log(name);
      assert.deepEqual(log.match(/^FAILED.*/gm), null);
      taken.push(...idsIn(log));
    }
    return taken;
  }

  #log(name: string): Promise<string> {
    return this.#kubectl.run('logs', name, `--namespace=${this.#namespace}`, '--tail=-1');
  }
}

const idsIn = (log: string): string[] => [...log.matchAll(/^taken (.*)$/gm)].map(([, id = '']) => id);

const clientPod = (namespace: string, name: string, { relay, pauseMs }: { relay: string; pauseMs: number }) => ({
  ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace } },
  spec: {
    securityContext: RESTRICTED.pod,
    terminationGracePeriodSeconds: 1,
    containers: [
      {
        ...{ name: 'client', image: PROBE_IMAGE, imagePullPolicy: 'Never', securityContext: RESTRICTED.container },
        args: ['-e', CLIENT],
        env: Object.entries({ RELAY: relay, PAUSE_MS: String(pauseMs) }).map(([key, value]) => ({ name: key, value })),
      },
    ],
  },
});

/** Where mail is sent to: nobody answers there until the pod is made. */
export const destinationService = (namespace: string, name = 'destination'): object => ({
  ...{ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace } },
  spec: { selector: { app: name }, ports: [{ port: 2525 }] },
});

/** @param image of this project, which has `chasqui sink` */
export const destinationPod = (namespace: string, image: string, name = 'destination'): object => ({
  ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace, labels: { app: name } } },
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
});

/** Resolves once exactly these have arrived: none is missing, and none came twice. */
export async function allArrived(
  kubectl: Kubectl,
  namespace: string,
  subjects: readonly string[],
  name = 'destination',
): Promise<void> {
  const arrived = async (): Promise<string[]> =>
    (await kubectl.run('logs', name, `--namespace=${namespace}`, '--tail=-1'))
      .split('\n')
      .flatMap((line): string[] => (line === '' ? [] : [JSON.parse(line).subject]));
  for (const end = Date.now() + WAIT_MS; (await arrived()).length < subjects.length; await pause(500)) {
    assert.ok(Date.now() < end, `${subjects.length} were taken, and ${(await arrived()).length} arrived`);
  }
  assert.deepEqual((await arrived()).sort(), subjects.toSorted());
}

const smarthost = (namespace: string, name: string): object => ({
  ...{ host: `${name}.${namespace}.svc`, port: 2525, tls: { mode: 'Disabled' } },
});

export interface OpenRelayOptions {
  readonly replicas: number;
  /** Names of the Services that mail of some domains goes to; all other mail goes to `destination`. */
  readonly routes?: Readonly<Record<string, string>>;
}

/** An SmtpRelay that takes mail in clear from pods and through kubectl, and tries every two seconds. */
export const openRelay = (namespace: string, name: string, { replicas, routes = {} }: OpenRelayOptions): object => ({
  ...{ apiVersion: 'chasqui.dev/v1alpha1', kind: 'SmtpRelay', metadata: { name, namespace } },
  spec: {
    ...{ hostname: 'relay.example.test', replicas, queue: { storage: { size: '1Gi' } } },
    listeners: [
      {
        ...{ name: 'smtp', protocol: 'Submission', port: 25, tls: 'Optional' },
        // Connections through kubectl come from the pod itself.
        auth: { exemptNetworks: ['10.0.0.0/8', '127.0.0.0/8'] },
      },
    ],
    delivery: {
      routes: Object.entries({ ...routes, '*': 'destination' }).map(([domain, to]) => ({
        match: { domains: [domain] },
        smarthosts: [smarthost(namespace, to)],
      })),
      retry: { schedule: ['2s'] },
    },
  },
});

/** A MailDomain of relays that signs at once. */
export const mailDomain = (namespace: string, name: string, domain: string, relays: readonly string[]): object => ({
  ...{ apiVersion: 'chasqui.dev/v1alpha1', kind: 'MailDomain', metadata: { name, namespace } },
  spec: { domain, relayRefs: relays.map((relay) => ({ name: relay })), dns: { verification: 'Disabled' } },
});
