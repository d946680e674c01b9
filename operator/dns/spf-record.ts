/** The text of an SPF record as terms (RFC 7208 4.6.1, 5, 6). */
import { isIPv4, isIPv6 } from 'node:net';

export type Qualifier = '+' | '-' | '~' | '?';

export type Mechanism = { readonly qualifier: Qualifier; readonly text: string } & (
  | { readonly kind: 'all' }
  | { readonly kind: 'include' | 'exists'; readonly domain: string }
  | { readonly kind: 'ptr'; readonly domain: string | undefined }
  | {
      readonly kind: 'a' | 'mx';
      readonly domain: string | undefined;
      readonly prefix4: number;
      readonly prefix6: number;
    }
  | { readonly kind: 'ip4' | 'ip6'; readonly address: string; readonly prefix: number }
);

export interface SpfRecord {
  readonly mechanisms: readonly Mechanism[];
  readonly redirect?: string;
}

/** The record is wrong as a whole (RFC 7208 4.6: a permanent error, wherever in it the mistake stands). */
export class SpfSyntax extends Error {
  override readonly name = 'SpfSyntax';
}

/** RFC 7208 4.5: a version and then a space or the end. */
export const isSpfRecord = (text: string): boolean => /^v=spf1(?: |$)/i.test(text);

/**
 * @param text for which `isSpfRecord` holds
 * @throws {SpfSyntax}
 */
export function parseSpf(text: string): SpfRecord {
  const terms = text
    .split(' ')
    .slice(1)
    .filter((term) => term !== '');
  const modifiers = new Map<string, string>();
  const mechanisms: Mechanism[] = [];
  for (const term of terms) {
    const [, name, value] = /^([a-z][a-z0-9_.-]*)=(.*)$/i.exec(term) ?? [];
    if (name === undefined || value === undefined) {
      mechanisms.push(parseMechanism(term));
      continue;
    }
    const known = name.toLowerCase();
    // RFC 7208 6: each of the two at most once; what is unknown is passed over.
    if (known !== 'redirect' && known !== 'exp') continue;
    if (modifiers.has(known)) throw new SpfSyntax(`${known}= stands twice`);
    modifiers.set(known, checkedDomain(value, term));
  }
  const redirect = modifiers.get('redirect');
  return { mechanisms, ...(redirect !== undefined && { redirect }) };
}

function parseMechanism(term: string): Mechanism {
  const [, sign = '', name = '', rest = ''] = /^([+?~-]?)([a-z][a-z0-9]*)(.*)$/i.exec(term) ?? [];
  const parsed = PARSERS[name.toLowerCase()]?.(rest, { qualifier: isQualifier(sign) ? sign : '+', text: term });
  if (!parsed) throw new SpfSyntax(`${term} is no mechanism of SPF`);
  return parsed;
}

type Base = Pick<Mechanism, 'qualifier' | 'text'>;
type Parser = (rest: string, base: Base) => Mechanism | undefined;

const network =
  (kind: 'ip4' | 'ip6', isAddress: (text: string) => boolean, most: number): Parser =>
  (rest, base) => {
    const [, address = '', prefix = String(most)] = /^:([0-9a-f.:]+?)(?:\/(\d{1,3}))?$/i.exec(rest) ?? [];
    return isAddress(address) && Number(prefix) <= most
      ? { ...base, kind, address, prefix: Number(prefix) }
      : undefined;
  };

/** RFC 7208 5.6: "/24", "//64" or "/24//64" at the end. */
const hosts =
  (kind: 'a' | 'mx'): Parser =>
  (rest, base) => {
    const match = /^(?::(.+?))?(?:\/(\d{1,2}))?(?:\/\/(\d{1,3}))?$/.exec(rest);
    const [, domain, prefix4 = '32', prefix6 = '128'] = match ?? [];
    if (!match || Number(prefix4) > 32 || Number(prefix6) > 128) return undefined;
    const from = domain === undefined ? undefined : checkedDomain(domain, base.text);
    return { ...base, kind, domain: from, prefix4: Number(prefix4), prefix6: Number(prefix6) };
  };

const target =
  (kind: 'include' | 'exists'): Parser =>
  (rest, base) =>
    rest.startsWith(':') ? { ...base, kind, domain: checkedDomain(rest.slice(1), base.text) } : undefined;

/** RFC 7208 5, by name in lower case. */
const PARSERS: Readonly<Record<string, Parser>> = {
  all: (rest, base) => (rest === '' ? { ...base, kind: 'all' } : undefined),
  include: target('include'),
  exists: target('exists'),
  ptr: (rest, base) => {
    if (rest === '') return { ...base, kind: 'ptr', domain: undefined };
    return rest.startsWith(':') ? { ...base, kind: 'ptr', domain: checkedDomain(rest.slice(1), base.text) } : undefined;
  },
  a: hosts('a'),
  mx: hosts('mx'),
  ip4: network('ip4', isIPv4, 32),
  ip6: network('ip6', isIPv6, 128),
};

const isQualifier = (sign: string): sign is Qualifier => sign !== '' && '+-~?'.includes(sign);

/** RFC 7208 7.1: visible ASCII, where a percent sign begins a macro, and a name at the end. */
function checkedDomain(spec: string, term: string): string {
  const plain = spec.replace(/%(?:[%_-]|\{[slodipvhcrt]\d*r?[-.+,/_=]*\})/gi, 'x');
  if (spec === '' || !/^[!-~]+$/.test(spec) || plain.includes('%')) throw new SpfSyntax(`${term} names no domain`);
  return spec;
}
