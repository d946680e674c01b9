/**
 * The objects in force: what an API server is to a cluster. Each is a file, DIR/objects/KIND/NAMESPACE/NAME.json, on
 * disk before anybody is told of it, so that after a crash the last accepted version of everything is there, whatever
 * the manifests say by then.
 */
import { randomUUID } from 'node:crypto';
import { readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import Type from 'typebox';
import Schema from 'typebox/schema';
import { Condition } from '../../../crds/common.ts';
import { KINDS, type KindTypes } from '../../../crds/kinds.ts';
import { isObject } from '../../../crds/problem.ts';
import type { KindName, ObjectKey, ObjectMeta } from '../../../crds/resource.ts';
import { type Manifest, type ManifestRef, validateManifest } from '../../../crds/validate.ts';
import type { Objects } from '../../backend.ts';
import { FINALIZER } from '../../runtime/apply-plan.ts';
import type { AcceptedManifest, InForce } from './admission.ts';
import { isMissing, makeFolder, readJson, replaceDurably, syncFolder } from './durable-file.ts';
import { refText } from './manifests.ts';

/** The condition that tells of a manifest whose last edit was refused; there only while that is so. */
export const MANIFEST_VALID = 'ManifestValid';

type Target = KindTypes[KindName];

/** Conditions of the object are the controllers'; the one about its manifest is kept apart, and joins them on disk. */
interface Entry {
  readonly object: Target;
  readonly file: string;
  readonly invalid?: Condition;
}

const Strings = Type.Unsafe<Record<string, string>>({ type: 'object', additionalProperties: { type: 'string' } });

const StoredFile = Schema.Compile(
  Type.Object({
    kind: Type.String(),
    metadata: Type.Object({
      name: Type.String(),
      namespace: Type.String(),
      uid: Type.String({ minLength: 1 }),
      generation: Type.Integer({ minimum: 1 }),
      creationTimestamp: Type.String(),
      deletionTimestamp: Type.Optional(Type.String()),
      finalizers: Type.Optional(Type.Array(Type.String())),
      labels: Type.Optional(Strings),
      annotations: Type.Optional(Strings),
    }),
    spec: Type.Unknown(),
    status: Type.Optional(Type.Unknown()),
    source: Type.Object({ file: Type.String() }),
  }),
);

const CONDITIONS = Schema.Compile(Type.Object({ conditions: Type.Array(Condition) }));

export class ObjectStore implements Objects {
  readonly #folder: string;
  readonly #nowMs: () => number;
  readonly #entries = new Map<string, Entry>();
  readonly #listeners: ((kind: KindName, key: ObjectKey) => void)[] = [];

  /**
   * Reads what is in force.
   * @param folder DIR/objects
   * @param nowMs milliseconds since 1970
   * @throws {Error} for a file that is not one of ours: going on without it would make a new object of its name
   */
  constructor(folder: string, nowMs: () => number) {
    this.#folder = folder;
    this.#nowMs = nowMs;
    for (const file of objectFiles(folder)) {
      const entry = readEntry(file);
      this.#entries.set(refText(refOf(entry.object)), entry);
    }
  }

  list<Kind extends KindName>(kind: Kind): readonly KindTypes[Kind][] {
    return [...this.#entries.values()].flatMap(({ object }) => (isKind(object, kind) ? [object] : []));
  }

  get<Kind extends KindName>(kind: Kind, { namespace, name }: ObjectKey): KindTypes[Kind] | undefined {
    const object = this.#entries.get(refText({ kind, namespace, name }))?.object;
    return object && isKind(object, kind) ? object : undefined;
  }

  watch(listener: (kind: KindName, key: ObjectKey) => void): void {
    this.#listeners.push(listener);
  }

  async patchStatus<Kind extends KindName>(
    kind: Kind,
    { namespace, name }: ObjectKey,
    status: NonNullable<KindTypes[Kind]['status']>,
  ): Promise<void> {
    const entry = this.#entries.get(refText({ kind, namespace, name }));
    if (!entry || isDeepStrictEqual(entry.object.status, status)) return;
    this.#put({ ...entry, object: withStatus(entry.object, status) });
  }

  async setFinalizer(kind: KindName, { namespace, name }: ObjectKey, present: boolean): Promise<void> {
    const entry = this.#entries.get(refText({ kind, namespace, name }));
    if (!entry) return;
    const { finalizers: before = [], ...metadata } = entry.object.metadata;
    if (before.includes(FINALIZER) === present) return;
    const finalizers = present ? [...before, FINALIZER] : before.filter((other) => other !== FINALIZER);
    if (finalizers.length === 0 && metadata.deletionTimestamp !== undefined) {
      this.#drop(entry);
      return;
    }
    this.#put(withMeta(entry, { ...metadata, ...(finalizers.length > 0 && { finalizers }) }));
  }

  /** The objects in force and the files they came from; those that are being deleted are left out. */
  inForce(): readonly InForce[] {
    return [...this.#entries.values()]
      .filter(({ object }) => object.metadata.deletionTimestamp === undefined)
      .map(({ object, file }) => ({ ref: refOf(object), spec: object.spec, file }));
  }

  /** The manifest that an object came from. */
  fileOf(kind: KindName, { namespace, name }: ObjectKey): string | undefined {
    return this.#entries.get(refText({ kind, namespace, name }))?.file;
  }

  has(id: string): boolean {
    return this.#entries.has(id);
  }

  /**
   * Puts an accepted manifest in force; what was told of a refused one is over. An object of that name that is still being deleted comes first, as with an
   * API server: the new one is made once it is gone.
   */
  accept({ manifest, file }: AcceptedManifest): 'created' | 'changed' | 'same' | 'waits for deletion' {
    const id = refText({ kind: manifest.kind, ...manifest.metadata });
    const before = this.#entries.get(id);
    if (!before) {
      const creationTimestamp = new Date(this.#nowMs()).toISOString();
      const metadata = { ...manifest.metadata, uid: randomUUID(), generation: 1, creationTimestamp };
      this.#put({ object: objectOf(manifest, metadata), file });
      return 'created';
    }
    const { labels: _, annotations: __, ...metadata } = before.object.metadata;
    if (metadata.deletionTimestamp !== undefined) return 'waits for deletion';
    const changed = !isDeepStrictEqual(before.object.spec, manifest.spec);
    const generation = metadata.generation + (changed ? 1 : 0);
    const object = withStatus(
      objectOf(manifest, { ...metadata, ...manifest.metadata, generation }),
      before.object.status,
    );
    const entry: Entry = { object, file };
    if (isDeepStrictEqual(entry, before)) return 'same';
    this.#put(entry);
    return changed ? 'changed' : 'same';
  }

  /** Tells on the object that its manifest was refused. The version in force stays. Returns whether that is news. */
  refuse(id: string, message: string): boolean {
    const entry = this.#entries.get(id);
    if (!entry || entry.invalid?.message === message) return false;
    const invalid: Condition = {
      type: MANIFEST_VALID,
      status: 'False',
      reason: 'Invalid',
      message,
      observedGeneration: entry.object.metadata.generation,
      lastTransitionTime: entry.invalid?.lastTransitionTime ?? new Date(this.#nowMs()).toISOString(),
    };
    this.#put({ ...entry, invalid });
    return true;
  }

  /** Deletes an object, or marks it as deleted where a finalizer keeps it. */
  delete(id: string): void {
    const entry = this.#entries.get(id);
    if (!entry || entry.object.metadata.deletionTimestamp !== undefined) return;
    if ((entry.object.metadata.finalizers ?? []).length === 0) {
      this.#drop(entry);
      return;
    }
    const deletionTimestamp = new Date(this.#nowMs()).toISOString();
    this.#put(withMeta(entry, { ...entry.object.metadata, deletionTimestamp }));
  }

  #put(entry: Entry): void {
    const file = this.#fileOf(entry);
    makeFolder(path.dirname(file));
    replaceDurably(file, `${JSON.stringify(onDisk(entry), undefined, 2)}\n`);
    this.#entries.set(refText(refOf(entry.object)), entry);
    this.#tell(entry);
  }

  #drop(entry: Entry): void {
    const file = this.#fileOf(entry);
    rmSync(file, { force: true });
    syncFolder(path.dirname(file));
    this.#entries.delete(refText(refOf(entry.object)));
    this.#tell(entry);
  }

  #tell({ object: { kind, metadata } }: Entry): void {
    for (const listener of this.#listeners) listener(kind, { namespace: metadata.namespace, name: metadata.name });
  }

  #fileOf({ object: { kind, metadata } }: Entry): string {
    return path.join(this.#folder, kind, metadata.namespace, `${metadata.name}.json`);
  }
}

const refOf = ({ kind, metadata: { namespace, name } }: Target): ManifestRef => ({ kind, namespace, name });

const isKind = <Kind extends KindName>(object: Target, kind: Kind): object is KindTypes[Kind] & Target =>
  object.kind === kind;

/** Kind and spec come from one manifest, which was judged as a whole; TypeScript does not follow the pair. */
const objectOf = ({ apiVersion, kind, spec }: Manifest, metadata: ObjectMeta): Target =>
  ({ apiVersion, kind, metadata, spec }) as Target;

const withMeta = (entry: Entry, metadata: ObjectMeta): Entry => ({
  ...entry,
  object: { ...entry.object, metadata } as Target,
});

const withStatus = (object: Target, status: Target['status']): Target =>
  (status === undefined ? object : { ...object, status }) as Target;

function onDisk({ object, file, invalid }: Entry): object {
  const conditions = [...(object.status?.conditions ?? []), ...(invalid ? [invalid] : [])];
  const status = { ...object.status, ...(conditions.length > 0 && { conditions }) };
  return { ...object, ...(Object.keys(status).length > 0 && { status }), source: { file } };
}

const objectFiles = (folder: string): readonly string[] =>
  KINDS.flatMap(({ kind }) => filesOf(path.join(folder, kind)));

function filesOf(folder: string): readonly string[] {
  try {
    // A name that begins with a dot is a version that was being written when the process ended.
    return readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((entry) => entry.endsWith('.json') && !path.basename(entry).startsWith('.'))
      .map((entry) => path.join(folder, entry));
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function readEntry(file: string): Entry {
  const stored = readJson(file);
  if (!StoredFile.Check(stored)) throw notOurs(file, 'its metadata is incomplete');
  const { labels, annotations, ...metadata } = stored.metadata;
  const { object, problems } = validateManifest({
    apiVersion: isObject(stored) && 'apiVersion' in stored ? stored.apiVersion : undefined,
    kind: stored.kind,
    metadata: { name: metadata.name, namespace: metadata.namespace, labels, annotations },
    spec: stored.spec,
  });
  if (!object) throw notOurs(file, problems.map(({ field, message }) => `${field} ${message}`).join('; '));
  const { conditions, ...status } = statusOf(stored.status);
  const invalid = conditions.find(({ type }) => type === MANIFEST_VALID);
  const others = conditions.filter(({ type }) => type !== MANIFEST_VALID);
  const kept = { ...status, ...(others.length > 0 && { conditions: others }) };
  return {
    object: withStatus(
      objectOf(object, { ...object.metadata, ...metadata }),
      // Controllers wrote it and write it anew: a field that is not what it was is mended by the next reconcile.
      Object.keys(kept).length > 0 ? (kept as Target['status']) : undefined,
    ),
    file: stored.source.file,
    ...(invalid && { invalid }),
  };
}

function statusOf(status: unknown): { readonly conditions: readonly Condition[] } & Record<string, unknown> {
  if (!isObject(status)) return { conditions: [] };
  return CONDITIONS.Check(status) ? { ...status } : { ...status, conditions: [] };
}

const notOurs = (file: string, why: string): Error =>
  new Error(`${file} is not an object that chasqui stored (${why}): restore the file, or remove it to start anew`);
