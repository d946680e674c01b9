/**
 * What is known of replicas that are no longer wanted, DIR/spool/NAMESPACE/NAME/drains.json: kept over restarts, so
 * that a drain that was interrupted goes on, within the time that it has left, and one that is over does not begin anew.
 */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import Type from 'typebox';
import Schema from 'typebox/schema';
import { isMissing, makeFolder, readJson, replaceDurably } from './durable-file.ts';

const FILE = 'drains.json';

const Drain = Type.Object({
  ordinal: Type.Integer({ minimum: 0 }),
  /** Since when it is no longer wanted (ms since 1970). */
  sinceMs: Type.Number(),
  /** Its process was ended for that. */
  stopped: Type.Boolean(),
  /** Whether its spool holds mail; absent when unknown. */
  queued: Type.Optional(Type.Boolean()),
});
export type Drain = Type.Static<typeof Drain>;
const File = Schema.Compile(Type.Object({ drains: Type.Array(Drain) }));

export class Drains {
  readonly #folder: string;
  readonly #drains: Map<number, Drain>;

  /** @param folder DIR/spool/NAMESPACE/NAME */
  constructor(folder: string) {
    this.#folder = folder;
    this.#drains = new Map(readDrains(folder).map((drain) => [drain.ordinal, drain]));
  }

  of(ordinal: number): Drain | undefined {
    return this.#drains.get(ordinal);
  }

  set(drain: Drain): void {
    if (isDeepStrictEqual(this.#drains.get(drain.ordinal), drain)) return;
    this.#drains.set(drain.ordinal, drain);
    this.#save();
  }

  delete(ordinal: number): void {
    if (this.#drains.delete(ordinal)) this.#save();
  }

  #save(): void {
    makeFolder(this.#folder);
    replaceDurably(path.join(this.#folder, FILE), `${JSON.stringify({ drains: [...this.#drains.values()] })}\n`);
  }
}

/** Ordinals that have a spool folder. */
export function spooledOrdinals(folder: string): readonly number[] {
  try {
    return readdirSync(folder)
      .filter((name) => /^(0|[1-9][0-9]{0,3})$/.test(name))
      .map(Number);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

/** A file that cannot be read says nothing: each spool is then drained anew, which loses nothing. */
function readDrains(folder: string): readonly Drain[] {
  const file = readJson(path.join(folder, FILE));
  return File.Check(file) ? file.drains : [];
}
