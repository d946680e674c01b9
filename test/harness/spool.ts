/** A spool of a test: opened in a folder of its own, filled with small messages, closed and removed when the test ends. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import type { Envelope, Recipient } from '../../relay/spool/envelope.ts';
import { openSpool, type SpoolOptions } from '../../relay/spool/open.ts';
import type { Accepted, NewDelivery, Spool } from '../../relay/spool/spool.ts';

export const NOW = Date.parse('2026-01-02T03:04:05Z');

export function folderFor(t: TestContext): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'spool-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

interface Opening extends Partial<SpoolOptions> {
  readonly logged?: string[];
}

export async function openIn(t: TestContext, folder: string, { logged = [], ...rest }: Opening = {}): Promise<Spool> {
  const spool = await openSpool({
    folder,
    lockWaitMs: 0,
    log: (_level, message) => logged.push(message),
    onFatal: (error) => assert.fail(`fatal: ${error.message}`),
    now: () => NOW,
    ...rest,
  });
  t.after(() => spool.close().catch(() => undefined));
  return spool;
}

export function envelope(over: Partial<Envelope> = {}): Envelope {
  return {
    version: 1,
    mailFrom: 'sender@example.test',
    smtputf8: false,
    bodyType: '7BIT',
    arrivedMs: NOW,
    sizeBytes: 0,
    bodyHash: '',
    headerBytes: 0,
    ...over,
  };
}

export function recipient(address: string): Recipient {
  return { address, state: 'queued' };
}

export function to(...addresses: string[]): NewDelivery[] {
  return addresses.map((address) => ({
    destination: address.slice(address.indexOf('@') + 1),
    recipients: [recipient(address)],
  }));
}

export async function accept(
  spool: Spool,
  content: string | Buffer,
  deliveries = to('ann@one.test'),
  over: Partial<Envelope> = {},
): Promise<Accepted> {
  const intake = spool.open();
  await intake.write(Buffer.from(content));
  return intake.commit(envelope(over), deliveries);
}

export function over(accepted: Accepted): Parameters<Spool['record']>[0] {
  return accepted.deliveries.map(({ id }) => ({ delivery: id, attempts: 1, remaining: [], dueMs: 0 }));
}
