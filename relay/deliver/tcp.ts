/** TCP connections, opened within a bounded time. */
import { connect, type Socket } from 'node:net';
import { HostFailure } from './classify.ts';

export interface Target {
  /** Name by which the host is known: in logs, for SNI and for its certificate. */
  readonly host: string;
  /** IP address. */
  readonly address: string;
  readonly port: number;
}

/** @throws {HostFailure} at stage connect; at once when the signal aborts */
export function openSocket(
  { host, address, port }: Target,
  { timeoutMs, signal }: { timeoutMs: number; signal: AbortSignal },
): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const socket = connect({ host: address, port, noDelay: true });
  const failed = (why: string): void => {
    settled();
    socket.destroy();
    reject(new HostFailure('connect', host, why));
  };
  const onError = (error: Error): void => failed(error.message);
  const onAbort = (): void => failed('delivery is stopping');
  const timer = setTimeout(failed, timeoutMs, `no answer from ${address} port ${port} in time`);
  const settled = (): void => {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
    socket.off('error', onError);
  };
  socket.once('error', onError);
  socket.once('connect', () => {
    settled();
    resolve(socket);
  });
  signal.addEventListener('abort', onAbort);
  if (signal.aborted) onAbort();
  return promise;
}
