/** Waits for our kinds: an operator may be started before its CRDs are there. */
import { setTimeout as sleep } from 'node:timers/promises';
import { GROUP, VERSION } from '../../../crds/common.ts';
import { KINDS } from '../../../crds/kinds.ts';
import { waitMs } from '../../runtime/backoff.ts';
import type { KubernetesApi } from './api.ts';

const BACKOFF = { firstMs: 500, lastMs: 5_000 };

export interface KindsWish {
  readonly api: Pick<KubernetesApi, 'served'>;
  /** Told when other CRDs are missing than before: their names. */
  readonly missing: (names: readonly string[]) => void;
  /** Told of each time that the API server could not be asked. */
  readonly failed: (error: unknown, retryMs: number) => void;
  readonly signal: AbortSignal;
}

/** Resolves once all are served, or the signal is aborted. */
export async function untilServed({ api, missing, failed, signal }: KindsWish): Promise<void> {
  let told = '';
  for (let looks = 0; !signal.aborted; looks++) {
    let retryMs = waitMs(looks, undefined, BACKOFF);
    try {
      const served = await api.served(GROUP, VERSION);
      const names = KINDS.filter(({ plural }) => !served.has(plural)).map(({ plural }) => `${plural}.${GROUP}`);
      if (names.length === 0) return;
      if (told !== names.join()) missing(names);
      told = names.join();
    } catch (error) {
      retryMs = waitMs(looks, error, BACKOFF);
      failed(error, retryMs);
    }
    await sleep(retryMs, undefined, { signal }).catch(() => undefined);
  }
}
