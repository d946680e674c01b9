/**
 * The config folder as Secrets: one that a pod cannot start without, and one per shard, absent where a shard is. A pod
 * mounts all of them as one folder. Each is written by itself: a replica takes a folder only when all hashes of its
 * index match, so no order of writing can put half a config in force.
 */
import { CERTIFICATES, DOMAIN_SHARDS, domainShardFile, INDEX, SETTINGS } from '../../../../relay/config/documents.ts';
import type { RelayGroup } from '../../../backend.ts';
import type { ApiObject, LiveObject } from '../api.ts';
import { secretText } from '../secret-text.ts';
import { configSecretName, LABELS, meta, shardSecretName } from './identity.ts';

export const CONFIG_PURPOSE = 'config';

const ALWAYS = [INDEX, SETTINGS, CERTIFICATES];

/** Shards first: what they hold is mostly there by the time the index names it. */
export function configSecrets(group: RelayGroup): readonly ApiObject[] {
  const shards = [...group.documents].filter(([file]) => !ALWAYS.includes(file));
  const always = ALWAYS.map((file): [string, string] => {
    const text = group.documents.get(file);
    if (text === undefined) throw new RangeError(`a config needs ${file}`);
    return [file, text];
  });
  return [
    ...shards.map((shard) => secret(group, shardSecretName(group.name, shard[0]), [shard])),
    secret(group, configSecretName(group.name), always),
  ];
}

const secret = (group: RelayGroup, name: string, files: readonly (readonly [string, string])[]): ApiObject => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: meta(group, name, { [LABELS.purpose]: CONFIG_PURPOSE }),
  type: 'Opaque',
  data: Object.fromEntries(files.map(([file, text]) => [file, Buffer.from(text).toString('base64')])),
});

/** Index, certificates and shards of domains, as they stand in the Secrets. */
export function appliedDocuments(
  relay: string,
  find: (secret: string) => LiveObject | undefined,
): ReadonlyMap<string, string> {
  const text = (name: string, file: string): [string, string][] => {
    const live = find(name);
    const content = live && secretText(live, file);
    return content === undefined ? [] : [[file, content]];
  };
  const shards = Array.from({ length: DOMAIN_SHARDS }, (_, index) => domainShardFile(index));
  return new Map([
    ...[INDEX, CERTIFICATES].flatMap((file) => text(configSecretName(relay), file)),
    ...shards.flatMap((file) => text(shardSecretName(relay, file), file)),
  ]);
}
