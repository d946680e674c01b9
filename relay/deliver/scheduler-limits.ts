/** How much is tried at once, and how much waits in memory for it. */
export interface SchedulerLimits {
  /** Attempts at once to one destination, and so connections; fewer after its hosts have failed. */
  readonly perDestination: number;
  /**
   * Attempts at once in all. A destination that has none yet may begin one up to twice this number, and half of it beyond
   * are for senders who have none.
   */
  readonly attempts: number;
  /** Deliveries of new mail of one destination that wait in memory. */
  readonly destinationDeliveries: number;
  /** Deliveries of new mail in memory. */
  readonly deliveries: number;
  /** Bytes of new mail in memory. */
  readonly bytes: number;
  /** Deliveries of one destination that are taken from the spool ahead of their attempts. */
  readonly destinationTaken: number;
  /** Deliveries taken from the spool in all. A destination that has none in memory may have one beyond, up to twice this. */
  readonly taken: number;
}

/** A delivery takes 1 to 2 KiB of memory, its content not counted. */
export const SCHEDULER_LIMITS: SchedulerLimits = {
  perDestination: 20,
  attempts: 500,
  destinationDeliveries: 1_000,
  deliveries: 10_000,
  bytes: 32 * 1024 * 1024,
  destinationTaken: 100,
  taken: 1_000,
};
