/**
 * The limits of the config, and whom each is for. Which servers a domain has is known once it was looked up: so what is
 * learned by an attempt about a destination counts for its next ones, before they are begun.
 */
import { LRUCache } from 'lru-cache';
import type { ConfigSource } from '../config/config.ts';
import type { DestinationSettings } from '../config/documents.ts';
import { DestinationLimit } from './destination-limit.ts';
import { matches } from './router.ts';

/** Destinations of which it is known that they have a limit, or none. */
const KNOWN = 10_000;
const NONE: readonly DestinationSettings[] = [];

export class DestinationLimits {
  readonly #config: Pick<ConfigSource, 'current'>;
  readonly #now: () => number;
  readonly #limits = new Map<string, DestinationLimit>();
  readonly #known = new LRUCache<string, { readonly limit: DestinationLimit | undefined }>({ max: KNOWN });
  #settings: readonly DestinationSettings[] = NONE;
  #replicas = 0;

  /** @param now milliseconds by a clock that nobody sets */
  constructor(config: Pick<ConfigSource, 'current'>, now: () => number) {
    this.#config = config;
    this.#now = now;
  }

  /** @param domain of the recipients, where their mail goes to its MX */
  of(host: string, domain?: string): DestinationLimit | undefined {
    this.follow();
    if (this.#limits.size === 0) return undefined;
    const name = host.toLowerCase();
    return this.#first(
      ({ domains, mx }) =>
        mx.some((pattern) => matches(pattern, name)) ||
        (domain !== undefined && domains.some((pattern) => matches(pattern, domain))),
    );
  }

  /** By what is known before it is looked up. @param destination key of a next hop: a domain, or names of smarthosts */
  expected(destination: string): DestinationLimit | undefined {
    this.follow();
    if (this.#limits.size === 0) return undefined;
    const isDomain = !destination.includes(':');
    const known = this.#known.get(destination) ?? {
      limit: this.#first(({ domains }) => isDomain && domains.some((pattern) => matches(pattern, destination))),
    };
    this.#known.set(destination, known);
    return known.limit;
  }

  /** An attempt found that this limit is the one for the destination. */
  learn(destination: string, limit: DestinationLimit | undefined): void {
    if (this.#limits.size > 0) this.#known.set(destination, { limit });
  }

  #first(is: (settings: DestinationSettings) => boolean): DestinationLimit | undefined {
    const settings = this.#settings.find(is);
    return settings && this.#limits.get(settings.name);
  }

  /** To be called when the config has changed: what waits may go on. */
  follow(): void {
    const { replicas, settings } = this.#config.current();
    const wanted = settings.delivery.destinations ?? NONE;
    if (wanted === this.#settings && (replicas === this.#replicas || wanted.length === 0)) return;
    this.#settings = wanted;
    this.#replicas = replicas;
    this.#known.clear();
    for (const [name, limit] of this.#limits) {
      if (wanted.some((each) => each.name === name)) continue;
      this.#limits.delete(name);
      limit.close();
    }
    for (const each of wanted) {
      const limit = this.#limits.get(each.name);
      if (limit) limit.configure(each, replicas);
      else this.#limits.set(each.name, new DestinationLimit(each, replicas, this.#now));
    }
  }
}
