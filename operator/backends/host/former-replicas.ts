/**
 * Replicas whose supervisor was killed stop by themselves when their channel closes, and need a moment for what they
 * have in hand. Until then they hold spools and ports, so a new supervisor waits for them before it starts its own.
 */
import { readdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isMissing } from './durable-file.ts';
import type { Log } from './log.ts';

const RETRY_MS = 100;

/**
 * Resolves once no admin socket in the folder is answered any more, the time (ms) is over, or it is told to stop. What
 * still runs then holds its spool and ports, which new replicas and the binding of ports wait for themselves.
 */
export async function awaitFormerReplicas(run: string, graceMs: number, log: Log, stop: AbortSignal): Promise<void> {
  const deadlineMs = performance.now() + graceMs;
  let waiting = false;
  for (;;) {
    const living = await livingSockets(run);
    if (living.length === 0) {
      if (waiting) log.info({}, 'the former replicas have ended');
      return;
    }
    if (!waiting) log.info({ replicas: living, graceMs }, 'waiting for the replicas of a former process to end');
    waiting = true;
    if (stop.aborted) return;
    if (performance.now() >= deadlineMs) {
      log.warn({ replicas: living }, 'replicas of a former process still run; going on');
      return;
    }
    await sleep(RETRY_MS);
  }
}

async function livingSockets(run: string): Promise<readonly string[]> {
  const names = socketNames(run);
  const living = await Promise.all(names.map((name) => isAnswered(path.join(run, name))));
  const dead = names.filter((_, index) => living[index] === false);
  for (const name of dead) rmSync(path.join(run, name), { force: true });
  return names.filter((_, index) => living[index]);
}

function socketNames(run: string): readonly string[] {
  try {
    return readdirSync(run).filter((name) => name.endsWith('.sock'));
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function isAnswered(file: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(file);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
