/**
 * Fills a spool through the spool's own code, and ends by SIGKILL while a group is on its way to the disk:
 *
 *     node fill.ts FOLDER MESSAGES
 *
 * 4 KiB a message, 1 to 5 recipients among 100,000 domains, 1,000 senders. Half of the messages are due, a third was
 * retried before; the last deliveries were in memory at their first attempt. For every four messages that stay, a fifth
 * came and went, so ids, pages and indexes look as they do after a life. Of a long queue the middle is made of copies.
 */
import { writeSync } from 'node:fs';
import { openSpool } from '../../../relay/spool/open.ts';
import type { Accepted, Outcome, Spool } from '../../../relay/spool/spool.ts';
import { copyUntil } from './copy.ts';

const DOMAINS = 100_000;
const SENDERS = 1_000;
const RECIPIENTS = 5;
/** 4 KiB with its envelope. */
const MESSAGE_BYTES = 4000;
/** Messages handed to the spool at once: it makes its largest groups of them. */
const BATCH = 2_000;
/** That go through the spool at the beginning of a long queue, and at its end. */
const BEGINNING = 50_000;
const ENDING = 20_000;
/** What the relay holds in memory at most, and so what a kill leaves without a due time. */
const IN_MEMORY = 10_000;
const HOUR_MS = 3_600_000;

const SERVER_BUSY = { code: 451, enhanced: '4.3.2', text: 'Try again later', host: 'mx.bench.test' };
const HEADER = 'From: app@bench.test\r\nTo: someone@bench.test\r\nSubject: one of a million\r\n\r\n';

/** What becomes of a message after it was accepted; by its number, so that two runs make the same queue. */
type Fate = { readonly attempts: number; readonly due: boolean } | 'parked' | 'gone';

function fateOf(number: number): Fate {
  if (number % 5 === 4) return 'gone';
  const turn = Math.floor(number / 5) * 4 + (number % 5);
  switch (turn % 6) {
    case 0:
      return { attempts: 2 + (turn % 3), due: true };
    case 1:
      return { attempts: 2 + (turn % 3), due: false };
    case 2:
    case 3:
      return { attempts: 1, due: false };
    default:
      return 'parked';
  }
}

/** mulberry32: small, and the same on every machine. */
export function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

class Filler {
  readonly #spool: Spool;
  readonly #random = randomFrom(5321);
  readonly #nowMs = Date.now();
  readonly #content = Buffer.from(HEADER.padEnd(MESSAGE_BYTES - 2, 'all work and no play ').concat('\r\n'));

  constructor(spool: Spool) {
    this.#spool = spool;
  }

  async fill(messages: number): Promise<void> {
    const total = Math.ceil((messages * 5) / 4);
    let gone: Promise<unknown> = Promise.resolve();
    for (let from = 0; from < total; from += BATCH) {
      const numbers = Array.from({ length: Math.min(BATCH, total - from) }, (_, index) => from + index);
      const accepted = await Promise.all(numbers.map(() => this.#accept()));
      // Those that go do so a batch later, when what came after them is stored already.
      await gone;
      const inMemory = total - from <= IN_MEMORY / 2;
      gone = Promise.all(accepted.map((one, index) => this.#conclude(one, fateOf(from + index), inMemory)));
      if (from % 100_000 === 0) writeSync(1, `${from} of ${total}\n`);
    }
    await gone;
  }

  /** Never comes back: the process is killed while this is being committed. */
  dieInCommit(): void {
    for (let number = 0; number < BATCH; number += 1) void this.#accept();
    setImmediate(() => setImmediate(() => process.kill(process.pid, 'SIGKILL')));
  }

  async #accept(): Promise<Accepted> {
    const intake = this.#spool.open();
    await intake.write(this.#content);
    const domains = new Set(
      Array.from({ length: 1 + Math.floor(this.#random() * RECIPIENTS) }, () => Math.floor(this.#random() * DOMAINS)),
    );
    const user = `app${Math.floor(this.#random() * SENDERS)}.default`;
    return intake.commit(
      {
        version: 1,
        mailFrom: `${user}@bench.test`,
        smtputf8: false,
        bodyType: '7BIT',
        arrivedMs: this.#nowMs - Math.floor(this.#random() * 24 * HOUR_MS),
        sizeBytes: MESSAGE_BYTES,
        messageId: `<${intake.queueId}@bench.test>`,
        user,
        listener: 'submission',
        client: { address: '192.0.2.25', helo: 'app.bench.test', tls: 'TLSv1.3' },
        bodyHash: '',
        headerBytes: HEADER.length,
      },
      [...domains].map((domain) => ({
        destination: `d${domain}.bench.test`,
        recipients: [{ address: `someone@d${domain}.bench.test`, state: 'queued' }],
      })),
    );
  }

  async #conclude({ deliveries }: Accepted, fate: Fate, inMemory: boolean): Promise<void> {
    if (fate === 'parked') {
      if (!inMemory) await this.#spool.park(deliveries.map(({ id }) => id));
      return;
    }
    const outcomes = deliveries.map(({ id, recipients }): Outcome => {
      if (fate === 'gone') return { delivery: id, attempts: 1, remaining: [], dueMs: 0 };
      const remaining = recipients.map(({ address }) => ({
        address,
        state: 'deferred' as const,
        lastReply: SERVER_BUSY,
      }));
      const dueMs = this.#nowMs + (fate.due ? -1 : 2) * Math.ceil(this.#random() * HOUR_MS);
      return { delivery: id, attempts: fate.attempts, remaining, dueMs };
    });
    await this.#spool.record(outcomes, []);
  }
}

async function run(folder: string, messages: number): Promise<void> {
  let left = messages;
  if (messages > BEGINNING + ENDING) {
    const spool = await opened(folder);
    await new Filler(spool).fill(BEGINNING);
    await spool.close();
    await copyUntil(folder, messages - ENDING, { senders: SENDERS, domains: DOMAINS });
    writeSync(1, 'copied\n');
    left = ENDING;
  }
  const filler = new Filler(await opened(folder));
  await filler.fill(left);
  filler.dieInCommit();
}

const opened = (folder: string): Promise<Spool> =>
  openSpool({
    folder,
    lockWaitMs: 0,
    log: (level, message) => writeSync(2, `${level} ${message}\n`),
    onFatal: (error) => {
      throw error;
    },
    now: Date.now,
  });

if (import.meta.main) {
  const [folder = '', messages = ''] = process.argv.slice(2);
  await run(folder, Number(messages));
}
