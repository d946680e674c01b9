/**
 * Reads addresses as strictly as it takes that no other reader understands them differently: what is not plain is not
 * taken. Groups, comments, routes and obsolete forms (RFC 5322 4) are what parsers disagree on, and no mail client
 * writes them in From or Sender.
 */
import { domainToASCII } from 'node:url';

export interface Address {
  /** Lower case where it is used to compare; here as it was given. */
  readonly local: string;
  /** Lower case, A-labels. */
  readonly domain: string;
}

const ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~\\-\\u0080-\\u{10ffff}]+";
const LOCAL = new RegExp(`^${ATOM}(\\.${ATOM})*$`, 'u');
const DOMAIN = /^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** RFC 5321 4.5.3.1. */
const LONGEST_LOCAL = 64;
const LONGEST_DOMAIN = 255;

/** The domain as lower-case A-labels, or undefined when it is none. */
export function normaliseDomain(domain: string): string | undefined {
  const ascii = domainToASCII(domain).toLowerCase();
  // domainToASCII also reads numbers and percent signs as a browser would: what it changed in ASCII was no plain name.
  if (ascii === '' || ascii.length > LONGEST_DOMAIN || !DOMAIN.test(ascii)) return undefined;
  if (isAscii(domain) && ascii !== domain.toLowerCase()) return undefined;
  return ascii;
}

/** `local@domain` without brackets; undefined for anything that is not plainly that. */
export function parseAddress(text: string): Address | undefined {
  const at = text.lastIndexOf('@');
  const local = text.slice(0, at);
  if (at < 1 || Buffer.byteLength(local) > LONGEST_LOCAL || !LOCAL.test(local)) return undefined;
  const domain = normaliseDomain(text.slice(at + 1));
  return domain === undefined ? undefined : { local, domain };
}

export const isAscii = (text: string): boolean => Buffer.byteLength(text) === text.length;

/** One item of a list: a bare address, or a display name (words or a quoted string) and an address in brackets. */
const BARE = /^[^\s<>"(),:;\\[\]]+$/u;
const NAMED = /^(?:("(?:[^"\\\r\n]|\\[ -~])*"|[^<>"(),:;@\\[\]]*)\s*)<([^\s<>"(),:;\\[\]]+)>$/u;

/**
 * The addresses of a mailbox-list (RFC 5322 3.4).
 *
 * @param value unfolded value of the field
 * @returns undefined when it is empty, or when readers may see different addresses in it
 */
export function parseMailboxList(value: string): readonly Address[] | undefined {
  const addresses: Address[] = [];
  for (const item of splitList(value)) {
    const address = parseMailbox(item.trim());
    if (address === undefined) return undefined;
    addresses.push(address);
  }
  return addresses.length === 0 ? undefined : addresses;
}

function parseMailbox(item: string): Address | undefined {
  if (BARE.test(item)) return parseAddress(item);
  const named = NAMED.exec(item);
  return named?.[2] === undefined ? undefined : parseAddress(named[2]);
}

/** Splits at commas outside of quoted strings. */
function splitList(value: string): readonly string[] {
  const items: string[] = [];
  let quoted = false;
  let start = 0;
  for (let at = 0; at < value.length; at++) {
    const character = value[at];
    if (quoted && character === '\\') at += 1;
    else if (character === '"') quoted = !quoted;
    else if (character === ',' && !quoted) {
      items.push(value.slice(start, at));
      start = at + 1;
    }
  }
  items.push(value.slice(start));
  return items;
}
