/**
 * Who read which Secret. A controller's input is whatever its observe reads, so a Secret that changes wakes exactly the
 * objects that last read it, and no controller must say which Secrets concern it.
 */
import type { Secrets } from '../backend.ts';

type Readable = Pick<Secrets, 'get' | 'ownedBy' | 'reference'>;

export class SecretReaders {
  readonly #readersOf = new Map<string, Set<string>>();
  readonly #readBy = new Map<string, Set<string>>();

  of(namespace: string, name: string): readonly string[] {
    return [...(this.#readersOf.get(`${namespace}/${name}`) ?? [])];
  }

  /** The Secrets as the reader sees them from now on; what it read before is forgotten. */
  observedBy(reader: string, secrets: Readable): Readable {
    this.forget(reader);
    return {
      get: (namespace, name) => {
        this.#note(reader, namespace, name);
        return secrets.get(namespace, name);
      },
      reference: (namespace, name) => {
        this.#note(reader, namespace, name);
        return secrets.reference(namespace, name);
      },
      ownedBy: async (namespace, owner) => {
        const found = await secrets.ownedBy(namespace, owner);
        for (const { name } of found) this.#note(reader, namespace, name);
        return found;
      },
    };
  }

  forget(reader: string): void {
    for (const secret of this.#readBy.get(reader) ?? []) {
      const readers = this.#readersOf.get(secret);
      readers?.delete(reader);
      if (readers?.size === 0) this.#readersOf.delete(secret);
    }
    this.#readBy.delete(reader);
  }

  #note(reader: string, namespace: string, name: string): void {
    const secret = `${namespace}/${name}`;
    const readers = this.#readersOf.get(secret) ?? new Set();
    this.#readersOf.set(secret, readers.add(reader));
    this.#readBy.set(reader, (this.#readBy.get(reader) ?? new Set()).add(secret));
  }
}
