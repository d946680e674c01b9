/**
 * DKIM keys of the user's own: read, never written, rotated by whoever makes them. Of several for one algorithm the last
 * that can be seen in DNS signs; those before it stay published for mail on its way. So the next key is put beside the
 * one that signs, under a selector of its own, and takes over by itself.
 *
 * What a selector has in DNS is bound to the key that was there: another key under the same selector signs only once DNS
 * has that one, else every signature would fail.
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import type { MailDomain } from '../../crds/maildomain.ts';
import type { Reference, Secrets } from '../backend.ts';
import { dkimName } from '../dns/records.ts';
import type { Judgement } from '../runtime/conditions.ts';
import { type DkimKey, publicValue } from './dkim-keys.ts';
import { ALGORITHMS, type Algorithm, type LivingKey, numberOf, selectorOf } from './rotation.ts';

type Wanted = MailDomain['spec']['dkim']['keys'][number];
type Problem = Pick<Judgement, 'reason' | 'message'>;

export interface OwnReference {
  readonly wanted: Wanted;
  /** What stands where it points. */
  readonly reference: Reference;
}

export type OwnKey = Pick<DkimKey, 'selector' | 'algorithm' | 'privateKey' | 'publicKey'>;

export interface OwnKeys {
  /** In the order of the spec. */
  readonly ready: readonly OwnKey[];
  /** Why others cannot be used. */
  readonly problems: readonly Problem[];
}

/** Of the Secret. The same as in those that we make, so that one can become the other. */
const FIELD = 'private.pem';
/** RFC 8301 3.2 has verifiers know up to 4096 bits; 1024 are factored soon. */
const LEAST_BITS = 2048;
const MOST_BITS = 4096;

export const observeOwnKeys = (
  { metadata, spec }: MailDomain,
  secrets: Pick<Secrets, 'reference'>,
): Promise<OwnReference[]> =>
  Promise.all(
    spec.dkim.keys.map(async (wanted) => ({
      wanted,
      reference: await secrets.reference(metadata.namespace, wanted.secretRef.name),
    })),
  );

export function judgeOwnKeys({ spec }: MailDomain, references: readonly OwnReference[]): OwnKeys {
  const ready: OwnKey[] = [];
  const problems: Problem[] = [];
  for (const { wanted, reference } of references) {
    const { selector, algorithm } = wanted;
    const key = isOfOurs(spec.dkim.selectorPrefix, selector) ? taken(selector) : read(wanted, reference);
    if ('reason' in key) problems.push(key);
    else ready.push({ selector, algorithm, ...key });
  }
  return { ready, problems };
}

/** A selector that a key of ours has, or may have. */
const isOfOurs = (prefix: string, selector: string): boolean =>
  ALGORITHMS.some((algorithm) => {
    const number = numberOf(selector, algorithm);
    return number !== undefined && selector === selectorOf(prefix, algorithm, number);
  });

const taken = (selector: string): Problem => ({
  reason: 'SelectorTaken',
  message: `Selector ${selector} is for keys that are made here: give spec.dkim.keys another, or set another selectorPrefix.`,
});

function read(
  { algorithm, secretRef: { name } }: Wanted,
  reference: Reference,
): Pick<OwnKey, 'privateKey' | 'publicKey'> | Problem {
  if ('problem' in reference) return { reason: 'SecretNotFound', message: reference.problem };
  const pem = reference.data[FIELD];
  if (!pem) return { reason: 'SecretIncomplete', message: `Secret ${name} has no ${FIELD}.` };
  const invalid = (why: string): Problem => ({
    reason: 'KeyInvalid',
    message: `In Secret ${name}, ${FIELD} ${why}.`,
  });
  if (/-----BEGIN (?:CERTIFICATE|(?:RSA )?PUBLIC KEY)-----/.test(pem)) {
    return invalid('is no private key, but what is made of one');
  }
  if (/ENCRYPTED/.test(pem)) return invalid('is encrypted: store it without a passphrase');
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    return invalid('is no private key in PEM (PKCS #8 or PKCS #1)');
  }
  const fault = faultOf(key, algorithm);
  if (fault !== undefined) return invalid(fault);
  return { privateKey: key.export({ type: 'pkcs8', format: 'pem' }).toString(), publicKey: publicValue(key) };
}

function faultOf(key: KeyObject, algorithm: Algorithm): string | undefined {
  const type = algorithm === 'RSA2048' ? 'rsa' : 'ed25519';
  if (key.asymmetricKeyType !== type) return `is a key for ${key.asymmetricKeyType}, not for ${type}`;
  const bits = key.asymmetricKeyDetails?.modulusLength;
  if (bits === undefined || (bits >= LEAST_BITS && bits <= MOST_BITS)) return undefined;
  return `has ${bits} bits: DKIM needs ${LEAST_BITS} to ${MOST_BITS} (RFC 8301)`;
}

export type OwnLiving = OwnKey & Pick<LivingKey, 'state'>;

/** @param isPublished whether its record was seen at every name server */
export function ownStates(
  domain: MailDomain,
  keys: readonly OwnKey[],
  isPublished: (key: OwnKey) => boolean,
): OwnLiving[] {
  const maySign = (key: OwnKey): boolean =>
    domain.spec.dns.verification !== 'Required' || isPublished(key) || isTold(domain, key, 'Active');
  const signs = new Set(
    ALGORITHMS.map((algorithm) => keys.findLast((key) => key.algorithm === algorithm && maySign(key))),
  );
  return keys.map((key) => {
    if (signs.has(key)) return { ...key, state: 'Active' };
    const isBefore = keys
      .slice(keys.indexOf(key))
      .some((later) => later.algorithm === key.algorithm && signs.has(later));
    const wasSeen = isBefore && (maySign(key) || isTold(domain, key, 'Retiring'));
    return { ...key, state: wasSeen ? 'Retiring' : 'Publishing' };
  });
}

/** The keys that sign, as the status says: what relays are told. */
export const signingOwnKeys = (domain: MailDomain, { ready }: OwnKeys): readonly OwnKey[] =>
  ready.filter((key) => isTold(domain, key, 'Active'));

/** Whether the status says this of the very key, and not of one that its selector had before. */
function isTold({ spec, status }: MailDomain, { selector, publicKey }: OwnKey, state: LivingKey['state']): boolean {
  const name = dkimName(selector, spec.domain);
  return (
    (status?.dkim?.keys.some((known) => known.selector === selector && known.state === state) ?? false) &&
    (status?.dnsRecords?.some((record) => record.name === name && record.value.includes(`p=${publicKey}`)) ?? false)
  );
}

/**
 * Algorithms for which no key is to be made here. One that was made, and signs, does so until the own one does.
 */
export function replacedAlgorithms({ spec, status }: MailDomain, own: readonly OwnLiving[]): ReadonlySet<Algorithm> {
  const selectors = new Set(spec.dkim.keys.map(({ selector }) => selector));
  return new Set(
    spec.dkim.keys
      .map(({ algorithm }) => algorithm)
      .filter((algorithm) => {
        const made = status?.dkim?.keys.some(
          (key) => key.algorithm === algorithm && key.state === 'Active' && !selectors.has(key.selector),
        );
        return !made || own.some((key) => key.algorithm === algorithm && key.state === 'Active');
      }),
  );
}
