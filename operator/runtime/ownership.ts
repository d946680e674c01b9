/** Whose a Secret is. Names are unique in a namespace, so another uid under our name is that of a predecessor. */
import type { KindName, ObjectMeta } from '../../crds/resource.ts';
import type { Secret, SecretOwner } from '../backend.ts';

export type Ownership = 'Ours' | 'Predecessor' | 'Foreign';

export function ownership(secret: Pick<Secret, 'owner'>, owner: SecretOwner): Ownership {
  if (secret.owner.kind !== owner.kind || secret.owner.name !== owner.name) return 'Foreign';
  return secret.owner.uid === owner.uid ? 'Ours' : 'Predecessor';
}

export const ownerOf = (object: { readonly kind: KindName; readonly metadata: ObjectMeta }): SecretOwner => ({
  kind: object.kind,
  name: object.metadata.name,
  uid: object.metadata.uid,
});
