/**
 * Secrets of ours, from memory: those with our labels are watched, no others are read. A name that is taken by another's
 * shows only when it is to be created; what is there then is asked of the API, and the answer decides.
 *
 * Key material is only ever created, by a request that fails where the name is taken. What can be made again is replaced
 * in one version only, so neither a slow cache nor another writer makes us overwrite what we have not seen.
 */
import { isDeepStrictEqual } from 'node:util';
import Type from 'typebox';
import Schema from 'typebox/schema';
import { isKindName } from '../../../crds/kinds.ts';
import type { ObjectKey } from '../../../crds/resource.ts';
import {
  REFERENCE_LABEL,
  type Reference,
  type Secret,
  SecretConflict,
  type SecretHolder,
  type SecretOwner,
  type Secrets,
} from '../../backend.ts';
import type { ApiObject, KubernetesApi, LiveMeta, LiveObject } from './api.ts';
import { AlreadyExists, NotFound } from './api-error.ts';
import { LABELS, MANAGER } from './children/identity.ts';
import { SECRET } from './children/kinds.ts';

/** Facts of a Secret stand in its annotations under this prefix. */
const PREFIX = 'chasqui.dev/';

const Data = Schema.Compile(
  Type.Unsafe<Record<string, string>>({ type: 'object', additionalProperties: { type: 'string' } }),
);

/** The copy of the Secrets that carry our label. */
export interface SecretCopies {
  get(key: ObjectKey): LiveObject | undefined;
  list(): readonly LiveObject[];
  wrote(secret: LiveObject): void;
}

export class ApiSecrets implements Secrets {
  readonly #api: Pick<KubernetesApi, 'get' | 'create' | 'patch' | 'delete'>;
  readonly #copies: SecretCopies;
  readonly #references: Pick<SecretCopies, 'get'>;
  readonly #listeners: ((namespace: string, name: string) => void)[] = [];

  constructor(
    api: Pick<KubernetesApi, 'get' | 'create' | 'patch' | 'delete'>,
    copies: SecretCopies,
    references: Pick<SecretCopies, 'get'>,
  ) {
    this.#api = api;
    this.#references = references;
    this.#copies = copies;
  }

  /** A Secret with our label appeared, changed or went. */
  noticed({ namespace, name }: ObjectKey): void {
    for (const listener of this.#listeners) listener(namespace, name);
  }

  watch(listener: (namespace: string, name: string) => void): void {
    this.#listeners.push(listener);
  }

  async get(namespace: string, name: string): Promise<Secret | undefined> {
    const live = this.#copies.get({ namespace, name });
    return live && secretOf(live);
  }

  async ownedBy(namespace: string, { kind, name }: Pick<SecretOwner, 'kind' | 'name'>): Promise<readonly Secret[]> {
    return this.#copies.list().flatMap((live) => {
      const { namespace: place, labels = {} } = live.metadata;
      // By its labels first: to read the content of each Secret there is takes a thousand times as long.
      if (place !== namespace || labels[LABELS.ownerKind] !== kind || labels[LABELS.ownerName] !== name) return [];
      return secretOf(live) ?? [];
    });
  }

  async reference(namespace: string, name: string): Promise<Reference> {
    const live = this.#references.get({ namespace, name });
    if (live) return { data: decoded(live.data) };
    return { problem: `There is no Secret ${name} with label ${REFERENCE_LABEL}: "true" in namespace ${namespace}.` };
  }

  async owners(): Promise<readonly SecretHolder[]> {
    const holders = this.#all().map(({ namespace, owner: { kind, name } }): [string, SecretHolder] => [
      `${kind}/${namespace}/${name}`,
      { kind, key: { namespace, name } },
    ]);
    return [...new Map(holders).values()];
  }

  async create(secret: Secret): Promise<void> {
    try {
      this.#copies.wrote(await this.#api.create(SECRET, objectOf(secret)));
    } catch (error) {
      if (!(error instanceof AlreadyExists)) throw error;
      // Ours perhaps, from before a restart, and the copy is behind: whoever asks next must see what is there.
      await this.#live(secret);
      throw new SecretConflict(`Secret ${secret.namespace}/${secret.name} is there already`);
    }
  }

  async apply(secret: Secret): Promise<void> {
    const known = this.#copies.get(secret) ?? (await this.#createdOrLive(secret));
    if (known === undefined) return;
    const before = secretOf(known);
    if (before?.owner.kind !== secret.owner.kind || before.owner.name !== secret.owner.name) {
      throw new SecretConflict(`Secret ${secret.namespace}/${secret.name} belongs to someone else`);
    }
    if (isDeepStrictEqual(before, secret)) return;
    this.#copies.wrote(await this.#api.patch(SECRET, secret, replacement(known.metadata, before, secret)));
  }

  async delete(namespace: string, name: string): Promise<void> {
    const known = this.#copies.get({ namespace, name });
    if (!known) return;
    try {
      await this.#api.delete(SECRET, { namespace, name }, { uid: known.metadata.uid });
    } catch (error) {
      if (!(error instanceof NotFound)) throw error;
    }
  }

  /** What stands in the way of a Secret that is not in the copy; undefined: nothing did, it was created. */
  async #createdOrLive(secret: Secret): Promise<LiveObject | undefined> {
    try {
      this.#copies.wrote(await this.#api.create(SECRET, objectOf(secret)));
      return undefined;
    } catch (error) {
      if (!(error instanceof AlreadyExists)) throw error;
      return this.#live(secret);
    }
  }

  async #live({ namespace, name }: ObjectKey): Promise<LiveObject | undefined> {
    try {
      const live = await this.#api.get(SECRET, { namespace, name });
      if (live.metadata.labels?.[LABELS.managedBy] === MANAGER) this.#copies.wrote(live);
      return live;
    } catch (error) {
      if (error instanceof NotFound) return undefined;
      throw error;
    }
  }

  #all(): Secret[] {
    return this.#copies.list().flatMap((live) => secretOf(live) ?? []);
  }
}

