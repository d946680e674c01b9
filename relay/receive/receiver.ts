/** Takes mail: a socket for each listener, with what all of them share. */
import type { ConfigSource } from '../config/config.ts';
import type { Router } from '../deliver/deliverer.ts';
import type { Observer } from '../observe/events.ts';
import type { Accepted, Spool } from '../spool/spool.ts';
import { Authenticator } from './authenticator.ts';
import { ServerCertificates } from './certificates.ts';
import { Crowd } from './crowd.ts';
import { Dialogue } from './dialogue.ts';
import { Listener } from './listener.ts';
import type { Quotas } from './quotas.ts';

export interface ReceiverOptions {
  readonly config: ConfigSource;
  readonly spool: Pick<Spool, 'open' | 'health'>;
  readonly observer: Observer;
  readonly quotas: Quotas;
  readonly router: Router;
  /** Whether a domain says that it takes no mail (RFC 7505); asked only where its mail goes to its MX. */
  readonly nullMx: (domain: string) => Promise<boolean>;
  /** Called after each commit, with what is on disk by then. */
  readonly onAccepted: (accepted: Accepted) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Resolves after so many milliseconds; lets the process end before. */
  readonly delay: (ms: number) => Promise<void>;
  readonly ordinal: number;
}

/** after-transaction: a session ends once its transaction is over, or at once where it has none. now: all of them. */
export type Leaving = 'no' | 'after-transaction' | 'now';

/** For the commands that a transaction still needs; a client that waits longer with them is not on its way. */
const TRANSACTION_MS = 2_000;

export interface Receiver {
  /** Transactions that clients have begun: each may still become a message. */
  readonly transactions: number;
  /**
   * @returns the port
   * @throws when the listener is not in the config, or its address is taken
   */
  listen(
    name: string,
    where: { readonly fd: number } | { readonly port: number; readonly host?: string },
  ): Promise<number>;
  /** Takes no more connections until it listens again; sessions go on. */
  retire(): void;
  /** Takes no more connections at a listener that is not wanted any more; its sessions go on. */
  close(name: string): void;
  /** No new sessions, 421 to idle ones; transactions are finished soon, and messages in hand for up to graceMs. */
  stop(graceMs: number): Promise<void>;
}

export function createReceiver(options: ReceiverOptions): Receiver {
  const { config, observer } = options;
  const authenticator = new Authenticator(options.now);
  const crowd = new Crowd();
  const transactions = new Set<object>();
  const listeners = new Map<string, Listener>();
  /** Closed ones that may have sessions still. */
  let closed: readonly Listener[] = [];
  let leaving: Leaving = 'no';
  let certificates = new ServerCertificates(config.current());

  const unsubscribe = config.onChange((current) => {
    if (!certificates.serves(current)) certificates = new ServerCertificates(current);
    for (const [name, listener] of listeners) {
      const settings = current.settings.listeners.find((candidate) => candidate.name === name);
      // One that is gone from the config may go on until the process is replaced; of proxies nothing is known any more.
      listener.configure(certificates, current.settings.limits, settings?.proxyNetworks ?? []);
    }
    for (const listener of closed) listener.configure(certificates, current.settings.limits, []);
  });

  return {
    get transactions() {
      return transactions.size;
    },

    async listen(name, where) {
      const current = config.current();
      const settings = current.settings.listeners.find((candidate) => candidate.name === name);
      if (settings === undefined) throw new Error(`listener ${name} is not in the config`);
      const known = listeners.get(name);
      if (known) return await known.open(where);
      const listener = new Listener({
        implicitTls: settings.protocol === 'Submissions',
        certificates,
        limits: current.settings.limits,
        proxyNetworks: settings.proxyNetworks ?? [],
        converse: (channel) =>
          new Dialogue(
            { ...options, listener: name, authenticator, crowd, transactions, leaving: () => leaving },
            channel,
          ),
        onProblem: (problem) => observer.log('info', 'no session', { listener: name, problem }),
      });
      const port = await listener.open(where);
      listeners.set(name, listener);
      return port;
    },

    retire() {
      for (const listener of listeners.values()) listener.retire();
    },

    close(name) {
      const listener = listeners.get(name);
      if (!listener) return;
      listeners.delete(name);
      listener.retire();
      closed = [...closed, listener].filter(({ isEmpty }) => !isEmpty);
    },

    async stop(graceMs) {
      leaving = 'after-transaction';
      unsubscribe();
      const all = [...listeners.values(), ...closed];
      const soon = setTimeout(() => {
        leaving = 'now';
        for (const listener of all) listener.leave();
      }, TRANSACTION_MS);
      const late = setTimeout(() => {
        for (const listener of all) listener.cut();
      }, graceMs);
      await Promise.all(all.map((listener) => listener.stop()));
      clearTimeout(soon);
      clearTimeout(late);
    },
  };
}
