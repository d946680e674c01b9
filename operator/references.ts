/** References from one object to another, across namespaces, and who may refer to what. */
import type { AllowedNamespaces, RelayRef } from '../crds/allowed-namespaces.ts';
import type { ObjectKey } from '../crds/resource.ts';
import { selects } from './label-selector.ts';

/** Labels of a namespace. */
export type LabelsOf = (namespace: string) => Readonly<Record<string, string>>;

/** The relay that is meant by an object of this namespace. */
export const relayKey = (namespace: string, ref: RelayRef): ObjectKey => ({
  namespace: ref.namespace ?? namespace,
  name: ref.name,
});

/** Each relay once, however it is written. */
export const relayKeys = (namespace: string, refs: readonly RelayRef[]): ObjectKey[] => [
  ...new Map(
    refs.map((ref) => relayKey(namespace, ref)).map((key) => [`${key.namespace}/${key.name}`, key] as const),
  ).values(),
];

export const isSameKey = (one: ObjectKey, other: ObjectKey): boolean =>
  one.namespace === other.namespace && one.name === other.name;

/** Whether an object of `namespace` may refer to one of namespace `home`, which grants this. */
export function admits(grant: AllowedNamespaces, home: string, namespace: string, labelsOf: LabelsOf): boolean {
  if (namespace === home || grant.from === 'All') return true;
  return grant.from === 'Selector' && grant.selector !== undefined && selects(grant.selector, labelsOf(namespace));
}
