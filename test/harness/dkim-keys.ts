/** Test support: the first keys of a domain, as they are stored. */
import type { MailDomain } from '../../crds/maildomain.ts';
import type { Secret } from '../../operator/backend.ts';
import { type KeySlot, keyRecipe, keySlot } from '../../operator/maildomain/dkim-keys.ts';

export interface MadeKey {
  readonly slot: KeySlot;
  readonly secret: Secret;
}

export const firstKeys = (domain: MailDomain, nowMs = Date.now()): Promise<MadeKey[]> =>
  Promise.all(domain.spec.dkim.algorithms.map((algorithm) => makeKey(domain, keySlot(domain, algorithm, 1), nowMs)));

export async function makeKey(domain: MailDomain, slot: KeySlot, nowMs: number): Promise<MadeKey> {
  const { generate, ...identity } = keyRecipe(domain, slot, nowMs);
  return { slot, secret: { ...identity, data: await generate() } };
}
