/** Labels of namespaces, from a copy of all of them. */
import { isDeepStrictEqual } from 'node:util';
import { NAMESPACE_NAME, type Namespaces } from '../../backend.ts';
import type { ReflectorTimes } from '../../runtime/reflector.ts';
import type { KubernetesApi } from './api.ts';
import { NAMESPACE } from './children/kinds.ts';
import { Watched } from './watched.ts';

type Labels = Readonly<Record<string, string>>;

export interface NamespacesOptions {
  readonly api: Pick<KubernetesApi, 'list' | 'watch'>;
  /** An operator of some namespaces may not read the others, and nobody may list only some: it knows them by name. */
  readonly readable: boolean;
  readonly failed: (error: unknown, retryMs: number) => void;
  readonly times?: Partial<ReflectorTimes>;
}

export class ApiNamespaces implements Namespaces {
  readonly #copies: Watched<Labels> | undefined;
  readonly #listeners: ((namespace: string) => void)[] = [];
  readonly #last = new Map<string, Labels>();

  constructor({ api, readable, failed, times }: NamespacesOptions) {
    if (!readable) return;
    this.#copies = new Watched<Labels>({
      ...{ api, kind: NAMESPACE, namespaces: undefined, failed },
      decode: ({ metadata }) => metadata.labels ?? {},
      changed: ({ name }, labels) => this.#changed(name, labels),
      ...(times && { times }),
    });
  }

  labels(namespace: string): Labels {
    return { ...this.#copies?.get({ namespace: '', name: namespace }), [NAMESPACE_NAME]: namespace };
  }

  watch(listener: (namespace: string) => void): void {
    this.#listeners.push(listener);
  }

  /** Resolves once all was read. */
  async start(): Promise<void> {
    await this.#copies?.start();
  }

  async stop(): Promise<void> {
    await this.#copies?.stop();
  }

  get synced(): boolean {
    return this.#copies?.synced ?? true;
  }

  /** Annotations and the phase of a namespace change too, and are nobody's business here. */
  #changed(namespace: string, labels: Labels | undefined): void {
    if (isDeepStrictEqual(this.#last.get(namespace), labels)) return;
    if (labels) this.#last.set(namespace, labels);
    else this.#last.delete(namespace);
    for (const listener of this.#listeners) listener(namespace);
  }
}
