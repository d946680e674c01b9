/**
 * SmtpRelays, MailDomains and SmtpUsers, from memory; status and finalizers, to the API.
 *
 * The API server has judged each object, but perhaps by a CRD of another version than this program. So each is judged
 * again, once for each version of it. One that does not fit is illegible: it is there, and nobody decides anything by it;
 * above all what belongs to it does not look abandoned.
 */
import Type from 'typebox';
import Schema from 'typebox/schema';
import { API_VERSION, GROUP, VERSION } from '../../../crds/common.ts';
import { KINDS, type KindTypes } from '../../../crds/kinds.ts';
import type { KindDefinition, KindName, ObjectKey, ObjectMeta } from '../../../crds/resource.ts';
import { structural } from '../../../crds/structural.ts';
import { judgeStored } from '../../../crds/validate.ts';
import type { Events, Objects } from '../../backend.ts';
import { FINALIZER } from '../../runtime/apply-plan.ts';
import type { ReflectorTimes } from '../../runtime/reflector.ts';
import type { ApiKind, KubernetesApi, LiveObject } from './api.ts';
import { NotFound } from './api-error.ts';
import { Watched } from './watched.ts';

/** What is kept of an object: itself, or why it cannot be read. */
type Stored<Kind extends KindName> =
  | { readonly object: KindTypes[Kind]; readonly version: string }
  | { readonly problem: string; readonly version: string };

type Copies = { readonly [Kind in KindName]: Watched<Stored<Kind>> };

export interface ObjectsOptions {
  readonly api: KubernetesApi;
  /** Whose objects; undefined: of all namespaces. */
  readonly namespaces: readonly string[] | undefined;
  readonly events: Events;
  /** Told of each failure to list or watch, with the wait until the next try (ms). */
  readonly failed: (kind: ApiKind, error: unknown, retryMs: number) => void;
  readonly times?: Partial<ReflectorTimes>;
}

export const apiKind = ({ kind, plural }: Pick<KindDefinition, 'kind' | 'plural'>): ApiKind => ({
  group: GROUP,
  version: VERSION,
  kind,
  plural,
});

const API_KINDS = new Map(KINDS.map((definition) => [definition.kind, apiKind(definition)]));

export class ApiObjects implements Objects {
  readonly #api: KubernetesApi;
  readonly #events: Events;
  readonly #listeners: ((kind: KindName, key: ObjectKey) => void)[] = [];
  readonly #copies: Copies;