const annotationsOf = (secret: Secret): Record<string, string> =>
  Object.fromEntries(Object.entries(secret.annotations).map(([name, value]) => [`${PREFIX}${name}`, value]));

const labelsOf = ({ owner, purpose }: Secret): Record<string, string> => ({
  'app.kubernetes.io/name': 'chasqui',
  'app.kubernetes.io/instance': owner.name,
  [LABELS.managedBy]: MANAGER,
  [LABELS.ownerKind]: owner.kind,
  [LABELS.ownerName]: owner.name,
  [LABELS.ownerUid]: owner.uid,
  [LABELS.purpose]: purpose,
});

const encoded = (data: Secret['data']): Record<string, string> =>
  Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value).toString('base64')]));

const objectOf = (secret: Secret): ApiObject => ({
  apiVersion: 'v1',
  kind: 'Secret',
  type: 'Opaque',
  metadata: {
    namespace: secret.namespace,
    name: secret.name,
    labels: labelsOf(secret),
    annotations: annotationsOf(secret),
  },
  data: encoded(secret.data),
});

/** A merge patch that makes of one version of a Secret what it should be, and leaves what others wrote beside it. */
function replacement({ resourceVersion }: LiveMeta, before: Secret, wanted: Secret): Record<string, unknown> {
  const without = (had: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.keys(had).map((name): [string, null] => [name, null]));
  return {
    metadata: {
      resourceVersion,
      labels: labelsOf(wanted),
      annotations: { ...without(annotationsOf(before)), ...annotationsOf(wanted) },
    },
    data: { ...without(before.data), ...encoded(wanted.data) },
  };
}

/** undefined: it is not one of those that the controllers keep. */
function secretOf({ metadata, data: given }: LiveObject): Secret | undefined {
  const { namespace, name, labels = {}, annotations = {} } = metadata;
  const kind = labels[LABELS.ownerKind] ?? '';
  const owner = labels[LABELS.ownerName];
  const purpose = labels[LABELS.purpose];
  if (labels[LABELS.managedBy] !== MANAGER || !isKindName(kind)) return undefined;
  if (owner === undefined || purpose === undefined) return undefined;
  return {
    namespace,
    name,
    owner: { kind, name: owner, uid: labels[LABELS.ownerUid] ?? '' },
    purpose,
    data: decoded(given),
    annotations: Object.fromEntries(
      Object.entries(annotations).flatMap(([key, value]) =>
        key.startsWith(PREFIX) ? [[key.slice(PREFIX.length), value] as const] : [],
      ),
    ),
  };
}

const decoded = (data: unknown): Record<string, string> =>
  Data.Check(data)
    ? Object.fromEntries(
        Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString('utf8')]),
      )
    : {};
