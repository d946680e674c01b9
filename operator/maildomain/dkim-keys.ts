/**
 * The DKIM keys of a domain as Secrets: one for each. Keys are only ever created. Which of them sign, and since when, is
 * in the status; what a Secret says of itself is when it was made and for what.
 *
 * By default the Secrets of a MailDomain that is deleted stay: whoever deletes one by mistake, or moves a manifest, gets
 * the same keys back, and the records in DNS stay right. The new MailDomain has another uid, so such a Secret is known
 * by kind, namespace and name of its owner, and taken up again only for the domain it was made for.
 */
import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { LRUCache } from 'lru-cache';
import type { MailDomain } from '../../crds/maildomain.ts';
import type { DomainDocument } from '../../relay/config/documents.ts';
import type { Secret } from '../backend.ts';
import { timestamp } from '../runtime/conditions.ts';
import { ownerOf, ownership } from '../runtime/ownership.ts';
import type { SecretRecipe } from '../runtime/plan.ts';
import { domainOf } from './policies.ts';
import { ALGORITHMS, type Algorithm, numberOf, selectorOf } from './rotation.ts';

/** Annotation of a Secret. */
const POLICY = 'deletion-policy';

/** A change of its value asks for new keys. */
export const ROTATE = 'chasqui.dev/rotate-dkim';

/** A key, and the Secret it is kept in. */
export interface KeySlot {
  readonly algorithm: Algorithm;
  readonly selector: string;
  readonly number: number;
  readonly secretName: string;
}

export function keySlot({ metadata, spec }: MailDomain, algorithm: Algorithm, number: number): KeySlot {
  return slotNamed(metadata.name, algorithm, selectorOf(spec.dkim.selectorPrefix, algorithm, number), number);
}

const slotNamed = (name: string, algorithm: Algorithm, selector: string, number: number): KeySlot => ({
  algorithm,
  selector,
  number,
  secretName: `${name}-dkim-${selector}`,
});

/** The keys in the status that were made here. */
export function knownSlots({ metadata, status }: MailDomain): KeySlot[] {
  return (status?.dkim?.keys ?? []).flatMap(({ selector, algorithm, created }) => {
    const number = numberOf(selector, algorithm);
    // Of one of the user's own nobody here knows when it was made.
    return number === undefined || created === undefined ? [] : [slotNamed(metadata.name, algorithm, selector, number)];
  });
}

/** Where keys may be: those in the status, and the next of each algorithm, which a crash may have kept out of it. */
export function slotsToRead(domain: MailDomain): KeySlot[] {
  const known = knownSlots(domain);
  const next = domain.spec.dkim.algorithms.map((algorithm) => {
    const numbers = known.filter((slot) => slot.algorithm === algorithm).map(({ number }) => number);
    return keySlot(domain, algorithm, Math.max(0, ...numbers) + 1);
  });
  return [...known, ...next];
}

/** The keys that sign, as the status has it. */
export function activeSlots(domain: MailDomain): KeySlot[] {
  const active = new Set(domain.status?.dkim?.keys.flatMap((key) => (key.state === 'Active' ? [key.selector] : [])));
  return knownSlots(domain).filter(({ selector }) => active.has(selector));
}

/** The slot that a Secret says it is of. */
export function slotOf({ name }: MailDomain['metadata'], { annotations }: Secret): KeySlot | undefined {
  const { selector = '' } = annotations;
  const algorithm = ALGORITHMS.find((each) => each === annotations.algorithm);
  const number = algorithm && numberOf(selector, algorithm);
  return number === undefined ? undefined : slotNamed(name, algorithm ?? 'RSA2048', selector, number);
}

export interface DkimKey extends KeySlot {
  /** PEM, PKCS #8. */
  readonly privateKey: string;
  /** Value of the `p=` tag. */
  readonly publicKey: string;
  /** When it was made (ms since 1970); undefined for one of before that was written down. */
  readonly createdMs: number | undefined;
  readonly request: string | undefined;
}

export interface StoredKey {
  readonly slot: KeySlot;
  readonly secret: Secret | undefined;
}

export interface DkimKeys {
  readonly ready: readonly DkimKey[];
  readonly absent: readonly KeySlot[];
  /** Slots where Secrets stand that are not for this domain. */
  readonly conflicts: readonly KeySlot[];
  /** Slots of Secrets of ours that hold no usable key. */
  readonly damaged: readonly KeySlot[];
}

export function judgeKeys(domain: MailDomain, stored: readonly StoredKey[]): DkimKeys {
  const ready: DkimKey[] = [];
  const absent: KeySlot[] = [];
  const conflicts: KeySlot[] = [];
  const damaged: KeySlot[] = [];
  for (const { slot, secret } of stored) {
    if (!secret) absent.push(slot);
    else if (!isFor(secret, domain, slot)) conflicts.push(slot);
    else {
      const key = readKey(secret, slot);
      if (key) ready.push(key);
      else damaged.push(slot);
    }
  }
  return { ready, absent, conflicts, damaged };
}

