/** The PodMonitor of a relay, where the cluster has that kind: no copy is kept of it, it is looked at now and then. */
import type { ObjectKey } from '../../../crds/resource.ts';
import type { LiveObject } from './api.ts';
import { NotFound } from './api-error.ts';
import { POD_MONITOR } from './children/kinds.ts';
import type { Cluster } from './cluster.ts';

const LOOK_AGAIN_MS = 10 * 60_000;

/** Whether the cluster has it: asked once for all relays. */
export class MonitorKind {
  #served = false;
  #askedMs = Number.NEGATIVE_INFINITY;

  async isServed({ api, nowMs }: Pick<Cluster, 'api' | 'nowMs'>): Promise<boolean> {
    if (nowMs() - this.#askedMs >= LOOK_AGAIN_MS) {
      this.#served = (await api.served(POD_MONITOR.group, POD_MONITOR.version)).has(POD_MONITOR.plural);
      this.#askedMs = nowMs();
    }
    return this.#served;
  }
}

export class Monitor {
  readonly #key: ObjectKey;
  #live: LiveObject | undefined;
  #readMs = Number.NEGATIVE_INFINITY;

  constructor({ namespace, name }: ObjectKey) {
    this.#key = { namespace, name };
  }

  async live({ api, nowMs }: Pick<Cluster, 'api' | 'nowMs'>): Promise<LiveObject | undefined> {
    if (nowMs() - this.#readMs < LOOK_AGAIN_MS) return this.#live;
    try {
      this.#live = await api.get(POD_MONITOR, this.#key);
    } catch (error) {
      if (!(error instanceof NotFound)) throw error;
      this.#live = undefined;
    }
    this.#readMs = nowMs();
    return this.#live;
  }

  /** Takes in the answer to a write of our own. */
  wrote(live: LiveObject): void {
    this.#live = live;
  }
}
