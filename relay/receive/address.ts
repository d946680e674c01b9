/** Mail addresses: as they stand in header fields, and as paths in MAIL and RCPT. */
import { isIP, isIPv4, isIPv6 } from 'node:net';
import { domainToASCII } from 'node:url';

export interface Address {
  /** As it was given, but the domain in lower-case A-labels: this is how it goes on. */
  readonly text: string;
  /** Without quotes. As it was given: it is compared without case. */
  readonly local: string;
  /** Lower case, A-labels; an address literal in its brackets. */
  readonly domain: string;
  /** False where it needs SMTPUTF8 (RFC 6531): a U-label as domain counts, since it was not given as A-label. */
  readonly ascii: boolean;
}

const ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~\\-\\u{a0}-\\u{10ffff}]+";
const DOT_ATOM = new RegExp(`^${ATOM}(\\.${ATOM})*$`, 'u');
/**
 * RFC 5321 4.1.2: printable ASCII, a backslash before anything; and RFC 6531 3.3. Without angle brackets: for many
 * parsers they end the path, so such an address is never sent to others (deliver/transaction). Taken here, a message
 * from one could reach nobody, and no notice its sender.
 */
const QUOTED = /^"(?:[ !#-;=?-[\]-~\u{a0}-\u{10ffff}]|\\[ -;=?-~])*"$/u;
const DOMAIN = /^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** ASCII that no domain has. */
const NO_LABEL = /[^A-Za-z0-9.\-\u{80}-\u{10ffff}]/u;
/** Zero-width characters and line separators: in an address they only deceive. */
const INVISIBLE = /[\p{Cf}\p{Zl}\p{Zp}\p{Zs}]/u;
/** RFC 5321 4.5.3.1, in octets. */
const LONGEST_LOCAL = 64;
const LONGEST_DOMAIN = 255;

export const isAscii = (text: string): boolean => Buffer.byteLength(text) === text.length;

/** The domain as lower-case A-labels, or undefined when it is none. */
export function normaliseDomain(domain: string): string | undefined {
  const lower = domain.toLowerCase();
  if (lower.length > LONGEST_DOMAIN || isIP(lower) !== 0) return undefined;
  if (DOMAIN.test(lower) && !lower.includes('xn--')) return isAscii(domain) ? lower : undefined;
  // domainToASCII reads as a browser would: it takes what stands before a slash, a backslash or a colon for the domain.
  if (NO_LABEL.test(domain)) return undefined;
  const ascii = domainToASCII(domain).toLowerCase();
  // And it reads numbers: what it changed in ASCII was no plain name.
  if (ascii.length > LONGEST_DOMAIN || !DOMAIN.test(ascii) || isIP(ascii) !== 0) return undefined;
  if (isAscii(domain) && ascii !== lower) return undefined;
  return ascii;
}

/** `local@domain` of plain atoms, as From and Sender have it; undefined for anything else. */
export function parseAddress(text: string): Address | undefined {
  const at = text.lastIndexOf('@');
  const local = text.slice(0, at);
  if (at < 1 || !DOT_ATOM.test(local)) return undefined;
  return addressOf(local, local, text.slice(at + 1));
}

/** The address of a path (RFC 5321 4.1.2), where the local part may be quoted and the domain an address literal. */
export function parsePathAddress(text: string): Address | undefined {
  const plain = parseAddress(text);
  if (plain) return plain;
  const at = text.lastIndexOf('@');
  const local = text.slice(0, at);
  const quoted = QUOTED.test(local);
  if (at < 1 || !(quoted || DOT_ATOM.test(local))) return undefined;
  const domain = text.slice(at + 1);
  const literal = isLiteral(domain) ? domain : undefined;
  return addressOf(local, quoted ? local.slice(1, -1).replace(/\\(.)/gu, '$1') : local, domain, literal);
}

function addressOf(written: string, local: string, given: string, literal?: string): Address | undefined {
  const domain = literal ?? normaliseDomain(given);
  if (domain === undefined || Buffer.byteLength(written) > LONGEST_LOCAL) return undefined;
  const ascii = isAscii(written) && isAscii(given);
  if (!ascii && INVISIBLE.test(written)) return undefined;
  return { text: `${written}@${domain}`, local, domain, ascii };
}

/** RFC 5321 4.1.3. */
function isLiteral(domain: string): boolean {
  if (!domain.startsWith('[') || !domain.endsWith(']')) return false;
  const inner = domain.slice(1, -1);
  return isIPv4(inner) || (/^IPv6:/i.test(inner) && isIPv6(inner.slice(5)) && !inner.includes('%'));
}
