/** The operator's metrics with what a reader has to know of each: docs/metrics.md is written from these declarations. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';

export interface Declaration {
  readonly name: string;
  /** What is counted or measured. */
  readonly help: string;
  /** What somebody who looks after an operator wants to know, and learns here. */
  readonly question: string;
  readonly unit: string;
  /** By label, its values: all of them, or in words what bounds them. */
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
  gauge(declaration: Declaration, samples: () => Iterable<Sample>): void {
    new Gauge({
      ...this.#declare('gauge', declaration),
      collect() {
        this.reset();
        for (const [labels, value] of samples()) this.set(labels, value);
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
