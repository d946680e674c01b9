/** Mail of one sender at a steady rate, whatever the relay does: one that is late does not make the next one late. */
import { setTimeout as pause } from 'node:timers/promises';
import { Session } from '../queue/submit.ts';

const SESSIONS = 4;

export interface Stream {
  readonly port: number;
  /** Where the client connects from, and so which sender it is. */
  readonly from: string;
  readonly perSecond: number;
  readonly seconds: number;
  /** The recipient of a message, by its number. */
  readonly to: (number: number) => string;
}

/** @returns when each was answered 250 (performance.now), by its recipient */
export async function send({ port, from, perSecond, seconds, to }: Stream): Promise<ReadonlyMap<string, number>> {
  const taken = new Map<string, number>();
  const sessions = await Promise.all(Array.from({ length: SESSIONS }, () => Session.open(port, from)));
  const began = performance.now();
  let number = 0;
  const run = async (session: Session): Promise<void> => {
    while (number < perSecond * seconds) {
      const recipient = to(number);
      const at = began + (number * 1_000) / perSecond;
      number += 1;
      await pause(Math.max(0, at - performance.now()));
      await session.send(recipient);
      taken.set(recipient, performance.now());
    }
    await session.quit();
  };
  await Promise.all(sessions.map(run));
  return taken;
}
