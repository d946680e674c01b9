/** What a relay replica is started with. */
import type { NetworkFace } from './admin/faces.ts';
import type { Timeouts } from './deliver/timeouts.ts';
import type { OnStep } from './handover/steps.ts';

export interface RelayOptions {
  readonly configFolder: string;
  readonly spoolFolder: string;
  /** Folder with a folder for each Secret that the config refers to, and in it a file for each key. */
  readonly referencesFolder: string;
  readonly ordinal: number;
  /** Address that listeners bind; by default all of this machine. */
  readonly listenAddress?: string;
  readonly adminSocket: string;
  /** Where the admin API is served under TLS too, by tokens. */
  readonly adminNetwork?: NetworkFace;
  /** Address to serve monitoring at, and what is added to the port that the config names. */
  readonly monitoring: { readonly host: string; readonly offset: number };
  /**
   * How long connections are still taken after SIGTERM, by a replica that is unready by then (ms): those who send them
   * here hear of that a little later.
   */
  readonly acceptAfterStopMs?: number;
  /** Be handed the sockets of listeners by the IPC channel to the supervisor, and stop as on SIGTERM when it closes. */
  readonly supervised: boolean;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  /** How long destinations are waited for. */
  readonly timeouts?: Timeouts;
  /** Told after each step of a hand-over. */
  readonly onHandoverStep?: OnStep;
}
