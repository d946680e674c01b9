/**
 * A process that does nothing but use a spool, so that tests can trace it, kill it, and let its system calls fail.
 * Usage: spool-driver.ts FOLDER BYTES SESSIONS MESSAGES
 *
 * Each of SESSIONS commits one message after the other, MESSAGES in all, and finishes every third one. It writes
 * `250 ID` after a commit, `finishing ID` before and `finished ID` after the outcome is recorded, `451` when the spool
 * did not take a message, and ends with code 70 on a failed fsync.
 */
import { writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openSpool } from '../../relay/spool/open.ts';
import { SpoolUnavailable } from '../../relay/spool/spool.ts';

/** What the message of this id holds. */
export function contentOf(queueId: string, bytes: number): Buffer {
  return Buffer.alloc(bytes, `${queueId} `);
}

export const FATAL = 70;
const HINDERED_MS = 100;

/** A reader that is slow makes a pipe full; what is said has to be out before anything else is done. */
function say(line: string): void {
  for (;;) {
    try {
      writeSync(1, `${line}\n`);
      return;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error;
    }
  }
}

async function drive(folder: string, bytes: number, sessions: number, messages: number): Promise<void> {
  const spool = await openSpool({
    folder,
    lockWaitMs: 10_000,
    log: (level, message) => writeSync(2, `${level} ${message}\n`),
    onFatal: (error) => {
      writeSync(2, `${error.message}\n`);
      process.exit(FATAL);
    },
    now: Date.now,
  });
  let left = messages;
  const session = async () => {
    while (left > 0) {
      if (spool.health().hindrance) {
        say('451 no mail is taken');
        await sleep(HINDERED_MS);
        continue;
      }
      const turn = left--;
      const intake = spool.open();
      const content = contentOf(intake.queueId, bytes);
      for (let at = 0; at < bytes; at += 65_536) await intake.write(Buffer.from(content.subarray(at, at + 65_536)));
      try {
        const { deliveries } = await intake.commit(
          {
            version: 1,
            mailFrom: 'sender@example.test',
            smtputf8: false,
            bodyType: '7BIT',
            arrivedMs: Date.now(),
            sizeBytes: bytes,
            bodyHash: '',
            headerBytes: 0,
          },
          [{ destination: 'one.test', recipients: [{ address: 'ann@one.test', state: 'queued' }] }],
        );
        say(`250 ${intake.queueId}`);
        if (turn % 3 !== 0) continue;
        say(`finishing ${intake.queueId}`);
        await spool.record(
          deliveries.map(({ id }) => ({ delivery: id, attempts: 1, remaining: [], dueMs: 0 })),
          [],
        );
        say(`finished ${intake.queueId}`);
      } catch (error) {
        if (!(error instanceof SpoolUnavailable)) throw error;
        say(`451 ${error.message}`);
      }
    }
  };
  await Promise.all(Array.from({ length: sessions }, session));
  await spool.close();
}

if (import.meta.main) {
  const [folder = '', ...numbers] = process.argv.slice(2);
  const [bytes = 0, sessions = 1, messages = 1] = numbers.map(Number);
  await drive(folder, bytes, sessions, messages);
}