  constructor({ api, namespaces, events, failed, times }: ObjectsOptions) {
    this.#api = api;
    this.#events = events;
    const copyOf = <Kind extends KindName>(kind: Kind): Watched<Stored<Kind>> =>
      new Watched<Stored<Kind>>({
        api,
        kind: kindOf(kind),
        namespaces,
        decode: (live) => stored(kind, live),
        changed: (key, now) => this.#changed(kind, key, now),
        failed: (error, retryMs) => failed(kindOf(kind), error, retryMs),
        ...(times && { times }),
      });
    this.#copies = {
      SmtpRelay: copyOf('SmtpRelay'),
      MailDomain: copyOf('MailDomain'),
      SmtpUser: copyOf('SmtpUser'),
    };
  }

  /** Resolves once all was read. */
  async start(): Promise<void> {
    await Promise.all(Object.values(this.#copies).map((copy) => copy.start()));
  }

  async stop(): Promise<void> {
    await Promise.all(Object.values(this.#copies).map((copy) => copy.stop()));
  }

  get synced(): boolean {
    return Object.values(this.#copies).every(({ synced }) => synced);
  }

  list<Kind extends KindName>(kind: Kind): readonly KindTypes[Kind][] {
    return this.#copies[kind].list().flatMap((each) => ('object' in each ? [each.object] : []));
  }

  get<Kind extends KindName>(kind: Kind, key: ObjectKey): KindTypes[Kind] | undefined {
    const found = this.#copies[kind].get(key);
    return found && 'object' in found ? found.object : undefined;
  }

  illegible(kind: KindName, key: ObjectKey): boolean {
    const found = this.#copies[kind].get(key);
    return found !== undefined && 'problem' in found;
  }

  watch(listener: (kind: KindName, key: ObjectKey) => void): void {
    this.#listeners.push(listener);
  }

  async patchStatus<Kind extends KindName>(
    kind: Kind,
    key: ObjectKey,
    status: NonNullable<KindTypes[Kind]['status']>,
  ): Promise<void> {
    const known = this.get(kind, key);
    if (!known) return;
    // With the uid, so that the status of an object that is gone is not given to the next one of its name.
    const metadata = { ...key, uid: known.metadata.uid };
    await this.#write(kind, () =>
      this.#api.apply(
        kindOf(kind),
        { apiVersion: API_VERSION, kind, metadata, status },
        { force: true, subresource: 'status' },
      ),
    );
  }

  async setFinalizer(kind: KindName, key: ObjectKey, present: boolean): Promise<void> {
    const found = this.#copies[kind].get(key);
    if (!found || !('object' in found)) return;
    const others = (found.object.metadata.finalizers ?? []).filter((finalizer) => finalizer !== FINALIZER);
    // Of this version only: the list holds what others wait for, too.
    const metadata = { resourceVersion: found.version, finalizers: present ? [...others, FINALIZER] : others };
    await this.#write(kind, () => this.#api.patch(kindOf(kind), key, { metadata }));
  }

  async #write(kind: KindName, write: () => Promise<LiveObject>): Promise<void> {
    try {
      this.#copies[kind].wrote(await write());
    } catch (error) {
      // It went meanwhile; the watch tells.
      if (!(error instanceof NotFound)) throw error;
    }
  }

  #changed<Kind extends KindName>(kind: Kind, { namespace, name }: ObjectKey, now: Stored<Kind> | undefined): void {
    const key = { namespace, name };
    for (const listener of this.#listeners) listener(kind, key);
    if (now && 'problem' in now) {
      const message = `This ${kind} is left as it is, since this version of the operator cannot read it: ${now.problem}.`;
      this.#events.emit({ kind, key, type: 'Warning', reason: 'Illegible', message });
    }
  }
}

function kindOf(kind: KindName): ApiKind {
  const found = API_KINDS.get(kind);
  if (!found) throw new TypeError(`no such kind: ${kind}`);
  return found;
}

const STATUS = new Map(KINDS.map(({ kind, status }) => [kind, Schema.Compile(Type.Unsafe(structural(status)))]));

function stored<Kind extends KindName>(kind: Kind, live: LiveObject): Stored<Kind> {
  const version = live.metadata.resourceVersion;
  const { spec, problems } = judgeStored(kind, live.spec);
  if (spec === undefined) {
    return { problem: problems.map(({ field, message }) => `${field} ${message}`).join('; '), version };
  }
  const object = { apiVersion: API_VERSION, kind, metadata: metaOf(live), spec, ...statusOf(kind, live.status) };
  // The type says what the schemas have just checked.
  return { object: object as unknown as KindTypes[Kind], version };
}

/** A status that we cannot read is written anew. */
function statusOf(kind: KindName, status: unknown): { readonly status?: unknown } {
  return STATUS.get(kind)?.Check(status) ? { status } : {};
}

function metaOf({ metadata }: LiveObject): ObjectMeta {
  const { name, namespace, uid, creationTimestamp, generation = 1 } = metadata;
  const { deletionTimestamp, finalizers, labels, annotations } = metadata;
  return {
    name,
    namespace,
    uid,
    generation,
    creationTimestamp,
    ...(deletionTimestamp !== undefined && { deletionTimestamp }),
    ...(finalizers && { finalizers }),
    ...(labels && { labels }),
    ...(annotations && { annotations }),
  };
}
