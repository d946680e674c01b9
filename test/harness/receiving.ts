/** The receiving half of a relay for tests: real sockets, a real spool in a temporary folder, and what it saw. */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RelayConfig } from '../../relay/config/config.ts';
import type { DomainDocument, ListenerSettings, UserDocument } from '../../relay/config/documents.ts';
import { createRouter } from '../../relay/deliver/router.ts';
import type { MessageEvent, SessionEvent } from '../../relay/observe/events.ts';
import { Quotas } from '../../relay/receive/quotas.ts';
import { createReceiver, type Receiver } from '../../relay/receive/receiver.ts';
import { openSpool } from '../../relay/spool/open.ts';
import type { Accepted, Spool } from '../../relay/spool/spool.ts';
import { SELF_SIGNED } from './certificate.ts';
import { SmtpClient } from './smtp-client.ts';

export const PASSWORD = 'correct horse';

/** SCRAM-SHA-256 (RFC 5802 3). */
export function verifierOf(password: string, iterations = 4_096): UserDocument['verifier'] {
  const salt = randomBytes(16);
  const salted = pbkdf2Sync(password.normalize('NFKC'), salt, iterations, 32, 'sha256');
  const hmac = (text: string) => createHmac('sha256', salted).update(text).digest();
  return {
    salt: salt.toString('base64'),
    iterations,
    storedKey: createHash('sha256').update(hmac('Client Key')).digest('base64'),
    serverKey: hmac('Server Key').toString('base64'),
  };
}

const listener = (name: string, more: Partial<ListenerSettings> = {}): ListenerSettings => ({
  name,
  protocol: 'Submission',
  port: 587,
  tls: 'Required',
  exemptNetworks: [],
  ...more,
});

const domain = (name: string, dkim: DomainDocument['dkim'] = { sign: false, keys: [] }): [string, DomainDocument] => [
  name,
  { name: `default/${name}`, domain: name, dkim },
];

const user = (username: string, senders: readonly string[]): [string, UserDocument] => [
  username,
  { username, senders: [...senders], verifier: verifierOf(PASSWORD) },
];

/**
 * Listeners `submission`, `submissions`, and `local`, which exempts 127.0.0.1; domains example.test, signed.test, and
 * keyless.test, which has no key yet; the user app.default with all addresses of these domains and `only@other.test`.
 */
export const CONFIG: RelayConfig = {
  hash: 'first',
  replicas: 1,
  settings: {
    relay: { namespace: 'default', name: 'outbound' },
    hostname: 'relay.example.test',
    listeners: [
      listener('submission'),
      listener('submissions', { protocol: 'Submissions', port: 465 }),
      listener('local', { tls: 'Optional', port: 2525, exemptNetworks: ['127.0.0.1/32'] }),
    ],
    tls: { minVersion: 'TLSv1.2' },
    delivery: {
      routes: [
        { domains: ['*.routed.test', 'routed.test'], smarthosts: [{ host: '127.0.0.1', port: 2627, tls: 'Disabled' }] },
      ],
      direct: { resolvers: [], port: 25 },
      retry: { scheduleMs: [1000], expireAfterMs: 60_000 },
    },
    limits: { messageSizeBytes: 100_000, recipients: 5, idleTimeoutMs: 60_000 },
    monitoring: { port: 9465 },
  },
  certificates: { default: { chain: SELF_SIGNED.cert, key: SELF_SIGNED.key } },
  domains: new Map([
    domain('example.test'),
    domain('signed.test', { sign: true, keys: [{ selector: 's', algorithm: 'Ed25519', privateKey: 'x' }] }),
    domain('keyless.test', { sign: true, keys: [] }),
  ]),
  users: new Map([
    user('app.default', [
      '*@example.test',
      '*@signed.test',
      '*@keyless.test',
      'only@other.test',
      '*@xn--mller-kva.test',
    ]),
  ]),
  rejected: [],
};

export class Receiving implements AsyncDisposable {
  readonly sessionEvents: SessionEvent[] = [];
  readonly messageEvents: MessageEvent[] = [];
  readonly accepted: Accepted[] = [];
  readonly log: string[] = [];
  /** What clients had to wait; they do not have to here. */
  readonly delaysMs: number[] = [];
  /** The time, once a test sets it. */
  nowMs: number | undefined;
  /** What fails, once a test sets it. */
  fault: 'observer' | 'onAccepted' | undefined;
  readonly #folder: string;
  readonly #spool: Spool;
  readonly #receiver: Receiver;
  readonly #listeners = new Set<(config: RelayConfig) => void>();
  readonly #ports = new Map<string, number>();
  #config: RelayConfig;
  #stopped = false;

