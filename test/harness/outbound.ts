/**
 * The setup that most tests of the whole path share: a running `chasqui standalone` with the relay `outbound`, the
 * domain example.test, signed with both keys, and the user `app`, who may send as it.
 *
 * ```ts
 * await using destination = await Destination.start();
 * await using outbound = await Outbound.start({ delivery: { routes: [routeTo(destination.port)] } });
 * const queueId = await outbound.send({ to: ['ada@example.org'] });
 * await outbound.event('delivered', queueId);
 * ```
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createTransport } from 'nodemailer';
import { CHASQUI } from './program.ts';
import { freePorts, type LogLine, Standalone } from './standalone.ts';

export interface RelayWish {
  /** As in SmtpRelay. */
  readonly delivery: object;
  readonly replicas?: number;
  /** SmtpRelay `starttls` beside it, whose only listener is a Submission, and its user `starttls`. */
  readonly starttls?: boolean;
}

export interface Letter {
  /** Default: user@example.test. */
  readonly from?: string;
  /** Envelope sender where it is another one; '' is the null sender. */
  readonly envelopeFrom?: string;
  readonly to: readonly string[];
  readonly subject?: string;
}

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A route for everything, or for one domain, to a destination on this machine. */
export const routeTo = (port: number, domain = '*'): object => ({
  match: { domains: [domain] },
  smarthosts: [{ host: '127.0.0.1', port, tls: { mode: 'Disabled' } }],
});

export class Outbound implements AsyncDisposable {
  readonly standalone: Standalone;
  /** Ports of `outbound`; `local` takes mail of this machine without AUTH. */
  readonly ports: { readonly submission: number; readonly local: number; readonly monitoring: readonly number[] };

  private constructor(standalone: Standalone, ports: Outbound['ports']) {
    this.standalone = standalone;
    this.ports = ports;
  }

  /** Resolves when all of it is ready. */
  static async start({ delivery, replicas = 1, starttls = false }: RelayWish): Promise<Outbound> {
    const [submissions = 0, submission = 0, local = 0, other = 0, ...monitoring] = await freePorts(5 + replicas);
    const [first = 0] = monitoring;
    const relays = [
      relay('outbound', {
        replicas,
        delivery,
        monitoring: { port: first },
        listeners: [
          { name: 'submission', protocol: 'Submission', port: submission },
          { name: 'submissions', protocol: 'Submissions', port: submissions },
          {
            name: 'local',
            protocol: 'Submission',
            port: local,
            tls: 'Optional',
            auth: { exemptNetworks: ['127.0.0.0/8'] },
          },
        ],
      }),
      ...(starttls
        ? [
            relay('starttls', {
              delivery,
              monitoring: { port: first + replicas },
              listeners: [{ name: 'submission', protocol: 'Submission', port: other }],
            }),
          ]
        : []),
    ];
    const users = [user('app', 'outbound'), ...(starttls ? [user('starttls', 'starttls')] : [])];
    const domain = mailDomain(relays.map(({ metadata }) => metadata));
    const objects = [...relays, domain, ...users];
    // JSON is YAML.
    const standalone = await Standalone.start({
      'all.yaml': objects.map((manifest) => JSON.stringify(manifest, undefined, 2)).join('\n---\n'),
    });
    try {
      for (const { kind, metadata } of objects) await standalone.untilReady(`${kind}/default/${metadata.name}`);
    } catch (error) {
      await standalone[Symbol.asyncDispose]();
      throw error;
    }
    return new Outbound(standalone, { submission, local, monitoring: monitoring.slice(0, replicas) });
  }

  /** Folder of the credential Secret of a user: all that a client gets. */
  credential(name: 'app' | 'starttls' = 'app'): string {
    return join(this.standalone.state, 'secrets/default', `${name}-smtp`);
  }

  /** Text of a key of a Secret in the namespace default. */
  secret(name: string, key: string): string {
    return readFileSync(join(this.standalone.state, 'secrets/default', name, key), 'utf8');
  }

  /** Sends a short letter as the user `app`, over TLS. Resolves with its queue id; rejects with what the relay said. */
  async send({ from = 'user@example.test', envelopeFrom = from, to, subject = 'Hello' }: Letter): Promise<string> {
    const secret = (key: string): string => this.secret('app-smtp', key);
    const transport = createTransport({
      host: secret('host'),
      port: Number(secret('port')),
      secure: true,
      auth: { user: secret('username'), pass: secret('password') },
      tls: { ca: secret('ca.crt') },
    });
    const envelope = { from: envelopeFrom, to: [...to] };
    try {
      // No To field: a UTF-8 address in the header would make the message need SMTPUTF8 for all recipients.
      const { response } = await transport.sendMail({ envelope, from, subject, text: 'Hello.\n' });
      return queueIdIn(response);
    } finally {
      transport.close();
    }
  }

  /** The zone as `chasqui dns` prints it. */
  async zone(): Promise<string> {
    const { code, stdout, stderr } = await this.chasqui('dns', 'example.test', '-o', 'zone');
    if (code !== 0) throw new Error(`chasqui dns failed: ${stderr}`);
    return stdout;
  }

  chasqui(...words: readonly string[]): Promise<Ended> {
    return new Promise((resolve) => {
      const env = { ...process.env, CHASQUI_STATE: this.standalone.state };
      const child = execFile(CHASQUI, words, { env }, (_, stdout, stderr) =>
        resolve({ code: child.exitCode ?? -1, stdout, stderr }),
      );
    });
  }

  /** Lines of the log about a message. */
  history(queueId: string): readonly LogLine[] {
    return this.standalone.lines.filter((line) => line.queueId === queueId);
  }

  /** The first line of the log that tells this of the message, where it comes to it of this recipient. */
  async event(event: string, queueId: string, recipient?: string): Promise<LogLine> {
    const find = () =>
      this.history(queueId).find(
        (line) => line.event === event && (recipient === undefined || line.recipient === recipient),
      );
    await this.standalone.until(`${event} of ${queueId} ${recipient ?? ''}`, () => find() !== undefined);
    return find() ?? {};
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.standalone[Symbol.asyncDispose]();
  }
}

/** The id in `250 2.6.0 queued as ID`. */
export function queueIdIn(reply: string): string {
  const id = /^250 2\.6\.0 queued as (\w+)/m.exec(reply)?.[1];
  if (id === undefined) throw new Error(`no queue id in ${JSON.stringify(reply)}`);
  return id;
}

const apiVersion = 'chasqui.dev/v1alpha1';

const relay = (name: string, spec: object) => ({
  apiVersion,
  kind: 'SmtpRelay',
  metadata: { name },
  spec: {
    hostname: 'relay.example.test',
    tls: { certificate: { ownCA: {} } },
    egress: { addresses: ['192.0.2.10'] },
    ...spec,
  },
});

const mailDomain = (relayRefs: readonly { readonly name: string }[]) => ({
  apiVersion,
  kind: 'MailDomain',
  metadata: { name: 'example-test' },
  spec: {
    domain: 'example.test',
    relayRefs,
    dkim: { algorithms: ['RSA2048', 'Ed25519'] },
    spf: { all: 'Fail' },
    dns: { publisher: 'Manual', verification: 'Disabled' },
  },
});

const user = (name: string, relayName: string) => ({
  apiVersion,
  kind: 'SmtpUser',
  metadata: { name },
  spec: { relayRef: { name: relayName }, senders: ['*@example.test'], secret: { name: `${name}-smtp` } },
});
