/**
 * Queue ids: eight characters that name the spool, then the row id of the message, both in Crockford's base32 (no I, L,
 * O, U: nothing that is misread over a telephone). The spool's part has a fixed length, so the two need no separator.
 */
import { randomBytes } from 'node:crypto';

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const SPOOL_ID_LENGTH = 8;
const QUEUE_ID = new RegExp(`^[${ALPHABET}]{${SPOOL_ID_LENGTH}}[1-9A-HJKMNP-TV-Z][${ALPHABET}]{0,10}$`);

/** 40 random bits: replicas of any number of relays do not meet. */
export function newSpoolId(): string {
  let id = '';
  for (const byte of randomBytes(SPOOL_ID_LENGTH)) id += ALPHABET.charAt(byte & 31);
  return id;
}

export function formatQueueId(spoolId: string, messageId: number): string {
  let digits = '';
  for (let rest = messageId; rest > 0; rest = Math.floor(rest / 32)) digits = ALPHABET.charAt(rest % 32) + digits;
  return spoolId + digits;
}

/** Row id of a message of this spool; undefined for anything else. Small letters are taken too. */
export function parseQueueId(spoolId: string, queueId: string): number | undefined {
  const upper = queueId.toUpperCase();
  if (!QUEUE_ID.test(upper) || !upper.startsWith(spoolId)) return undefined;
  let messageId = 0;
  for (const digit of upper.slice(SPOOL_ID_LENGTH)) messageId = messageId * 32 + ALPHABET.indexOf(digit);
  return Number.isSafeInteger(messageId) ? messageId : undefined;
}

/** What to ask the database for: the row of a message of this spool, or the id that a message from another one kept. */
export function rowName(spoolId: string, queueId: string): number | string {
  return parseQueueId(spoolId, queueId) ?? queueId.toUpperCase();
}
