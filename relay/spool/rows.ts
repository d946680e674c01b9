/**
 * Rows as they lie in the database: their text form and their crc32. A crc covers the row's id too, so a row that turns
 * up in the wrong place is found as well as one whose bytes changed.
 */
import { crc32 } from 'node:zlib';
import type { Envelope, Recipient } from './envelope.ts';
import { SpoolDamage } from './spool.ts';

export interface MessageRow {
  readonly id: number;
  readonly firstDelivery: number;
  readonly deliveries: number;
  /** JSON of Envelope. */
  readonly envelope: string;
  /** The body's file; undefined: it is in the table `body`. */
  readonly file: BodyFileInfo | undefined;
}

export interface BodyFileInfo {
  readonly sizeBytes: number;
  readonly crc: number;
}

export interface DeliveryRow {
  readonly id: number;
  readonly message: number;
  readonly destination: string;
  readonly sender: string;
  readonly attempts: number;
  /** JSON of Recipient[]. */
  readonly recipients: string;
}

export type Columns = Readonly<Record<string, unknown>>;

export function messageCrc(row: MessageRow): number {
  const file = row.file ? `${row.file.sizeBytes} ${row.file.crc}` : '';
  return crc32(`${row.id} ${row.firstDelivery} ${row.deliveries} ${file}\n${row.envelope}`);
}

/**
 * Without `due`: a wrong one makes an attempt early or late, never a wrong attempt; and opening the spool sets it for
 * all deliveries that were in memory in one statement.
 */
export function deliveryCrc(row: DeliveryRow): number {
  return crc32(`${row.id} ${row.message} ${row.attempts}\n${row.destination}\n${row.sender}\n${row.recipients}`);
}

/** A `due` from here on is no time: the delivery is on hold, since so many ms after 1970 as it is beyond this. */
export const HELD_FROM = 2 ** 52;

export const heldSince = (nowMs: number): number => HELD_FROM + Math.round(nowMs);

export const isHeld = (due: unknown): due is number => typeof due === 'number' && due >= HELD_FROM;

/** Of a body or a signature. */
export function contentCrc(messageId: number, content: Uint8Array): number {
  return crc32(content, crc32(String(messageId)));
}

/** @throws {SpoolDamage} */
export function messageRow(columns: Columns): MessageRow {
  const row = {
    id: integerOf(columns.id),
    firstDelivery: integerOf(columns.first_delivery),
    deliveries: integerOf(columns.deliveries),
    envelope: textOf(columns.envelope),
    file:
      columns.file_bytes === null
        ? undefined
        : { sizeBytes: integerOf(columns.file_bytes), crc: integerOf(columns.file_crc) },
  };
  if (messageCrc(row) !== columns.crc) throw new SpoolDamage(`message row ${row.id} does not match its crc`);
  return row;
}

/** @throws {SpoolDamage} */
export function deliveryRow(columns: Columns): DeliveryRow {
  const row = {
    id: integerOf(columns.id),
    message: integerOf(columns.message),
    destination: textOf(columns.destination),
    sender: textOf(columns.sender),
    attempts: integerOf(columns.attempts),
    recipients: textOf(columns.recipients),
  };
  if (deliveryCrc(row) !== columns.crc) {
    throw new SpoolDamage(`delivery row ${row.id} of message row ${row.message} does not match its crc`);
  }
  return row;
}

/** @throws {SpoolDamage} */
export function contentOf(what: string, messageId: number, content: unknown, crc: unknown): Uint8Array<ArrayBuffer> {
  const bytes = bytesOf(content);
  if (contentCrc(messageId, bytes) !== crc) {
    throw new SpoolDamage(`${what} of message row ${messageId} does not match its crc`);
  }
  return bytes;
}

/** Text that passed its crc is what a spool wrote; what is left to check is that this version understands it. */
export function parseEnvelope(text: string): Envelope {
  const value: unknown = JSON.parse(text);
  if (!isEnvelope(value)) throw new SpoolDamage('an envelope is of a version that this program does not know');
  return value;
}

function isEnvelope(value: unknown): value is Envelope {
  return typeof value === 'object' && value !== null && 'version' in value && value.version === 1;
}

export function parseRecipients(text: string): readonly Recipient[] {
  const value: unknown = JSON.parse(text);
  if (!isRecipients(value)) throw new SpoolDamage('a list of recipients has something else in it');
  return value;
}

function isRecipients(value: unknown): value is Recipient[] {
  return (
    Array.isArray(value) &&
    value.every((item: unknown) => typeof item === 'object' && item !== null && 'address' in item)
  );
}

export function integerOf(value: unknown): number {
  if (typeof value !== 'number') throw new SpoolDamage(`a row holds ${typeof value} where a number belongs`);
  return value;
}

export function textOf(value: unknown): string {
  if (typeof value !== 'string') throw new SpoolDamage(`a row holds ${typeof value} where text belongs`);
  return value;
}

function bytesOf(value: unknown): Uint8Array<ArrayBuffer> {
  if (!(value instanceof Uint8Array) || !(value.buffer instanceof ArrayBuffer)) {
    throw new SpoolDamage('a row holds something else where bytes belong');
  }
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}
