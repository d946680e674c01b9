/** Messages in the form in which they cross to the writer thread and back. */
import type { Envelope } from './envelope.ts';
import type { NewMessage } from './requests.ts';
import type { NewDelivery } from './spool.ts';

export function newMessage(
  id: number,
  body: NewMessage['body'],
  envelope: Envelope,
  deliveries: readonly NewDelivery[],
): NewMessage {
  return {
    id,
    envelope: JSON.stringify(envelope),
    sender: envelope.user ?? envelope.network ?? '',
    body,
    deliveries: deliveries.map(({ destination, recipients }) => ({
      destination,
      recipients: JSON.stringify(recipients),
    })),
  };
}

export function bufferOver(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