function isFor(secret: Secret, domain: MailDomain, slot: KeySlot): boolean {
  return (
    secret.purpose === 'dkim' &&
    ownership(secret, ownerOf(domain)) !== 'Foreign' &&
    secret.annotations.domain === domainOf(domain) &&
    secret.annotations.algorithm === slot.algorithm &&
    secret.annotations.selector === slot.selector
  );
}

const KEY_TYPE: Readonly<Record<Algorithm, string>> = { RSA2048: 'rsa', Ed25519: 'ed25519' };

function readKey({ data, annotations }: Secret, slot: KeySlot): DkimKey | undefined {
  const privateKey = data['private.pem'] ?? '';
  const { type, publicKey } = publicOf(privateKey);
  if (type !== KEY_TYPE[slot.algorithm]) return undefined;
  const createdMs = Date.parse(annotations.created ?? '');
  return {
    ...slot,
    privateKey,
    // From the key itself: were public.txt wrong, the record in DNS would be, and every signature would fail.
    publicKey,
    createdMs: Number.isNaN(createdMs) ? undefined : createdMs,
    request: annotations.request,
  };
}

interface PublicHalf {
  /** '': it is no key. */
  readonly type: string;
  readonly publicKey: string;
}

/** By private key: to take one apart costs 0.2 ms, and a relay with a thousand domains asks at each change of one. */
const publicHalves = new LRUCache<string, PublicHalf>({ max: 10_000 });

function publicOf(privateKey: string): PublicHalf {
  const known = publicHalves.get(privateKey);
  if (known) return known;
  const half = takeApart(privateKey);
  publicHalves.set(privateKey, half);
  return half;
}

function takeApart(privateKey: string): PublicHalf {
  try {
    const key = createPrivateKey(privateKey);
    return { type: key.asymmetricKeyType ?? '', publicKey: publicValue(key) };
  } catch {
    return { type: '', publicKey: '' };
  }
}

/** The `p=` value: RFC 6376 3.6.1 for RSA; the bare 32 bytes for Ed25519 (RFC 8463 3), the end of the SPKI. */
export function publicValue(key: KeyObject): string {
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' });
  return (key.asymmetricKeyType === 'ed25519' ? spki.subarray(-32) : spki).toString('base64');
}

const generate = promisify(generateKeyPair);

/** The Secret of a new key. */
export function keyRecipe(
  domain: MailDomain,
  { algorithm, selector, secretName }: KeySlot,
  nowMs: number,
): SecretRecipe {
  const request = domain.metadata.annotations?.[ROTATE];
  return {
    namespace: domain.metadata.namespace,
    name: secretName,
    owner: ownerOf(domain),
    purpose: 'dkim',
    annotations: {
      algorithm,
      created: timestamp(nowMs),
      ...(domain.spec.dkim.deletionPolicy === 'Delete' && { [POLICY]: 'Delete' }),
      domain: domainOf(domain),
      ...(request !== undefined && { request }),
      selector,
    },
    generate: async () => {
      const { privateKey } = await (algorithm === 'RSA2048'
        ? generate('rsa', { modulusLength: 2048 })
        : generate('ed25519'));
      const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
      return { 'private.pem': pem.toString(), 'public.txt': `${publicValue(privateKey)}\n` };
    },
  };
}

/** Whether the key goes with its MailDomain. Nothing but its Secret says so once that is gone. */
export const goesWithItsDomain = ({ purpose, annotations }: Secret): boolean =>
  purpose === 'dkim' && annotations[POLICY] === 'Delete';

/** Secrets of keys that say otherwise than the MailDomain does whether they go with it. */
export function withPolicy(
  domain: MailDomain,
  stored: readonly StoredKey[],
  keys: readonly Pick<DkimKey, 'secretName'>[],
): Secret[] {
  const goes = domain.spec.dkim.deletionPolicy === 'Delete';
  return stored.flatMap(({ secret }) => {
    if (!secret || goesWithItsDomain(secret) === goes) return [];
    if (!keys.some(({ secretName }) => secretName === secret.name)) return [];
    const { [POLICY]: _, ...others } = secret.annotations;
    return [{ ...secret, owner: ownerOf(domain), annotations: { ...others, ...(goes && { [POLICY]: 'Delete' }) } }];
  });
}

export const isSigned = ({ spec }: MailDomain): boolean => spec.dkim.algorithms.length + spec.dkim.keys.length > 0;

/** What relays are told of the domain: with no usable key its mail waits (451 4.7.5) and is never sent unsigned. */
export const domainDocument = (
  domain: MailDomain,
  keys: readonly Pick<DkimKey, 'selector' | 'algorithm' | 'privateKey'>[],
): DomainDocument => ({
  name: `${domain.metadata.namespace}/${domain.metadata.name}`,
  domain: domainOf(domain),
  dkim: {
    sign: isSigned(domain),
    keys: keys.map(({ selector, algorithm, privateKey }) => ({ selector, algorithm, privateKey })),
  },
});
