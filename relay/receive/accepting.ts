/**
 * When a replica takes connections. Replicas on one machine share their sockets, so one that drains leaves those that
 * wait to the others: it closes its descriptor, the socket stays open, and no client notices. Where there is no other,
 * or the socket is its own, it goes on taking connections and tells them 421: a client that waits for nobody is worse.
 *
 * A descriptor that is closed cannot be had again, so each socket is inherited several times over: one for each time
 * that this replica is wanted again. The last one stays open.
 */
import type { ConfigSource } from '../config/config.ts';
import type { Observer } from '../observe/events.ts';
import type { Receiver } from './receiver.ts';

export interface AcceptingOptions {
  readonly config: ConfigSource;
  readonly receiver: Pick<Receiver, 'listen' | 'retire'>;
  readonly observer: Pick<Observer, 'log'>;
  readonly ordinal: number;
  /** Descriptors of each listener, by name. */
  readonly inherit: ReadonlyMap<string, readonly number[]>;
  /** Address that listeners bind which are not inherited. */
  readonly listenAddress?: string;
}

export class Accepting {
  readonly #options: AcceptingOptions;
  readonly #spare: ReadonlyMap<string, number[]>;
  readonly #unsubscribe: () => void;
  #open = false;
  #following: Promise<void> = Promise.resolve();
  #started = false;

  constructor(options: AcceptingOptions) {
    this.#options = options;
    this.#spare = new Map([...options.inherit].map(([name, descriptors]) => [name, [...descriptors]]));
    this.#unsubscribe = options.config.onChange(() => {
      if (this.#started) this.#follow();
    });
  }

  /** @throws when an address is taken */
  async start(): Promise<void> {
    if (!this.#leavesToOthers()) await this.#listen();
    this.#started = true;
    // The config may have changed meanwhile.
    this.#follow();
    await this.#following;
  }

  async stop(): Promise<void> {
    this.#unsubscribe();
    await this.#following;
  }

  #leavesToOthers(): boolean {
    const { replicas } = this.#options.config.current();
    const canReturn = this.#spare.size > 0 && [...this.#spare.values()].every((left) => left.length > 0);
    return this.#options.ordinal >= replicas && replicas > 0 && (!this.#open || canReturn);
  }

  #follow(): void {
    this.#following = this.#following.then(async () => {
      const leaves = this.#leavesToOthers();
      if (leaves !== this.#open) return;
      if (leaves) {
        this.#options.receiver.retire();
        this.#open = false;
        return;
      }
      try {
        await this.#listen();
      } catch (error) {
        this.#options.observer.log('error', 'connections cannot be taken again', { problem: String(error) });
      }
    });
  }

  async #listen(): Promise<void> {
    const { config, receiver, listenAddress } = this.#options;
    this.#open = true;
    for (const { name, port } of config.current().settings.listeners) {
      const fd = this.#spare.get(name)?.shift();
      const host = listenAddress === undefined ? {} : { host: listenAddress };
      await receiver.listen(name, fd === undefined ? { port, ...host } : { fd });
    }
  }
}
