/**
 * Serves metrics, health and readiness at the port that the config names, and moves there when the config changes: a
 * session must not end because of it. A port that cannot be had is told and tried again; mail goes on meanwhile.
 */
import type { Observer } from './events.ts';
import { type Handler, monitoringListener, serveHttp } from './http.ts';

/** Soon, since it may be the former port of another replica, which is about to move too. */
const TRY_AGAIN_MS = 250;

export interface MonitoringOptions {
  readonly host: string;
  /** Where it is to be served now. */
  readonly port: () => number;
  /** Calls listener whenever that may have changed; returns what ends this. */
  readonly onChange: (listener: () => void) => () => void;
  readonly handler: Handler;
  readonly observer: Pick<Observer, 'log'>;
}

export interface Monitoring {
  /** Why it is not served where the config says, for a person. */
  readonly problem: string | undefined;
  close(): Promise<void>;
}

export function serveMonitoring({
  host,
  port: wantedPort,
  onChange,
  handler,
  observer,
}: MonitoringOptions): Monitoring {
  let server: { close(): Promise<void> } | undefined;
  let port: number | undefined;
  let problem: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  let moving = Promise.resolve();

  const failed = (error: unknown) => observer.log('error', 'an HTTP request failed', { problem: String(error) });

  async function move(): Promise<void> {
    const wanted = wantedPort();
    clearTimeout(timer);
    if (closed) return;
    try {
      if (wanted !== port) {
        const next = await serveHttp({ host, port: wanted }, monitoringListener(handler, failed), failed);
        await server?.close();
        server = next;
        port = wanted;
      }
      problem = undefined;
    } catch (error) {
      const told = `monitoring cannot be served: ${error instanceof Error ? error.message : String(error)}`;
      if (told !== problem) observer.log('error', told, { retryMs: TRY_AGAIN_MS });
      problem = told;
      timer = setTimeout(look, TRY_AGAIN_MS);
    }
  }

  /** One move after the other: the last one sees the latest config. */
  function look(): void {
    moving = moving.then(move);
  }

  const unsubscribe = onChange(look);
  look();

  return {
    get problem() {
      return problem;
    },
    async close() {
      unsubscribe();
      closed = true;
      clearTimeout(timer);
      await moving;
      await server?.close();
    },
  };
}
