/** Who a header says that the message is from: its From and Sender fields (RFC 5322 3.6.2). */
import { isAscii, isUtf8 } from 'node:buffer';
import type { Address } from './address.ts';
import type { HeaderField } from './header.ts';
import { parseMailboxList } from './mailbox.ts';

export interface Originator {
  readonly field: 'From' | 'Sender';
  /** undefined when readers may see different addresses in it. */
  readonly addresses: readonly Address[] | undefined;
}

/** All of them, in their order. */
export function originatorsOf(fields: readonly HeaderField[]): readonly Originator[] {
  const originators: Originator[] = [];
  for (const { name, value } of fields) {
    if (name === 'from' || name === 'sender') {
      originators.push({ field: name === 'from' ? 'From' : 'Sender', addresses: addressesIn(value) });
    }
  }
  return originators;
}

/** Header bytes above 127 are UTF-8 (RFC 6532); of anything else readers have to guess what it is. */
function addressesIn(value: string): readonly Address[] | undefined {
  const bytes = Buffer.from(value, 'latin1');
  if (isAscii(bytes)) return parseMailboxList(value);
  return isUtf8(bytes) ? parseMailboxList(bytes.toString('utf8')) : undefined;
}
