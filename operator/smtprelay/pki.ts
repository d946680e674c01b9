/**
 * A relay's own CA and the server certificates under it (RFC 5280), with ECDSA P-256 keys. When to make them is decided
 * in `renewal.ts`.
 *
 * The CA's key is made once and kept: its certificate is renewed with the same key and name, so that clients who hold
 * the old one trust new server certificates until it ends, and those who hold the new one trust the old ones.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from 'node:crypto';
import { isIPv4, isIPv6 } from 'node:net';
import { promisify } from 'node:util';
import { expandIPv6 } from '../dns/ip.ts';
import * as der from './der.ts';

const DAY_MS = 24 * 3_600_000;
export const CA_LIFE_MS = 3_650 * DAY_MS;
export const CERTIFICATE_LIFE_MS = 90 * DAY_MS;
/** Certificates begin a little in the past, for clients whose clock is behind ours. */
const BACKDATED_MS = 5 * 60_000;

/** PEM: certificate, and private key in PKCS #8. */
export interface CertifiedKey {
  readonly certificate: string;
  readonly key: string;
}

const generate = promisify(generateKeyPair);
const newKey = async (): Promise<KeyObject> => (await generate('ec', { namedCurve: 'P-256' })).privateKey;

const exportKey = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();

/** @param name common name of the CA, at most 64 characters; clients see it where a certificate is shown */
export async function makeCA(name: string, nowMs: number): Promise<CertifiedKey> {
  const key = await newKey();
  return { certificate: caCertificate(name, key, nowMs), key: exportKey(key) };
}

/** The same CA, with a certificate that begins now. */
export function renewCA(ca: CertifiedKey, nowMs: number): CertifiedKey {
  return { certificate: caCertificate(commonNameOf(ca), createPrivateKey(ca.key), nowMs), key: ca.key };
}

/** Our CAs have nothing but a common name, of letters, digits, hyphens and spaces: nothing in it is escaped. */
const commonNameOf = (ca: CertifiedKey): string => new X509Certificate(ca.certificate).subject.replace(/^CN=/, '');

const caCertificate = (name: string, key: KeyObject, nowMs: number): string =>
  certificate({
    issuer: commonName(name),
    signer: key,
    subject: commonName(name),
    publicKey: createPublicKey(key),
    notBeforeMs: nowMs - BACKDATED_MS,
    notAfterMs: nowMs + CA_LIFE_MS,
    // Signs server certificates and no other CA.
    extensions: [
      extension(BASIC_CONSTRAINTS, der.sequence(der.TRUE, der.integer(Buffer.of(0))), 'Critical'),
      extension(KEY_USAGE, KEY_CERT_SIGN, 'Critical'),
      extension(SUBJECT_KEY_ID, der.octets(keyId(createPublicKey(key)))),
    ],
  });

/**
 * A server certificate with a key of its own.
 * @param names DNS names and IP addresses it is for
 */
export async function makeServerCertificate(
  ca: CertifiedKey,
  names: readonly string[],
  nowMs: number,
): Promise<CertifiedKey> {
  const signer = createPrivateKey(ca.key);
  const key = await newKey();
  const caEndMs = Date.parse(new X509Certificate(ca.certificate).validTo);
  const pem = certificate({
    issuer: commonName(commonNameOf(ca)),
    signer,
    // Empty: a common name holds 64 characters, a host name may have more. So the critical SAN names all
    // (RFC 5280 4.2.1.6).
    subject: der.sequence(),
    publicKey: createPublicKey(key),
    notBeforeMs: nowMs - BACKDATED_MS,
    notAfterMs: Math.min(nowMs + CERTIFICATE_LIFE_MS, caEndMs),
    extensions: [
      extension(SUBJECT_ALT_NAME, der.sequence(...names.map(generalName)), 'Critical'),
      extension(BASIC_CONSTRAINTS, der.sequence(), 'Critical'),
      extension(KEY_USAGE, DIGITAL_SIGNATURE, 'Critical'),
      extension(EXT_KEY_USAGE, der.sequence(SERVER_AUTH)),
      extension(SUBJECT_KEY_ID, der.octets(keyId(createPublicKey(key)))),
      extension(AUTHORITY_KEY_ID, der.sequence(der.taggedPrimitive(0, keyId(createPublicKey(signer))))),
    ],
  });
  return { certificate: pem, key: exportKey(key) };
}

/** RFC 5758 3.2. */
const ECDSA_WITH_SHA256 = der.sequence(der.oid('1.2.840.10045.4.3.2'));
/** RFC 5280 4.2.1 and 4.2.1.12. */
const SUBJECT_KEY_ID = der.oid('2.5.29.14');
const KEY_USAGE = der.oid('2.5.29.15');
const SUBJECT_ALT_NAME = der.oid('2.5.29.17');
const BASIC_CONSTRAINTS = der.oid('2.5.29.19');
const AUTHORITY_KEY_ID = der.oid('2.5.29.35');
const EXT_KEY_USAGE = der.oid('2.5.29.37');
const SERVER_AUTH = der.oid('1.3.6.1.5.5.7.3.1');
/** RFC 5280 4.2.1.3: bits 0 and 5, without the zero bits behind them. */
const DIGITAL_SIGNATURE = der.bits(Buffer.of(0x80), 7);
const KEY_CERT_SIGN = der.bits(Buffer.of(0x04), 2);

const COMMON_NAME = der.oid('2.5.4.3');
const commonName = (name: string): Buffer => der.sequence(der.set(der.sequence(COMMON_NAME, der.utf8(name))));

const extension = (id: Buffer, value: Buffer, critical?: 'Critical'): Buffer =>
  der.sequence(id, ...(critical ? [der.TRUE] : []), der.octets(value));

/** RFC 5280 4.2.1.6: dNSName [2], iPAddress [7]. */
function generalName(name: string): Buffer {
  if (isIPv4(name)) return der.taggedPrimitive(7, Buffer.from(name.split('.').map(Number)));
  if (isIPv6(name)) return der.taggedPrimitive(7, Buffer.from(expandIPv6(name), 'hex'));
  return der.taggedPrimitive(2, Buffer.from(name));
}

/** RFC 7093 2, method 1: 160 bits of the SHA-256 of the public key, which is the point that ends the SPKI. */
const keyId = (key: KeyObject): Buffer =>
  createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }).subarray(-65))
    .digest()
    .subarray(0, 20);

interface CertificateParts {
  readonly issuer: Buffer;
  readonly signer: KeyObject;
  readonly subject: Buffer;
  readonly publicKey: KeyObject;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly extensions: readonly Buffer[];
}

/** RFC 5280 4.1, as PEM. */
function certificate(parts: CertificateParts): string {
  const toBeSigned = der.sequence(
    der.tagged(0, der.integer(Buffer.of(2))),
    der.integer(serialNumber()),
    ECDSA_WITH_SHA256,
    parts.issuer,
    der.sequence(der.time(parts.notBeforeMs), der.time(parts.notAfterMs)),
    parts.subject,
    parts.publicKey.export({ type: 'spki', format: 'der' }),
    der.tagged(3, der.sequence(...parts.extensions)),
  );
  const signature = sign('sha256', toBeSigned, parts.signer);
  return new X509Certificate(der.sequence(toBeSigned, ECDSA_WITH_SHA256, der.bits(signature))).toString();
}

/** RFC 5280 4.1.2.2: positive, at most 20 bytes. */
function serialNumber(): Buffer {
  const serial = randomBytes(16);
  serial[0] = 0x40 | ((serial[0] ?? 0) & 0x3f);
  return serial;
}
