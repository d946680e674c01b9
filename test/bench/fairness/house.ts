/** Where a relay under measurement lives: a folder with a queue in it, removed when it ends. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Replica } from '../queue/replica.ts';
import type { Neighbourhood } from './neighbourhood.ts';

const FILL = join(import.meta.dirname, 'fill.ts');

/** A queue to begin with, filled once and copied for each relay. */
export class Backlog implements AsyncDisposable {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async fill(messages: number, domains: readonly string[]): Promise<Backlog> {
    const folder = await mkdtemp(join(tmpdir(), 'bench-fairness-'));
    const words = [FILL, join(folder, 'spool'), String(messages), ...domains];
    const child = spawn(process.execPath, words, { stdio: ['ignore', 'inherit', 'inherit'] });
    const [code] = await once(child, 'exit');
    if (code !== 0) throw new Error('the spool was not filled');
    return new Backlog(folder);
  }

  async copyTo(root: string): Promise<void> {
    await cp(this.#folder, root, { recursive: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** Runs the relay on a copy of the backlog, or on an empty queue, for as long as `work` takes. */
export async function withRelay<T>(
  neighbourhood: Neighbourhood,
  backlog: Backlog | undefined,
  work: (replica: Replica) => Promise<T>,
): Promise<T> {
  const root = await mkdtemp(join(tmpdir(), 'bench-fairness-'));
  try {
    await backlog?.copyTo(root);
    await using replica = await Replica.spawn(root, 0, process.env.REPLICA_OPTIONS, neighbourhood.delivery);
    await replica.started();
    return await work(replica);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}
