/** Calls for a look at a folder: soon after something in it changed, and every other second whatever happens. */
import { type FSWatcher, watch } from 'node:fs';

/** Network and FUSE file systems tell nothing, and a folder that is mounted over is another one: hence the poll. */
const POLL_MS = 2_000;
/** A change seldom comes alone. */
const GATHER_MS = 50;

export class FolderWatch {
  readonly #folder: string;
  readonly #look: () => Promise<number | undefined>;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #again = false;
  #stopped = false;

  /** @param look returns after how many ms it is to be called again, if sooner than by the poll; it must not throw */
  constructor(folder: string, look: () => Promise<number | undefined>) {
    this.#folder = folder;
    this.#look = look;
  }

  start(): void {
    this.#in(0);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#watcher?.close();
    await this.#looking;
  }

  #in(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#looking = this.#lookNow();
    }, ms);
  }

  async #lookNow(): Promise<void> {
    this.#again = false;
    // Anew each time, and before the look: a folder that was moved away or mounted over is no longer the one watched.
    this.#watch();
    const againMs = await this.#look();
    this.#looking = undefined;
    if (this.#stopped) return;
    this.#in(this.#again ? GATHER_MS : Math.min(againMs ?? POLL_MS, POLL_MS));
  }

  #watch(): void {
    this.#watcher?.close();
    try {
      this.#watcher = watch(this.#folder, { persistent: false });
      this.#watcher.on('change', () => this.#changed());
      this.#watcher.on('error', () => this.#watcher?.close());
    } catch {
      // There is no folder now; the poll finds it when there is.
      this.#watcher = undefined;
    }
  }

  #changed(): void {
    if (this.#stopped) return;
    if (this.#looking) this.#again = true;
    else this.#in(GATHER_MS);
  }
}
