/**
 * The DKIM keys of a domain: one Secret for each. Keys are only ever created. The Secret of an algorithm that is taken
 * off the list stays, since taking it up again must not need new DNS, but it does not sign: the list says what signs.
 *
 * The Secrets of a MailDomain that is deleted stay too: whoever deletes one by mistake, or moves a manifest, gets the
 * same keys back, and the records in DNS stay right. The new MailDomain has another uid, so such a Secret is known by
 * kind, namespace and name of its owner, and taken up again only for the domain it was made for.
 */
import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import type { MailDomain } from '../../crds/maildomain.ts';
import type { DkimKeyDocument, DomainDocument } from '../../relay/config/documents.ts';
import type { Secret } from '../backend.ts';
import { ownerOf, ownership } from '../runtime/ownership.ts';
import type { SecretRecipe } from '../runtime/plan.ts';
import { domainOf } from './policies.ts';

type Algorithm = DkimKeyDocument['algorithm'];

/** RSA before Ed25519: every receiver knows RSA, some nothing else. */
const ALGORITHMS: readonly Algorithm[] = ['RSA2048', 'Ed25519'];
const SELECTOR_LETTER: Readonly<Record<Algorithm, string>> = { RSA2048: 'r', Ed25519: 'e' };
const KEY_TYPE: Readonly<Record<Algorithm, string>> = { RSA2048: 'rsa', Ed25519: 'ed25519' };

/** Which key of an algorithm is in use; a next one gets the next number and so a selector of its own. */
const KEY_NUMBER = 1;

/** A key that should be, and the Secret it is kept in. */
export interface KeySlot {
  readonly algorithm: Algorithm;
  readonly selector: string;
  readonly secretName: string;
}

/** The keys that a MailDomain's spec asks for. */
export function keySlots({ metadata, spec }: MailDomain): KeySlot[] {
  return ALGORITHMS.filter((algorithm) => spec.dkim.algorithms.includes(algorithm)).map((algorithm) => {
    const selector = `${spec.dkim.selectorPrefix}-${SELECTOR_LETTER[algorithm]}${KEY_NUMBER}`;
    return { algorithm, selector, secretName: `${metadata.name}-dkim-${selector}` };
  });
}

export interface DkimKey {
  readonly selector: string;
  readonly algorithm: Algorithm;
  /** PEM, PKCS #8. */
  readonly privateKey: string;
  /** Value of the `p=` tag. */
  readonly publicKey: string;
}

export interface DkimKeys {
  readonly ready: readonly DkimKey[];
  readonly missing: readonly KeySlot[];
  /** NAMESPACE/NAME of Secrets that stand where a key should be and are not for this domain. */
  readonly conflicts: readonly string[];
  /** NAMESPACE/NAME of Secrets of ours that hold no usable key. */
  readonly damaged: readonly string[];
}

/** @param secrets what stands under the names of the slots, in their order */
export function judgeKeys(domain: MailDomain, secrets: readonly (Secret | undefined)[]): DkimKeys {
  const ready: DkimKey[] = [];
  const missing: KeySlot[] = [];
  const conflicts: string[] = [];
  const damaged: string[] = [];
  for (const [index, slot] of keySlots(domain).entries()) {
    const secret = secrets[index];
    const id = `${domain.metadata.namespace}/${slot.secretName}`;
    if (!secret) missing.push(slot);
    else if (!isFor(secret, domain, slot)) conflicts.push(id);
    else {
      const key = readKey(secret, slot);
      if (key) ready.push(key);
      else damaged.push(id);
    }
  }
  return { ready, missing, conflicts, damaged };
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

function readKey({ data }: Secret, { algorithm, selector }: KeySlot): DkimKey | undefined {
  try {
    const privateKey = data['private.pem'] ?? '';
    const key = createPrivateKey(privateKey);
    if (key.asymmetricKeyType !== KEY_TYPE[algorithm]) return undefined;
    // From the key itself: were public.txt wrong, the record in DNS would be, and every signature would fail.
    return { selector, algorithm, privateKey, publicKey: publicValue(key) };
  } catch {
    return undefined;
  }
}

/** The `p=` value: RFC 6376 3.6.1 for RSA; the bare 32 bytes for Ed25519 (RFC 8463 3), the end of the SPKI. */
function publicValue(key: KeyObject): string {
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' });
  return (key.asymmetricKeyType === 'ed25519' ? spki.subarray(-32) : spki).toString('base64');
}

const generate = promisify(generateKeyPair);

/** The Secret of a new key. */
export function keyRecipe(domain: MailDomain, { algorithm, selector, secretName }: KeySlot): SecretRecipe {
  return {
    namespace: domain.metadata.namespace,
    name: secretName,
    owner: ownerOf(domain),
    purpose: 'dkim',
    annotations: { algorithm, domain: domainOf(domain), selector },
    generate: async () => {
      const { privateKey } = await (algorithm === 'RSA2048'
        ? generate('rsa', { modulusLength: 2048 })
        : generate('ed25519'));
      const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
      return { 'private.pem': pem.toString(), 'public.txt': `${publicValue(privateKey)}\n` };
    },
  };
}

/** What relays are told of the domain: with no usable key its mail waits (451 4.7.5) and is never sent unsigned. */
export const domainDocument = (domain: MailDomain, keys: readonly DkimKey[]): DomainDocument => ({
  name: `${domain.metadata.namespace}/${domain.metadata.name}`,
  domain: domainOf(domain),
  dkim: {
    sign: domain.spec.dkim.algorithms.length > 0,
    keys: keys.map(({ selector, algorithm, privateKey }) => ({ selector, algorithm, privateKey })),
  },
});
