/** The certificates of a relay, as Secrets: what is there, what to make, and what to serve meanwhile. */
import type { X509Certificate } from 'node:crypto';
import type { SmtpRelay } from '../../crds/smtprelay.ts';
import type { CertificatesDocument } from '../../relay/config/documents.ts';
import type { Secret } from '../backend.ts';
import { secretConflict } from '../runtime/apply-plan.ts';
import { type Judgement, timestamp } from '../runtime/conditions.ts';
import { ownerOf, ownership } from '../runtime/ownership.ts';
import type { Plan, SecretRecipe } from '../runtime/plan.ts';
import { type CertifiedKey, makeCA, makeServerCertificate, renewCA } from './pki.ts';
import { caRenewal, readPair, serverRenewal, validityOf } from './renewal.ts';

const CA = { purpose: 'ca', certificate: 'ca.crt', key: 'ca.key' } as const;
const SERVER = { purpose: 'certificate', certificate: 'tls.crt', key: 'tls.key' } as const;

export const caSecretName = (relay: string): string => `${relay}-ca`;
export const certificateSecretName = (relay: string): string => `${relay}-tls`;

export interface ObservedCertificates {
  readonly relay: SmtpRelay;
  /** What stands under the names of its Secrets. */
  readonly ca: Secret | undefined;
  readonly certificate: Secret | undefined;
  /** Names and addresses that the server certificate is to be for. */
  readonly names: readonly string[];
}

export interface CertificatePlan extends Pick<Plan<'SmtpRelay'>, 'create' | 'apply' | 'delete' | 'againMs'> {
  readonly judgement: Judgement;
  /** What to serve now; a certificate that is being renewed is served until the next one is there. */
  readonly serve?: CertificatesDocument['default'];
  readonly notAfterMs?: number;
}

const judgement = (status: Judgement['status'], reason: string, message: string): Judgement => ({
  type: 'CertificateReady',
  status,
  reason,
  message,
});

/** The CA's certificate for clients, PEM; undefined while there is none. */
export function caCertificateOf(relay: SmtpRelay, secret: Secret | undefined): string | undefined {
  const pair = secret && isOurs(relay, secret) ? pairOf(secret, CA) : undefined;
  return pair && readPair(pair) ? pair.certificate : undefined;
}

export function planCertificates(observed: ObservedCertificates, nowMs: number): CertificatePlan {
  const { relay, ca: caSecret, certificate: serverSecret } = observed;
  const present = [caSecret, serverSecret].filter((secret) => secret !== undefined);
  const foreign = present.filter((secret) => ownership(secret, ownerOf(relay)) === 'Foreign');
  if (foreign.length > 0) {
    return {
      judgement: secretConflict(
        'CertificateReady',
        foreign.map(({ namespace, name }) => `${namespace}/${name}`),
      ),
    };
  }
  // Left by a relay of this name that was deleted: nobody is to trust its CA for this one.
  const stale = present.filter((secret) => !isOurs(relay, secret));

  if (!caSecret || stale.includes(caSecret)) {
    return {
      delete: present,
      create: [caRecipe(relay, nowMs)],
      judgement: judgement('False', 'CAMissing', 'The CA is being made.'),
    };
  }
  const caPair = pairOf(caSecret, CA);
  const ca = readPair(caPair);
  if (!ca) {
    const message = `Secret ${caSecret.namespace}/${caSecret.name} holds no usable CA: restore it, or delete it to have a new one made.`;
    return { judgement: judgement('False', 'CADamaged', message) };
  }
  return { ...planUnderCA(observed, { ca, caPair }, nowMs), delete: stale };
}

function planUnderCA(
  { relay, certificate: secret, names }: ObservedCertificates,
  { ca, caPair }: { readonly ca: X509Certificate; readonly caPair: CertifiedKey },
  nowMs: number,
): Omit<CertificatePlan, 'delete'> {
  const pair = secret && isOurs(relay, secret) ? pairOf(secret, SERVER) : undefined;
  const server = pair && readPair(pair);
  const renewCertificate = serverRenewal({ ca, server, names, nowMs });
  const apply: SecretRecipe[] = [];
  if (caRenewal({ ca, nowMs }) !== undefined) apply.push(caRenewalRecipe(relay, caPair, nowMs));
  if (renewCertificate !== undefined) apply.push(serverRecipe(relay, caPair, names, nowMs));
  if (!pair || !server?.verify(ca.publicKey)) {
    return {
      apply,
      judgement: judgement('False', 'CertificateMissing', `A certificate is being made: ${renewCertificate}.`),
    };
  }
  const { notAfterMs, renewAtMs } = validityOf(server);
  return {
    apply,
    serve: { chain: pair.certificate, key: pair.key },
    notAfterMs,
    againMs: Math.max(0, Math.min(renewAtMs, validityOf(ca).renewAtMs) - nowMs),
    judgement:
      renewCertificate === undefined
        ? judgement('True', 'CertificateReady', `Valid until ${timestamp(notAfterMs)}.`)
        : judgement(
            nowMs < notAfterMs ? 'True' : 'False',
            'Renewing',
            `A new certificate is being made: ${renewCertificate}.`,
          ),
  };
}

const isOurs = (relay: SmtpRelay, secret: Secret): boolean => ownership(secret, ownerOf(relay)) === 'Ours';

type Kind = typeof CA | typeof SERVER;

const pairOf = ({ data }: Secret, { certificate, key }: Kind): CertifiedKey => ({
  certificate: data[certificate] ?? '',
  key: data[key] ?? '',
});

const recipe = (relay: SmtpRelay, name: string, kind: Kind, make: () => Promise<CertifiedKey>): SecretRecipe => ({
  namespace: relay.metadata.namespace,
  name,
  owner: ownerOf(relay),
  purpose: kind.purpose,
  annotations: {},
  generate: async () => {
    const { certificate, key } = await make();
    return { [kind.certificate]: certificate, [kind.key]: key };
  },
});

const caRecipe = (relay: SmtpRelay, nowMs: number): SecretRecipe =>
  recipe(relay, caSecretName(relay.metadata.name), CA, () => {
    const { name, uid } = relay.metadata;
    // The uid tells the CAs of relays that had the same name apart: clients look issuers up by name. X.520 allows 64
    // characters.
    return makeCA(`Chasqui CA ${name} ${uid.slice(0, 8)}`, nowMs);
  });

const caRenewalRecipe = (relay: SmtpRelay, ca: CertifiedKey, nowMs: number): SecretRecipe =>
  recipe(relay, caSecretName(relay.metadata.name), CA, async () => renewCA(ca, nowMs));

const serverRecipe = (relay: SmtpRelay, ca: CertifiedKey, names: readonly string[], nowMs: number): SecretRecipe =>
  recipe(relay, certificateSecretName(relay.metadata.name), SERVER, () => makeServerCertificate(ca, names, nowMs));
