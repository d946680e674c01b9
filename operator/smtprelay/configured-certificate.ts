/**
 * The certificate that a relay is told to serve for its hostname. It is another's: read, never written. One that cannot
 * be used is told, and the one that was served before goes on being served: clients rather see a certificate that is old
 * than none for their name.
 */
import type { X509Certificate } from 'node:crypto';
import Schema from 'typebox/schema';
import type { SmtpRelay } from '../../crds/smtprelay.ts';
import { CERTIFICATES, CertificatesDocument, NamedCertificateDocument } from '../../relay/config/documents.ts';
import type { CertificateRequest, Reference } from '../backend.ts';
import { type Judgement, timestamp } from '../runtime/conditions.ts';
import { readPair, validityOf } from './renewal.ts';

/** Secret that an issuer puts the certificate of a relay in. */
const issuedSecretName = (relay: string): string => `${relay}-issued`;

/** Where the certificate is that spec.tls.certificate asks for, if that is another's. */
export function configuredSecret({ metadata, spec }: SmtpRelay): string | undefined {
  const { secretRef, issuerRef } = spec.tls.certificate;
  return secretRef?.name ?? (issuerRef && issuedSecretName(metadata.name));
}

export function certificateRequest({ metadata, spec }: SmtpRelay): CertificateRequest | undefined {
  const issuer = spec.tls.certificate.issuerRef;
  return issuer && { secretName: issuedSecretName(metadata.name), names: [spec.hostname.toLowerCase()], issuer };
}

export interface ConfiguredCertificate {
  /** What to serve for the hostname; nothing: the certificate of the private CA is for it too. */
  readonly serve?: NamedCertificateDocument;
  readonly notAfterMs?: number;
  /** Why it is not the one that was asked for. */
  readonly problem?: Pick<Judgement, 'reason' | 'message'>;
}

interface Input {
  readonly relay: SmtpRelay;
  /** What stands where spec.tls.certificate points. */
  readonly reference: Reference | undefined;
  /** Documents that were applied last, by file. */
  readonly applied: ReadonlyMap<string, string>;
}

export function configuredCertificate({ relay, reference, applied }: Input, nowMs: number): ConfiguredCertificate {
  const secret = configuredSecret(relay);
  if (secret === undefined || !reference) return {};
  const name = relay.spec.hostname.toLowerCase();
  const judged = judge(secret, reference, name, nowMs);
  if ('certificate' in judged) {
    const { certificate, chain, key } = judged;
    return { serve: { names: [name], chain, key }, notAfterMs: validityOf(certificate).notAfterMs };
  }
  const before = servedBefore(name, applied);
  if (!before) return { problem: judged };
  const { notAfterMs } = before;
  const message = `${judged.message} The one before is served meanwhile; it is valid until ${timestamp(notAfterMs)}.`;
  return { ...before, problem: { reason: judged.reason, message } };
}

type Usable = { readonly certificate: X509Certificate; readonly chain: string; readonly key: string };
type Refusal = Pick<Judgement, 'reason' | 'message'>;

function judge(secret: string, reference: Reference, name: string, nowMs: number): Usable | Refusal {
  if ('problem' in reference) return { reason: 'SecretNotFound', message: reference.problem };
  const { 'tls.crt': chain, 'tls.key': key } = reference.data;
  if (!chain || !key) {
    return { reason: 'SecretIncomplete', message: `Secret ${secret} has no tls.crt or no tls.key.` };
  }
  const certificate = readPair({ certificate: chain, key });
  if (!certificate) {
    const message = `In Secret ${secret}, tls.crt and tls.key are no certificate and its private key, both PEM.`;
    return { reason: 'CertificateInvalid', message };
  }
  if (certificate.checkHost(name) === undefined) {
    const held = certificate.subjectAltName ?? 'no name';
    return {
      reason: 'HostnameMismatch',
      message: `The certificate in Secret ${secret} is for ${held}, not for ${name}.`,
    };
  }
  const { notBeforeMs, notAfterMs } = validityOf(certificate);
  if (nowMs >= notAfterMs) {
    return {
      reason: 'CertificateExpired',
      message: `The certificate in Secret ${secret} expired at ${timestamp(notAfterMs)}.`,
    };
  }
  if (nowMs < notBeforeMs) {
    const message = `The certificate in Secret ${secret} is valid from ${timestamp(notBeforeMs)} on.`;
    return { reason: 'CertificateNotYetValid', message };
  }
  return { certificate, chain, key };
}

const Certificates = Schema.Compile(CertificatesDocument);
const Named = Schema.Compile(NamedCertificateDocument);

/** What relays go by already, if it is for this name. */
function servedBefore(
  name: string,
  applied: ReadonlyMap<string, string>,
): { readonly serve: NamedCertificateDocument; readonly notAfterMs: number } | undefined {
  const text = applied.get(CERTIFICATES);
  const document: unknown = text === undefined ? undefined : JSON.parse(text);
  if (!Certificates.Check(document)) return undefined;
  const serve = document.named?.find((entry) => Named.Check(entry) && entry.names.includes(name));
  if (!Named.Check(serve)) return undefined;
  const certificate = readPair({ certificate: serve.chain, key: serve.key });
  return certificate && { serve, notAfterMs: validityOf(certificate).notAfterMs };
}