  private constructor(folder: string, spool: Spool, config: RelayConfig, wrapped: Pick<Spool, 'open'>) {
    this.#folder = folder;
    this.#spool = spool;
    this.#config = config;
    const source = {
      current: () => this.#config,
      onChange: (changed: (config: RelayConfig) => void) => {
        this.#listeners.add(changed);
        return () => this.#listeners.delete(changed);
      },
    };
    this.#receiver = createReceiver({
      config: source,
      spool: { open: () => wrapped.open(), health: () => spool.health() },
      observer: {
        message: (event) => {
          this.#failAt('observer');
          this.messageEvents.push(event);
        },
        session: (event) => this.sessionEvents.push(event),
        host: () => undefined,
        log: (level, message, fields) => this.log.push(`${level} ${message} ${JSON.stringify(fields)}`),
      },
      quotas: new Quotas([], 0, () => this.nowMs ?? Date.now()),
      router: createRouter(source),
      nullMx: async (name) => name === 'null-mx.test',
      onAccepted: (message) => {
        this.#failAt('onAccepted');
        this.accepted.push(message);
      },
      now: () => this.nowMs ?? Date.now(),
      delay: async (ms) => {
        this.delaysMs.push(ms);
      },
      ordinal: 0,
    });
  }

  /** @param wrap stands between receiver and spool, for spools that fail or take their time */
  static async start(config: RelayConfig = CONFIG, wrap: (spool: Spool) => Pick<Spool, 'open'> = (spool) => spool) {
    const folder = await mkdtemp(join(tmpdir(), 'receiving-'));
    const spool = await openSpool({
      folder,
      lockWaitMs: 0,
      log: () => {},
      onFatal: (error) => {
        throw error;
      },
      now: Date.now,
    });
    const receiving = new Receiving(folder, spool, config, wrap(spool));
    for (const { name } of config.settings.listeners) {
      receiving.#ports.set(name, await receiving.#receiver.listen(name, { port: 0, host: '127.0.0.1' }));
    }
    return receiving;
  }

  get spool(): Spool {
    return this.#spool;
  }

  /** Of the spool. */
  get folder(): string {
    return this.#folder;
  }

  get config(): RelayConfig {
    return this.#config;
  }

  port(name: string): number {
    return this.#ports.get(name) ?? 0;
  }

  /** A session that has said EHLO; on the listeners that need it under TLS and authenticated. */
  async session(name = 'submission'): Promise<SmtpClient> {
    const client = await SmtpClient.connect(this.port(name), { implicitTls: name === 'submissions' });
    if (name === 'submission') await client.startTls();
    else await client.talk(['EHLO client.test', '250-']);
    if (name !== 'local') await client.authenticate('app.default', PASSWORD);
    return client;
  }

  change(change: Partial<RelayConfig>): void {
    this.#config = { ...this.#config, ...change };
    for (const changed of this.#listeners) changed(this.#config);
  }

  limits(limits: Partial<RelayConfig['settings']['limits']>): void {
    const { settings } = this.#config;
    this.change({ settings: { ...settings, limits: { ...settings.limits, ...limits } } });
  }

  /** Content of the nth message taken. */
  content(index = this.accepted.length - 1): string {
    const data = this.accepted[index]?.content.data;
    if (!Buffer.isBuffer(data)) throw new Error('no such message, or not in memory');
    return data.toString('latin1');
  }

  rejections(): readonly string[] {
    return this.sessionEvents.flatMap((event) =>
      event.event === 'rejected' ? [`${event.stage} ${event.reason} ${event.reply.slice(0, 10).trim()}`] : [],
    );
  }

  #failAt(step: 'observer' | 'onAccepted'): void {
    if (this.fault === step) throw new TypeError('a bug');
  }

  async stop(graceMs = 5_000): Promise<void> {
    this.#stopped = true;
    await this.#receiver.stop(graceMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#stopped) await this.stop(0);
    await this.#spool.close();
    await rm(this.#folder, { recursive: true });
  }
}
