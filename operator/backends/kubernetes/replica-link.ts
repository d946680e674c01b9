/**
 * Follows one pod: asks what it reports, and makes the kubelet look at its mounts until it reports the config that is
 * wanted. Where nothing is expected of a replica it is left alone but for a look now and then.
 *
 * A kubelet looks at mounts once a minute or so, but at once when its pod changes; an annotation is enough. It may look
 * before it has heard of the new Secret, so it is asked again, ever less often.
 */
import { isDeepStrictEqual } from 'node:util';
import { DrainProgress } from '../../runtime/drain-progress.ts';
import type { ReplicaAddress, ReplicaClient } from './replica-client.ts';
import type { ReplicaReport } from './replica-report.ts';

export interface LinkTarget {
  /** Undefined: it cannot be asked yet. */
  readonly address: ReplicaAddress | undefined;
  /** Tells starts of its container apart: what one reported says nothing of the next. */
  readonly start: string | undefined;
  /** Config that it should go by; undefined: not known yet. */
  readonly configHash: string | undefined;
  /** It is no longer wanted. */
  readonly leaving: boolean;
}

export interface LinkOptions {
  readonly client: ReplicaClient;
  /** Makes the kubelet look at the mounts. */
  readonly refresh: () => Promise<void>;
  /** Told when what it reports is another. */
  readonly changed: () => void;
  readonly nowMs: () => number;
}

const STEADY_MS = 5 * 60_000;
/** A drain is watched closely: whoever waits for it waits for us. */
const LEAVING_MS = 1_000;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 30_000;
/** A replica that misses one question may be busy. */
const SILENT_AFTER = 2;
const REFRESH_MS = 1_000;
const LAST_REFRESH_MS = 60_000;
/** Where nobody can tell whether it was of use. */
const BLIND_REFRESHES = 6;

export class ReplicaLink {
  readonly #options: LinkOptions;
  readonly #end = new AbortController();
  #target: LinkTarget = { address: undefined, start: undefined, configHash: undefined, leaving: false };
  /** Of what was asked after the target changed. */
  #report: ReplicaReport | undefined;
  #fresh = false;
  #progress: DrainProgress | undefined;
  #failures = 0;
  #wake: () => void = () => undefined;
  #woken = false;
  #refreshes = 0;
  #refreshedMs = Number.NEGATIVE_INFINITY;
  #refreshTimer: NodeJS.Timeout | undefined;

  constructor(options: LinkOptions) {
    this.#options = options;
    void this.#follow();
  }

  /** What it last told. */
  get report(): ReplicaReport | undefined {
    return this.#report;
  }

  /** What it told since it was last given another target: older news say nothing of that. */
  get freshReport(): ReplicaReport | undefined {
    return this.#fresh ? this.#report : undefined;
  }

  /** It was asked, more than once, and does not answer. */
  get silent(): boolean {
    return this.#report === undefined && this.#failures >= SILENT_AFTER;
  }

  /** Why its drain does not get on. */
  get stuck(): string | undefined {
    if (this.#target.leaving && this.silent) return 'its admin API does not answer';
    return this.#progress?.stuck(this.#options.nowMs());
  }

  update(target: LinkTarget): void {
    const before = this.#target;
    if (isDeepStrictEqual(before, target)) return;
    this.#target = target;
    this.#fresh = false;
    this.#failures = 0;
    if (before.start !== target.start) this.#report = undefined;
    if (!target.leaving) this.#progress = undefined;
    if (before.configHash !== target.configHash) this.#refreshes = 0;
    this.#refreshWhereBehind();
    this.#woken = true;
    this.#wake();
  }

  close(): void {
    this.#end.abort();
    clearTimeout(this.#refreshTimer);
    this.#wake();
  }

  async #follow(): Promise<void> {
    while (!this.#end.signal.aborted) {
      const waitMs = await this.#turn();
      if (!this.#woken && waitMs > 0) await this.#sleep(waitMs);
      this.#woken = false;
    }
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Asks once; returns how long to wait until the next time (ms). */
  async #turn(): Promise<number> {
    const target = this.#target;
    const { address } = target;
    if (!address) return STEADY_MS;
    const { client } = this.#options;
    const { signal } = this.#end;
    try {
      const known = this.freshReport;
      const behind = known && target.configHash !== undefined && known.configHash !== target.configHash;
      if (behind && !target.leaving) await client.configChange(address, known.configHash, signal);
      const report = await client.status(address, signal);
      if (target !== this.#target) return 0;
      this.#failures = 0;
      this.#note(report, target);
      if (target.leaving) return LEAVING_MS;
      return target.configHash === undefined || report.configHash === target.configHash ? STEADY_MS : 0;
    } catch {
      if (target !== this.#target || signal.aborted) return 0;
      this.#failures += 1;
      if (this.#failures >= SILENT_AFTER) this.#silent();
      return Math.min(FIRST_RETRY_MS * 2 ** Math.min(this.#failures - 1, 10), LAST_RETRY_MS);
    }
  }

  #note(report: ReplicaReport, { leaving }: LinkTarget): void {
    const nowMs = this.#options.nowMs();
    const before = [this.#report, this.#fresh, this.stuck];
    this.#report = report;
    this.#fresh = true;
    if (leaving && report.draining) {
      this.#progress ??= new DrainProgress();
      this.#progress.note(report.queue.messages, report.handover?.problem, nowMs);
    }
    this.#refreshWhereBehind();
    if (!isDeepStrictEqual(before, [this.#report, this.#fresh, this.stuck])) this.#options.changed();
  }

  #silent(): void {
    const news = this.#report !== undefined || this.#failures === SILENT_AFTER;
    this.#report = undefined;
    this.#fresh = false;
    this.#refreshWhereBehind();
    if (news) this.#options.changed();
  }

  #refreshWhereBehind(): void {
    clearTimeout(this.#refreshTimer);
    const { configHash } = this.#target;
    const blind = this.#report === undefined;
    // Before it was asked, nobody knows that it is behind: after a restart of ours mostly none is.
    const unknown = blind && this.#failures < SILENT_AFTER;
    if (this.#end.signal.aborted || configHash === undefined || unknown) return;
    if (blind ? this.#refreshes >= BLIND_REFRESHES : this.#report?.configHash === configHash) return;
    const pauseMs = Math.min(REFRESH_MS * 2 ** Math.max(0, this.#refreshes - 2), LAST_REFRESH_MS);
    const inMs = this.#refreshedMs + pauseMs - this.#options.nowMs();
    this.#refreshTimer = setTimeout(() => void this.#refresh(), Math.max(0, inMs));
  }

  async #refresh(): Promise<void> {
    this.#refreshes += 1;
    this.#refreshedMs = this.#options.nowMs();
    try {
      await this.#options.refresh();
    } catch {
      // The kubelet looks by itself, later.
    }
    this.#refreshWhereBehind();
  }
}
