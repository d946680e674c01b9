/** What policies may know of a session, and how it comes about. */
import type { RelayConfig } from '../config/config.ts';
import type { ListenerSettings } from '../config/documents.ts';
import type { Channel } from './channel.ts';
import { exemptingNetwork } from './networks.ts';
import type { Leaving, ReceiverOptions } from './receiver.ts';

export interface SessionFacts {
  readonly listener: ListenerSettings;
  /** An IPv4-mapped address stands here as IPv4. */
  readonly clientAddress: string;
  /** false: it is a proxy's, and whom that speaks for is unknown. Then it gives nobody any right. */
  readonly isClientKnown: boolean;
  /** What the client called itself in HELO or EHLO; '' before it did. */
  readonly helo: string;
  /** EHLO, not HELO. */
  readonly extended: boolean;
  readonly secure: boolean;
  /** TLS version and cipher, for the trace. */
  readonly tls?: string;
  /** Set once AUTH succeeded. */
  readonly user?: string;
  /** The network that exempts the client from AUTH. */
  readonly network?: string;
  readonly config: RelayConfig;
  /** Why this session does not go on: the replica is no longer wanted, it stops, or the session has lasted too long. */
  readonly leaving?: 'draining' | 'stopping' | 'expired';
}

export interface SessionOptions extends ReceiverOptions {
  /** Name of the listener. */
  readonly listener: string;
  /** The process stops: no session goes on. */
  readonly leaving: () => Leaving;
}

export class Session {
  /** Set once AUTH succeeded. */
  #user: string | undefined;
  /** One that was begun comes to its end before the session has to leave: many clients never try again. */
  inTransaction = false;
  readonly #options: SessionOptions;
  readonly #channel: Channel;
  #helo = '';
  #extended = false;
  #facts: SessionFacts | undefined;
  #listener: ListenerSettings | undefined;

  constructor(options: SessionOptions, channel: Channel) {
    this.#options = options;
    this.#channel = channel;
  }

  get user(): string | undefined {
    return this.#user;
  }

  /** TLS is in use: what was said before counts no more (RFC 3207 4.2). */
  secured(): void {
    this.#facts = undefined;
    this.#helo = '';
  }

  /** @param extended by EHLO */
  introduced(helo: string, extended: boolean): void {
    this.#facts = undefined;
    this.#helo = helo;
    this.#extended = extended;
  }

  authenticated(user: string): void {
    this.#facts = undefined;
    this.#user = user;
  }

  /** The facts of this moment: the config may have changed since the last command. */
  facts(): SessionFacts {
    const { config, listener: name } = this.#options;
    const current = config.current();
    const { clientAddress, isClientKnown, secure, tls } = this.#channel;
    const leaving = this.#leavingOf(current.replicas);
    if (this.#facts?.config === current && this.#facts.leaving === leaving) return this.#facts;
    // A listener that is gone from the config goes on as it was, until the process is replaced.
    const listener = current.settings.listeners.find((candidate) => candidate.name === name) ?? this.#listener;
    if (listener === undefined) throw new Error(`listener ${name} is not in the config`);
    this.#listener = listener;
    const network = isClientKnown ? exemptingNetwork(listener, clientAddress) : undefined;
    this.#facts = {
      listener,
      clientAddress,
      isClientKnown,
      helo: this.#helo,
      extended: this.#extended,
      secure,
      ...(tls === undefined ? {} : { tls }),
      ...(this.#user === undefined ? {} : { user: this.#user }),
      ...(network === undefined ? {} : { network }),
      config: current,
      ...(leaving === undefined ? {} : { leaving }),
    };
    return this.#facts;
  }

  #leavingOf(replicas: number): SessionFacts['leaving'] {
    const { ordinal, leaving } = this.#options;
    if (leaving() === 'now') return 'stopping';
    if (this.#channel.isExpired) return 'expired';
    if (this.inTransaction) return undefined;
    if (leaving() === 'after-transaction') return 'stopping';
    return ordinal >= replicas ? 'draining' : undefined;
  }
}
