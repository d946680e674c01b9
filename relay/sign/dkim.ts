/**
 * Signs with DKIM (RFC 6376; Ed25519 by RFC 8463) from header block and body hash: relaxed/relaxed, one signature for
 * each key. The signature itself is made on libuv's pool, so RSA (0.27 ms) does not hold up sessions.
 */
import { createHash, createPrivateKey, type KeyObject, sign as signWith } from 'node:crypto';
import { promisify } from 'node:util';
import type { ConfigSource } from '../config/config.ts';
import type { DkimKeyDocument, DomainDocument } from '../config/documents.ts';
import { NoSigningKey, type Signer } from './signer.ts';

const signBytes = promisify<string | null, Buffer, KeyObject, Buffer>(signWith);

/**
 * Fields that are signed. RFC 6376 5.4.1 names those that matter to a reader; each is listed once more than it occurs
 * (8.15), so that nobody can add another one. Trace fields change on the way and are left out, as is Return-Path.
 */
const SIGNED = [
  'from',
  'sender',
  'reply-to',
  'to',
  'cc',
  'subject',
  'date',
  'message-id',
  'in-reply-to',
  'references',
  'mime-version',
  'content-type',
  'content-transfer-encoding',
  'content-disposition',
  'content-id',
  'content-description',
  'list-id',
  'list-unsubscribe',
  'list-unsubscribe-post',
] as const;

const ALGORITHM = {
  RSA2048: { tag: 'rsa-sha256', digest: 'sha256' },
  Ed25519: { tag: 'ed25519-sha256', digest: null },
} as const;

/** The parsed keys of the domains in force: parsing a PEM costs a tenth of a signature. */
export function createSigner(config: ConfigSource): Signer {
  const keys = new WeakMap<DkimKeyDocument, KeyObject>();
  const keyOf = (document: DkimKeyDocument): KeyObject => {
    const known = keys.get(document);
    if (known) return known;
    const key = createPrivateKey(document.privateKey);
    keys.set(document, key);
    return key;
  };
  const active = (domain: string): DomainDocument => {
    const document = config.current().domains.get(domain);
    if (document === undefined || (document.dkim.sign && document.dkim.keys.length === 0)) {
      throw new NoSigningKey(`no active DKIM key of ${domain}`);
    }
    return document;
  };

  return {
    async sign(domain, headers, bodyHash, nowMs) {
      const document = active(domain);
      const canonical = canonicalHeaders(headers);
      const fields = await Promise.all(
        document.dkim.keys.map((key) =>
          signField(domain, key, keyOf(key), canonical, bodyHash, Math.floor(nowMs / 1000)),
        ),
      );
      return Buffer.from(fields.join(''), 'latin1');
    },
  };
}

interface CanonicalHeaders {
  /** Names for the h= tag, in order, over-signed ones included. */
  readonly names: readonly string[];
  /** The signed fields in relaxed canonical form (RFC 6376 3.4.2), in the order of the names. */
  readonly text: string;
}

/** Picks the fields to sign: of a repeated field the last comes first (RFC 6376 5.4.2). */
function canonicalHeaders(headers: Buffer): CanonicalHeaders {
  const found = new Map<string, string[]>();
  // latin1 keeps every byte as it is, whatever the charset.
  for (const raw of headers.toString('latin1').split(/\r\n(?![ \t])/)) {
    const colon = raw.indexOf(':');
    if (colon <= 0) continue;
    const name = raw.slice(0, colon).trim().toLowerCase();
    const fields = found.get(name) ?? [];
    fields.unshift(relaxedField(name, raw.slice(colon + 1)));
    found.set(name, fields);
  }
  const names: string[] = [];
  let text = '';
  for (const name of SIGNED) {
    for (const field of found.get(name) ?? []) {
      names.push(name);
      text += field;
    }
    names.push(name);
  }
  return { names, text };
}

const relaxedField = (name: string, value: string): string =>
  `${name}:${value
    .replace(/\r\n/g, '')
    .replace(/[ \t]+/g, ' ')
    .replace(/^ | $/g, '')}\r\n`;

async function signField(
  domain: string,
  document: DkimKeyDocument,
  key: KeyObject,
  headers: CanonicalHeaders,
  bodyHash: string,
  nowSeconds: number,
): Promise<string> {
  const { tag, digest } = ALGORITHM[document.algorithm];
  const value =
    ` v=1; a=${tag}; c=relaxed/relaxed; d=${domain};\r\n` +
    ` s=${document.selector}; t=${nowSeconds};\r\n` +
    ` h=${fold(headers.names, ':')};\r\n` +
    ` bh=${bodyHash};\r\n` +
    ' b=';
  // The field signs itself with an empty b= and without its line end (RFC 6376 3.7).
  const own = relaxedField('dkim-signature', value).slice(0, -2);
  const data = Buffer.from(headers.text + own, 'latin1');
  // RFC 8463 3: Ed25519 signs the SHA-256 of the data, not the data.
  const signature = await signBytes(digest, digest === null ? createHash('sha256').update(data).digest() : data, key);
  return `DKIM-Signature:${value}${fold(signature.toString('base64').match(/.{1,72}/g) ?? [], '')}\r\n`;
}

/** Joins with folds, so that no line is longer than 78 characters (RFC 5322 2.1.1). */
function fold(parts: readonly string[], separator: string): string {
  let line = ' h='.length;
  let text = '';
  parts.forEach((part, index) => {
    const piece = index < parts.length - 1 ? part + separator : part;
    if (line + piece.length > 76) {
      text += '\r\n ';
      line = 1;
    }
    text += piece;
    line += piece.length;
  });
  return text;
}
