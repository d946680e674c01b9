/**
 * A spool with the backlog of one sender, made by the spool's own code: messages that overflowed, and are due, to each of
 * the domains in turn.
 *
 *     node fill.ts FOLDER MESSAGES DOMAIN...
 */
import { createHash } from 'node:crypto';
import { openSpool } from '../../../relay/spool/open.ts';
import type { Spool } from '../../../relay/spool/spool.ts';

/** Messages handed to the spool at once. */
const BATCH = 2_000;
const HEADER = 'From: bulk@example.test\r\nTo: someone@bench.test\r\nSubject: one of many\r\n\r\n';
const BODY = 'all work and no play\r\n'.repeat(50);
const CONTENT = Buffer.from(HEADER + BODY);
const BODY_HASH = createHash('sha256').update(BODY).digest('base64');

async function accept(spool: Spool, domain: string): Promise<number> {
  const intake = spool.open();
  await intake.write(Buffer.from(CONTENT));
  const { deliveries } = await intake.commit(
    {
      version: 1,
      mailFrom: 'bulk@example.test',
      smtputf8: false,
      bodyType: '7BIT',
      arrivedMs: Date.now(),
      sizeBytes: CONTENT.length,
      messageId: `<${intake.queueId}@bench.test>`,
      user: 'bulk.default',
      signAs: 'example.test',
      bodyHash: BODY_HASH,
      headerBytes: HEADER.length,
    },
    [{ destination: domain, recipients: [{ address: `someone@${domain}`, state: 'queued' }] }],
  );
  const [delivery] = deliveries;
  if (!delivery) throw new Error('the spool made no delivery');
  return delivery.id;
}

async function fill(folder: string, messages: number, domains: readonly string[]): Promise<void> {
  const spool = await openSpool({
    folder,
    lockWaitMs: 0,
    log: (level, message) => process.stderr.write(`${level} ${message}\n`),
    onFatal: (error) => {
      throw error;
    },
    now: Date.now,
  });
  for (let from = 0; from < messages; from += BATCH) {
    const numbers = Array.from({ length: Math.min(BATCH, messages - from) }, (_, index) => from + index);
    const ids = await Promise.all(numbers.map((number) => accept(spool, domains[number % domains.length] ?? '')));
    await spool.park(ids);
  }
  await spool.close();
}

const [folder = '', messages = '', ...domains] = process.argv.slice(2);
await fill(folder, Number(messages), domains);
