/**
 * Enters new mail into the spool's index of what is due, where the lookout finds it: what there is no room for in memory,
 * and what another had and gave back.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Observer } from '../observe/events.ts';
import { type QueuedDelivery, type Spool, SpoolUnavailable } from '../spool/spool.ts';
import { LOOK_AGAIN_MS } from './lookout.ts';
import type { Overflows } from './overflow.ts';

export interface ParkingContext {
  readonly spool: Pick<Spool, 'park'>;
  readonly observer: Pick<Observer, 'log'>;
}

export class Parking {
  readonly #context: ParkingContext;
  readonly #overflows: Overflows;
  readonly #hasQueue: (destination: string) => boolean;
  readonly #sweep: () => Promise<void>;
  #stopped = false;

  /**
   * @param hasQueue something of the destination is in memory
   * @param sweep looks into the spool; never rejects
   */
  constructor(
    context: ParkingContext,
    overflows: Overflows,
    hasQueue: (destination: string) => boolean,
    sweep: () => Promise<void>,
  ) {
    this.#context = context;
    this.#overflows = overflows;
    this.#hasQueue = hasQueue;
    this.#sweep = sweep;
  }

  /** New mail for which memory has no room. */
  park(deliveries: readonly QueuedDelivery[]): void {
    const overflow = (): void => {
      for (const { destination } of deliveries) this.#overflows.add(destination);
    };
    overflow();
    this.#index(deliveries.map(({ id }) => id))
      .then(() => {
        // A sweep may have looked before they were there. An attempt that ends makes room and looks again; for a
        // destination that has none under way nobody else would.
        overflow();
        return deliveries.some(({ destination }) => !this.#hasQueue(destination)) ? this.#sweep() : undefined;
      })
      .catch((error: unknown) => this.#unindexed(error, deliveries[0]?.queueId));
  }

  /** New mail whose turn came while another had it has left memory and is in no index yet; to all else this does nothing. */
  comesBack(deliveries: readonly number[]): void {
    this.#index(deliveries)
      .then(() => this.#sweep())
      .catch((error: unknown) => this.#unindexed(error));
  }

  /** Asks a spool that cannot be written no more. */
  stop(): void {
    this.#stopped = true;
  }

  /** A spool that cannot be written now is asked again until it can. */
  async #index(deliveries: readonly number[]): Promise<void> {
    for (;;) {
      try {
        await this.#context.spool.park(deliveries);
        return;
      } catch (error) {
        if (!(error instanceof SpoolUnavailable) || this.#stopped) throw error;
        await sleep(LOOK_AGAIN_MS);
      }
    }
  }

  #unindexed(error: unknown, queueId?: string): void {
    const fields = { ...(queueId !== undefined && { queueId }), error: String(error) };
    this.#context.observer.log('error', 'Message could not be queued for later; it waits for a restart', fields);
  }
}
