/** Children of kinds that a cluster may not have: no copy is kept of them, they are looked at now and then. */
import type { ObjectKey } from '../../../crds/resource.ts';
import type { ApiKind, LiveObject } from './api.ts';
import { NotFound } from './api-error.ts';
import type { LiveChild } from './children/children-plan.ts';
import { OPTIONAL_KINDS } from './children/kinds.ts';
import type { Cluster } from './cluster.ts';

const LOOK_AGAIN_MS = 10 * 60_000;

/** Which of them the cluster has: asked once for all relays. */
export class OptionalKinds {
  #served: ReadonlySet<ApiKind> = new Set();
  #askedMs = Number.NEGATIVE_INFINITY;

  async served({ api, nowMs }: Pick<Cluster, 'api' | 'nowMs'>): Promise<ReadonlySet<ApiKind>> {
    if (nowMs() - this.#askedMs >= LOOK_AGAIN_MS) {
      const asked = await Promise.all(
        OPTIONAL_KINDS.map(async (kind) => (await api.served(kind.group, kind.version)).has(kind.plural)),
      );
      this.#served = new Set(OPTIONAL_KINDS.filter((_, index) => asked[index]));
      this.#askedMs = nowMs();
    }
    return this.#served;
  }
}

interface Seen {
  readonly object: LiveObject | undefined;
  readonly readMs: number;
}

/** Those of one relay; each has the relay's name. */
export class OptionalChildren {
  readonly #key: ObjectKey;
  readonly #seen = new Map<ApiKind, Seen>();

  constructor({ namespace, name }: ObjectKey) {
    this.#key = { namespace, name };
  }

  async live(kinds: ReadonlySet<ApiKind>, { api, nowMs }: Pick<Cluster, 'api' | 'nowMs'>): Promise<LiveChild[]> {
    const found: LiveChild[] = [];
    for (const kind of kinds) {
      let seen = this.#seen.get(kind);
      if (!seen || nowMs() - seen.readMs >= LOOK_AGAIN_MS) {
        seen = { object: await this.#read(kind, api), readMs: nowMs() };
        this.#seen.set(kind, seen);
      }
      if (seen.object) found.push({ kind, object: seen.object });
    }
    return found;
  }

  /** Takes in what became of a write of our own; undefined: it is deleted. */
  wrote(kind: ApiKind, object: LiveObject | undefined): void {
    const seen = this.#seen.get(kind);
    if (seen) this.#seen.set(kind, { ...seen, object });
  }

  async #read(kind: ApiKind, api: Cluster['api']): Promise<LiveObject | undefined> {
    try {
      return await api.get(kind, this.#key);
    } catch (error) {
      if (!(error instanceof NotFound)) throw error;
      return undefined;
    }
  }
}
