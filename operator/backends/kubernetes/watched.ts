/** Objects of a kind, as they are now, from memory: of all namespaces with one watch, of some with one watch each. */
import type { ObjectKey } from '../../../crds/resource.ts';
import { Reflector, type ReflectorTimes } from '../../runtime/reflector.ts';
import type { ApiKind, KubernetesApi, LiveMeta, LiveObject, Selection } from './api.ts';
import { Gone } from './api-error.ts';

export interface WatchedOptions<Of> {
  readonly api: Pick<KubernetesApi, 'list' | 'watch'>;
  readonly kind: ApiKind;
  /** Undefined: all. */
  readonly namespaces: readonly string[] | undefined;
  readonly labelSelector?: string;
  /** What is kept of an object; made once for each version of it, must not throw. */
  readonly decode: (object: LiveObject) => Of;
  /** Called for each object that appears, changes or goes (undefined), with its last metadata. */
  readonly changed: (metadata: LiveMeta, now: Of | undefined) => void;
  readonly failed: (error: unknown, retryMs: number) => void;
  readonly times?: Partial<ReflectorTimes>;
}

interface Decoded<Of> {
  readonly metadata: LiveMeta;
  readonly value: Of;
}

export class Watched<Of> {
  readonly #decode: (object: LiveObject) => Of;
  readonly #all: Reflector<Decoded<Of>> | undefined;
  readonly #byNamespace: ReadonlyMap<string, Reflector<Decoded<Of>>>;

  constructor(options: WatchedOptions<Of>) {
    const { namespaces, decode } = options;
    this.#decode = decode;
    this.#all = namespaces ? undefined : reflector(options, undefined);
    this.#byNamespace = new Map(namespaces?.map((namespace) => [namespace, reflector(options, namespace)]));
  }

  /** Resolves once all was read. */
  async start(): Promise<void> {
    await Promise.all(this.#reflectors().map((each) => each.start()));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#reflectors().map((each) => each.stop()));
  }

  get synced(): boolean {
    return this.#reflectors().every(({ synced }) => synced);
  }

  get(key: ObjectKey): Of | undefined {
    return this.#of(key.namespace)?.get(key)?.value;
  }

  list(): Of[] {
    return this.#reflectors().flatMap((each) => Array.from(each.list(), ({ value }) => value));
  }

  /** Takes in the answer to a write of our own, before the watch tells it. */
  wrote(object: LiveObject): void {
    const { metadata } = object;
    this.#of(metadata.namespace)?.wrote({ metadata, value: this.#decode(object) });
  }

  #of(namespace: string): Reflector<Decoded<Of>> | undefined {
    return this.#all ?? this.#byNamespace.get(namespace);
  }

  #reflectors(): readonly Reflector<Decoded<Of>>[] {
    return this.#all ? [this.#all] : [...this.#byNamespace.values()];
  }
}

function reflector<Of>(
  { api, kind, labelSelector, decode, changed, failed, times }: WatchedOptions<Of>,
  namespace: string | undefined,
): Reflector<Decoded<Of>> {
  const selection: Selection = {
    ...(namespace !== undefined && { namespace }),
    ...(labelSelector !== undefined && { labelSelector }),
  };
  const decoded = (object: LiveObject): Decoded<Of> => ({ metadata: object.metadata, value: decode(object) });
  return new Reflector({
    source: {
      list: async (limit, next) => {
        const page = await api.list(kind, { ...selection, limit, ...(next !== undefined && { continue: next }) });
        return { ...page, items: page.items.map(decoded) };
      },
      async *watch(resourceVersion, timeoutSeconds, signal) {
        for await (const event of api.watch(kind, { ...selection, resourceVersion, timeoutSeconds, signal })) {
          yield event.type === 'BOOKMARK' ? event : { type: event.type, object: decoded(event.object) };
        }
      },
      tooOld: (error) => error instanceof Gone,
    },
    changed: (metadata, now) => changed(metadata, now?.value),
    failed,
    ...(times && { times }),
  });
}
