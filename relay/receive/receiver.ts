/** Takes mail: a socket for each listener, with what all of them share. */
import type { ConfigSource, RelayConfig } from '../config/config.ts';
import type { Router } from '../deliver/deliverer.ts';
import type { Observer } from '../observe/events.ts';
import type { Accepted, Spool } from '../spool/spool.ts';
import { Authenticator } from './authenticator.ts';
import { ServerCertificates } from './certificates.ts';
import { Crowd } from './crowd.ts';
import { Dialogue } from './dialogue.ts';
import { Listener, type ListenerSettings } from './listener.ts';
import type { Quotas } from './quotas.ts';
import type { Where } from './sockets.ts';

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
  listen(name: string, where: Where): Promise<number>;
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

  const settingsOf = ({ settings: { limits, listeners: all } }: RelayConfig, name: string): ListenerSettings => {
    const settings = all.find((candidate) => candidate.name === name);
    if (settings === undefined) throw new Error(`listener ${name} is not in the config`);
    const { protocol, proxyNetworks = [] } = settings;
    return { implicitTls: protocol === 'Submissions', certificates, limits, proxyNetworks };
  };

  const unsubscribe = config.onChange((current) => {
    if (!certificates.serves(current)) certificates = new ServerCertificates(current);
    const { limits, listeners: wanted } = current.settings;
    for (const [name, listener] of listeners) {
      if (wanted.some((candidate) => candidate.name === name)) listener.configure(settingsOf(current, name));
      else listener.configure({ ...listener.settings, certificates, limits });
    }
    for (const listener of closed) listener.configure({ ...listener.settings, certificates, limits });
  });

  return {
    get transactions() {
      return transactions.size;
    },

    async listen(name, where) {
      const listener = new Listener({
        ...settingsOf(config.current(), name),
        converse: (channel) =>
          new Dialogue(
            { ...options, listener: name, authenticator, crowd, transactions, leaving: () => leaving },
            channel,
          ),
        onProblem: (problem) => observer.log('info', 'no session', { listener: name, problem }),
        onSecured: (version) => observer.session({ event: 'secured', listener: name, version }),
      });
      const port = await listener.open(where);
      listeners.set(name, listener);
      return port;
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
