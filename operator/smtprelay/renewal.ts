/** When a certificate is to be made anew. Read from the certificate itself, so that no note beside it can be wrong. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import type { CertifiedKey } from './pki.ts';

/** Milliseconds since 1970. */
export interface Validity {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Two thirds of the life: the last third is there for renewals that fail. */
  readonly renewAtMs: number;
}

export function validityOf(certificate: X509Certificate): Validity {
  const notBeforeMs = Date.parse(certificate.validFrom);
  const notAfterMs = Date.parse(certificate.validTo);
  return { notBeforeMs, notAfterMs, renewAtMs: notBeforeMs + ((notAfterMs - notBeforeMs) * 2) / 3 };
}

/** Certificate of a pair, if both can be read and belong together. */
export function readPair({ certificate, key }: CertifiedKey): X509Certificate | undefined {
  try {
    const parsed = new X509Certificate(certificate);
    return parsed.checkPrivateKey(createPrivateKey(key)) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

/** A reason to make something anew, in words; the first that applies counts. */
type Renewal<Input> = (input: Input) => string | undefined;

interface CAInput {
  readonly ca: X509Certificate;
  readonly nowMs: number;
}

const CA_RENEWALS: readonly Renewal<CAInput>[] = [
  ({ ca, nowMs }) => (nowMs < validityOf(ca).renewAtMs ? undefined : 'two thirds of its life are over'),
  ({ ca, nowMs }) => (nowMs < validityOf(ca).notBeforeMs ? 'it is not valid yet' : undefined),
];

export const caRenewal = (input: CAInput): string | undefined => first(CA_RENEWALS, input);

interface ServerInput extends CAInput {
  readonly server: X509Certificate | undefined;
  readonly names: readonly string[];
}

const SERVER_RENEWALS: readonly Renewal<ServerInput>[] = [
  ({ server }) => (server ? undefined : 'there is none that can be read'),
  ({ server, ca }) => (server?.verify(ca.publicKey) ? undefined : 'it is of another CA'),
  ({ server, names }) => (server && isFor(server, names) ? undefined : 'the names of the relay have changed'),
  ({ server, nowMs }) =>
    server && nowMs >= validityOf(server).renewAtMs ? 'two thirds of its life are over' : undefined,
  ({ server, nowMs }) => (server && nowMs < validityOf(server).notBeforeMs ? 'it is not valid yet' : undefined),
];

export const serverRenewal = (input: ServerInput): string | undefined => first(SERVER_RENEWALS, input);

function first<Input>(renewals: readonly Renewal<Input>[], input: Input): string | undefined {
  for (const renewal of renewals) {
    const reason = renewal(input);
    if (reason !== undefined) return reason;
  }
  return undefined;
}

/** Whether the certificate is for these names and for no others. */
function isFor(certificate: X509Certificate, names: readonly string[]): boolean {
  const held = certificate.subjectAltName?.split(', ').length ?? 0;
  // A wildcard is a name like others here: what it covers does not count as held.
  const holds = (name: string): boolean =>
    (isIP(name) ? certificate.checkIP(name) : certificate.checkHost(name, { wildcards: false })) !== undefined;
  return held === names.length && names.every(holds);
}
