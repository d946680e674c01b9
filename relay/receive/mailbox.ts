/**
 * Reads the addresses of a header field as strictly as it takes that no other reader understands them differently.
 * Groups, comments, routes, quoted local parts and obsolete forms (RFC 5322 4) are what parsers disagree on, and no
 * mail client writes them in From or Sender: what is not plain is not taken.
 */
import { type Address, parseAddress } from './address.ts';

/** A bare address, up to the comma or the end. */
const BARE = /[ \t]*([^\s"(),:;<>[\]\\]+)[ \t]*(?=,|$)/y;
/** A display name, of words and quoted strings, and an address in brackets. Each character can match in one way. */
const NAMED = /((?:"(?:[^"\\]|\\.)*"|[^"(),:;<>@[\]\\])*)<([^\s"(),:;<>[\]\\]+)>[ \t]*(?=,|$)/y;
const CONTROL = /[\p{Cc}]/u;
/** RFC 2047 5 forbids encoded words in addresses; some readers decode them all the same, and find another one. */
const ENCODED = /=\?/;

/**
 * The addresses of a mailbox-list (RFC 5322 3.4).
 *
 * @param value unfolded value of the field
 * @returns undefined when it is empty, or when readers may see different addresses in it
 */
export function parseMailboxList(value: string): readonly Address[] | undefined {
  if (CONTROL.test(value.replaceAll('\t', ' '))) return undefined;
  const addresses: Address[] = [];
  for (let at = 0; at <= value.length; ) {
    const bare = matchAt(BARE, value, at);
    const named = bare ? undefined : matchAt(NAMED, value, at);
    const written = bare?.[1] ?? named?.[2] ?? '';
    const address = ENCODED.test(written) ? undefined : parseAddress(written);
    if (address === undefined || !namesNoOther(named?.[1] ?? '', address)) return undefined;
    addresses.push(address);
    // The comma; past the end when there is none.
    at += (bare ?? named)?.[0].length ?? 0;
    at += 1;
  }
  return addresses;
}

function matchAt(pattern: RegExp, text: string, at: number): RegExpExecArray | undefined {
  pattern.lastIndex = at;
  return pattern.exec(text) ?? undefined;
}

/**
 * A display name may repeat the address, as many clients make it do, but not show another one: some readers take the
 * first address they find, also inside quotes or encoded words ("Composition Kills", USENIX Security 2020).
 */
function namesNoOther(phrase: string, address: Address): boolean {
  if (!/["@]|=\?/.test(phrase)) return true;
  const decoded = decodeWords(phrase.replace(/"|\\(.)/g, '$1'));
  // NFKC: some fonts and readers take the full-width signs for the plain ones.
  const shown = decoded?.normalize('NFKC');
  if (shown === undefined || CONTROL.test(shown.replaceAll('\t', ' ')) || /[<>]/.test(shown)) return false;
  for (const [token] of shown.matchAll(/[^\s"(),:;]+@[^\s"(),:;]+/g)) {
    const other = parseAddress(token);
    if (other?.domain !== address.domain || other.local.toLowerCase() !== address.local.toLowerCase()) return false;
  }
  return true;
}

const ENCODED_WORD = /=\?([^?\s*]+)(?:\*[^?\s]*)?\?([bq])\?([^?\s]*)\?=/gi;

/** With encoded words in clear (RFC 2047; the language tag is RFC 2231 5); undefined for a charset nobody knows. */
function decodeWords(text: string): string | undefined {
  let known = true;
  const clear = text.replace(/(\?=)[ \t]+(?==\?)/g, '$1').replace(ENCODED_WORD, (_, charset, encoding, word) => {
    try {
      return new TextDecoder(charset).decode(wordBytes(encoding, word));
    } catch {
      known = false;
      return '';
    }
  });
  return known ? clear : undefined;
}

function wordBytes(encoding: string, word: string): Buffer {
  if (encoding.toLowerCase() === 'b') return Buffer.from(word, 'base64');
  const bytes = word
    .replaceAll('_', ' ')
    .replace(/=([0-9A-F]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1');
}
