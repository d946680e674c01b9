/**
 * When and where a replica takes connections. An edit of listeners opens and closes sockets in the running process, and
 * no session ends for it.
 *
 * Replicas on one machine share their sockets (sockets.ts), so one that drains leaves those that wait to the others: it
 * closes its descriptor, the socket stays open, and no client notices. Where there is no other, or the socket is its own,
 * it goes on taking connections and tells them 421: a client that waits for nobody is worse.
 */
import { Socket } from 'node:net';
import type { ConfigSource } from '../config/config.ts';
import type { SettingsDocument } from '../config/documents.ts';
import type { Observer } from '../observe/events.ts';
import type { Receiver } from './receiver.ts';
import type { Sockets } from './sockets.ts';

export interface AcceptingOptions {
  readonly config: ConfigSource;
  readonly receiver: Pick<Receiver, 'listen' | 'close'>;
  readonly observer: Pick<Observer, 'log'>;
  readonly ordinal: number;
  readonly sockets: Sockets;
}

type ListenerSettings = SettingsDocument['listeners'][number];

/** A port that another program holds may become free. */
const OPEN_AGAIN_MS = 1_000;

export class Accepting {
  readonly #options: AcceptingOptions;
  readonly #unsubscribe: () => void;
  /** Ports of open listeners, by name. */
  readonly #open = new Map<string, number>();
  readonly #problems = new Map<string, string>();
  #following: Promise<void> = Promise.resolve();
  #started = false;
  #again: NodeJS.Timeout | undefined;

  constructor(options: AcceptingOptions) {
    this.#options = options;
    this.#unsubscribe = options.config.onChange(() => {
      if (this.#started) this.#follow();
    });
  }

  /** Why a listener is not open; undefined when all are. */
  get problem(): string | undefined {
    return this.#problems.size === 0 ? undefined : [...this.#problems.values()].join('; ');
  }

  /** @throws when an address is taken and nobody is there to hand it over later */
  async start(): Promise<void> {
    await this.#converge();
    if (this.problem !== undefined && !this.#options.sockets.shared) throw new Error(this.problem);
    this.#started = true;
    // The config may have changed meanwhile.
    this.#follow();
    await this.#following;
  }

  async stop(): Promise<void> {
    this.#unsubscribe();
    this.#started = false;
    clearTimeout(this.#again);
    await this.#following;
  }

  #leavesToOthers(): boolean {
    const { replicas } = this.#options.config.current();
    return this.#options.sockets.shared && this.#options.ordinal >= replicas && replicas > 0;
  }

  #follow(): void {
    this.#following = this.#following.then(() => this.#converge());
  }

  async #converge(): Promise<void> {
    const { config, observer } = this.#options;
    const listeners = this.#leavesToOthers() ? [] : config.current().settings.listeners;
    const wanted = new Map(listeners.map((listener) => [listener.name, listener]));
    // Those that are gone close first, since another may take over their port.
    for (const [name, port] of this.#open) if (wanted.get(name)?.port !== port) this.#close(name, port);
    const before = this.problem;
    this.#problems.clear();
    for (const listener of wanted.values()) {
      if (!this.#open.has(listener.name)) await this.#tryOpen(listener);
    }
    clearTimeout(this.#again);
    if (this.problem === undefined || !this.#started) return;
    if (this.problem !== before) observer.log('error', this.problem, { retryMs: OPEN_AGAIN_MS });
    this.#again = setTimeout(() => this.#follow(), OPEN_AGAIN_MS);
    this.#again.unref();
  }

  async #tryOpen({ name, port }: ListenerSettings): Promise<void> {
    const { receiver, sockets } = this.#options;
    try {
      const where = await sockets.take(port);
      try {
        await receiver.listen(name, where);
        this.#open.set(name, port);
      } catch (error) {
        if (where instanceof Socket) where.destroy();
        sockets.closed(port);
        throw error;
      }
    } catch (error) {
      this.#problems.set(name, `listener ${name} cannot be opened: ${String(error)}`);
    }
  }

  #close(name: string, port: number): void {
    this.#options.receiver.close(name);
    this.#open.delete(name);
    this.#options.sockets.closed(port);
  }
}
