/** Metrics of a relay or the operator with what a reader has to know of each: docs/metrics.md is written from these. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';

export interface Declaration {
  readonly name: string;
  /** What is counted or measured. */
  readonly help: string;
  /** What somebody who looks after mail wants to know, and learns here. */
  readonly question: string;
  readonly unit: string;
  /** By label, its values: all of them, or in words what bounds them. Nothing that a client chooses is a label. */
  readonly labels?: Readonly<Record<string, readonly string[] | string>>;
}

export type Documented = Declaration & { readonly type: 'counter' | 'gauge' | 'histogram' };

/** A value of a gauge, and its labels. */
export type Sample = readonly [labels: Readonly<Record<string, string>>, value: number];

export class Catalogue {
  readonly #registry = new Registry();
  readonly #declarations: Documented[] = [];

  /** In the order in which they were declared. */
  get declarations(): readonly Documented[] {
    return this.#declarations;
  }

  counter(declaration: Declaration): Counter {
    return new Counter(this.#declare('counter', declaration));
  }

  /** @param samples asked at each scrape: what is not told any more is gone */
  gauge(declaration: Declaration, samples: () => Iterable<Sample> | Promise<Iterable<Sample>>): void {
    new Gauge({
      ...this.#declare('gauge', declaration),
      async collect() {
        const told = await samples();
        this.reset();
        for (const [labels, value] of told) this.set(labels, value);
      },
    });
  }

  /** A counter that something else keeps. @param value asked at each scrape */
  kept(declaration: Declaration, value: () => number): void {
    new Counter({
      ...this.#declare('counter', declaration),
      collect() {
        this.reset();
        this.inc(value());
      },
    });
  }

  histogram(declaration: Declaration, buckets: number[]): Histogram {
    return new Histogram({ ...this.#declare('histogram', declaration), buckets });
  }

  async page(): Promise<{ readonly type: string; readonly text: string }> {
    return { type: this.#registry.contentType, text: await this.#registry.metrics() };
  }

  #declare(type: Documented['type'], declaration: Declaration) {
    this.#declarations.push({ ...declaration, type });
    const { name, help, labels = {} } = declaration;
    return { name, help, labelNames: Object.keys(labels), registers: [this.#registry] };
  }
}
