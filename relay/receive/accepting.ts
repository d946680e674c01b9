/**
 * When a replica takes connections. Replicas on one machine share their sockets, so one that drains leaves those that
 * wait to the others: it closes its descriptor, the socket stays open, and no client notices. Where there is no other,
 * or the socket is its own, it goes on taking connections and tells them 421: a client that waits for nobody is worse.
 *
 * A descriptor that is closed cannot be had again, so each socket is inherited several times over: one for each time
 * that this replica is wanted again. The last one stays open.
 *
 * Where nothing is inherited, as in a pod, the sockets are its own: an edit of listeners opens and closes them, and no
 * session ends for it. Those of a supervisor change by another process that inherits others.
 */
import type { ConfigSource } from '../config/config.ts';
import type { SettingsDocument } from '../config/documents.ts';
import type { Observer } from '../observe/events.ts';
import type { Receiver } from './receiver.ts';

export interface AcceptingOptions {
  readonly config: ConfigSource;
  readonly receiver: Pick<Receiver, 'listen' | 'retire' | 'close'>;
  readonly observer: Pick<Observer, 'log'>;
  readonly ordinal: number;
  /** Descriptors of each listener, by name. */
  readonly inherit: ReadonlyMap<string, readonly number[]>;
  /** Address that listeners bind which are not inherited. */
  readonly listenAddress?: string;
}

type ListenerSettings = SettingsDocument['listeners'][number];

/** A port that another program holds may become free. */
const OPEN_AGAIN_MS = 1_000;

export class Accepting {
  readonly #options: AcceptingOptions;
  readonly #spare: ReadonlyMap<string, number[]>;
  readonly #unsubscribe: () => void;
  /** Own sockets, by the name of the listener. */
  readonly #own = new Map<string, ListenerSettings>();
  readonly #problems = new Map<string, string>();
  #open = false;
  #following: Promise<void> = Promise.resolve();
  #started = false;
  #again: NodeJS.Timeout | undefined;

  constructor(options: AcceptingOptions) {
    this.#options = options;
    this.#spare = new Map([...options.inherit].map(([name, descriptors]) => [name, [...descriptors]]));
    this.#unsubscribe = options.config.onChange(() => {
      if (this.#started) this.#follow();
    });
  }

  /** Why a listener that an edit brought is not open; undefined when all are. */
  get problem(): string | undefined {
    return this.#problems.size === 0 ? undefined : [...this.#problems.values()].join('; ');
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
    this.#started = false;
    clearTimeout(this.#again);
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
      if (leaves !== this.#open) {
        if (this.#spare.size === 0) await this.#reopen();
        return;
      }
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
    this.#open = true;
    for (const listener of this.#options.config.current().settings.listeners) {
      const fd = this.#spare.get(listener.name)?.shift();
      if (fd === undefined) await this.#bind(listener);
      else await this.#options.receiver.listen(listener.name, { fd });
    }
  }

  async #bind(listener: ListenerSettings): Promise<void> {
    const { receiver, listenAddress } = this.#options;
    const host = listenAddress === undefined ? {} : { host: listenAddress };
    await receiver.listen(listener.name, { port: listener.port, ...host });
    this.#own.set(listener.name, listener);
  }

  /** Own sockets after an edit: those that are gone close first, since another may take over their port. */
  async #reopen(): Promise<void> {
    const { config, receiver, observer } = this.#options;
    const wanted = new Map(config.current().settings.listeners.map((listener) => [listener.name, listener]));
    for (const [name, { port, protocol }] of this.#own) {
      const next = wanted.get(name);
      if (next && next.port === port && next.protocol === protocol) continue;
      receiver.close(name);
      this.#own.delete(name);
    }
    const before = this.problem;
    this.#problems.clear();
    for (const listener of wanted.values()) {
      if (this.#own.has(listener.name)) continue;
      try {
        await this.#bind(listener);
      } catch (error) {
        this.#problems.set(listener.name, `listener ${listener.name} cannot be opened: ${String(error)}`);
      }
    }
    clearTimeout(this.#again);
    if (this.problem === undefined || !this.#started) return;
    if (this.problem !== before) observer.log('error', this.problem, { retryMs: OPEN_AGAIN_MS });
    this.#again = setTimeout(() => this.#follow(), OPEN_AGAIN_MS);
    this.#again.unref();
  }
}
