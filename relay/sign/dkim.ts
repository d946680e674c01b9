/**
 * Signs with DKIM (RFC 6376; Ed25519 by RFC 8463) from header block and body hash: relaxed/relaxed, one signature for
 * each key. The signature itself is made on libuv's pool, so RSA (0.27 ms) does not hold up sessions.
 */
import { createHash, createPrivateKey, type KeyObject, sign as signWith } from 'node:crypto';
import { promisify } from 'node:util';
import type { ConfigSource } from '../config/config.ts';
import type { DkimKeyDocument } from '../config/documents.ts';
import { NoSigningKey, type Signer } from './signer.ts';

const signBytes = promisify<string | null, Buffer, KeyObject, Buffer>(signWith);

/**
 * Fields that every signature covers: those that say who writes to whom about what (RFC 6376 5.4.1), and those that
 * decide how the body is read. Each is listed once more than it occurs, and so where it is missing too: a field that is
 * added later breaks the signature, where it could else replace what the reader sees (RFC 6376 5.4, 8.15).
 */
const ALWAYS = [
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
];

/**
 * Fields that are covered where they are there, and then against a second one too. Where they are missing they may be
 * added: a mailing list that changes nothing else adds its List fields, and the signature shall survive that. RFC 8058 4
 * asks for List-Unsubscribe and List-Unsubscribe-Post to be signed; large receivers count Feedback-ID only if it is.
 * Trace fields (Received, Return-Path, Resent-*) belong to the way and not to the message: never signed (RFC 6376 5.4).
 */
const WHERE_PRESENT = [
  'content-id',
  'content-description',
  'content-disposition',
  'list-id',
  'list-help',
  'list-unsubscribe',
  'list-unsubscribe-post',
  'list-subscribe',
  'list-post',
  'list-owner',
  'list-archive',
  'feedback-id',
];

const SIGNED: ReadonlySet<string> = new Set([...ALWAYS, ...WHERE_PRESENT]);

const ALGORITHM = {
  RSA2048: { tag: 'rsa-sha256', keyType: 'rsa', digest: 'sha256' },
  Ed25519: { tag: 'ed25519-sha256', keyType: 'ed25519', digest: null },
} as const;

export function createSigner(config: ConfigSource): Signer {
  // Parsing a PEM costs a tenth of a signature. Keys go with the documents of a config that is no longer in force.
  const parsed = new WeakMap<DkimKeyDocument, KeyObject>();
  const keyOf = (domain: string, document: DkimKeyDocument): KeyObject => {
    let key = parsed.get(document);
    if (key === undefined) {
      key = parseKey(domain, document);
      parsed.set(document, key);
    }
    return key;
  };

  return {
    async sign(domain, headers, bodyHash, nowMs) {
      const dkim = config.current().domains.get(domain)?.dkim;
      if (dkim === undefined || (dkim.sign && dkim.keys.length === 0)) {
        throw new NoSigningKey(`no active DKIM key of ${domain}`);
      }
      const canonical = canonicalHeaders(headers);
      const fields = await Promise.all(
        dkim.keys.map((document) =>
          signField({ domain, document, key: keyOf(domain, document), canonical, bodyHash, nowMs }),
        ),
      );
      return Buffer.from(fields.join(''), 'latin1');
    },
  };
}

/** @throws {NoSigningKey} rather than make signatures that nobody can verify */
function parseKey(domain: string, { selector, algorithm, privateKey }: DkimKeyDocument): KeyObject {
  let key: KeyObject | undefined;
  try {
    key = createPrivateKey(privateKey);
  } catch {
    // The error may quote the key.
  }
  if (key?.asymmetricKeyType === ALGORITHM[algorithm].keyType) return key;
  throw new NoSigningKey(`DKIM key ${selector} of ${domain} is not a private key for ${algorithm}`);
}

interface CanonicalHeaders {
  /** Names for the h= tag, in order, over-signed ones included. */
  readonly names: readonly string[];
  /** The signed fields in relaxed canonical form (RFC 6376 3.4.2), in the order of the names. */
  readonly text: string;
}

/** Verifiers drop blanks before the colon (RFC 6376 3.4.2), which RFC 5322 4.5 calls obsolete. */
const FIELD_START = /^([!-9;-~]+)[ \t]*:/;

/** Picks the fields to sign: of a repeated field the last comes first (RFC 6376 5.4.2). */
function canonicalHeaders(headers: Buffer): CanonicalHeaders {
  const found = new Map<string, string[]>();
  // latin1 keeps every byte as it is, whatever the charset.
  for (const raw of headers.toString('latin1').split(/\r\n(?![ \t])/)) {
    const [start = '', given = ''] = FIELD_START.exec(raw) ?? [];
    const name = given.toLowerCase();
    if (!SIGNED.has(name)) continue;
    const field = relaxedField(name, raw.slice(start.length));
    const fields = found.get(name);
    if (fields) fields.push(field);
    else found.set(name, [field]);
  }
  const names: string[] = [];
  let text = '';
  const cover = (name: string, fields: readonly string[]): void => {
    for (let i = 0; i <= fields.length; i++) names.push(name);
    text += fields.toReversed().join('');
  };
  for (const name of ALWAYS) cover(name, found.get(name) ?? []);
  for (const name of WHERE_PRESENT) {
    const fields = found.get(name);
    if (fields) cover(name, fields);
  }
  return { names, text };
}

const relaxedField = (name: string, value: string): string =>
  `${name}:${value
    .replace(/\r\n/g, '')
    .replace(/[ \t]+/g, ' ')
    .replace(/^ | $/g, '')}\r\n`;

async function signField({
  domain,
  document,
  key,
  canonical,
  bodyHash,
  nowMs,
}: {
  readonly domain: string;
  readonly document: DkimKeyDocument;
  readonly key: KeyObject;
  readonly canonical: CanonicalHeaders;
  readonly bodyHash: string;
  readonly nowMs: number;
}): Promise<string> {
  const { tag, digest } = ALGORITHM[document.algorithm];
  const value =
    ` v=1; a=${tag}; c=relaxed/relaxed; d=${domain};\r\n` +
    ` s=${document.selector}; t=${Math.floor(nowMs / 1000)};\r\n` +
    ` h=${fold(canonical.names, ':')};\r\n` +
    ` bh=${bodyHash};\r\n` +
    ' b=';
  // The field signs itself with an empty b= and without its line end (RFC 6376 3.7).
  const own = relaxedField('dkim-signature', value).slice(0, -2);
  const data = Buffer.from(canonical.text + own, 'latin1');
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
