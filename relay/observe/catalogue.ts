/** Metrics with what a reader has to know of each: docs/metrics.md is written from these declarations. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';

export interface Declaration {
  readonly name: string;
  /** What is counted or measured. */
  readonly help: string;
  /** What somebody who looks after a relay wants to know, and learns here. */
  readonly question: string;
  readonly unit:
    | 'sessions'
    | 'attempts'
    | 'messages'
    | 'bytes'
    | 'replies'
    | 'recipients'
    | 'deliveries'
    | 'seconds'
    | 'failures'
    | '0 or 1';
  /** By label, its values: all of them, or in words what bounds them. Nothing that a client chooses is a label. */
  readonly labels?: Readonly<Record<string, readonly string[] | string>>;
}

export type Documented = Declaration & { readonly type: 'counter' | 'gauge' | 'histogram' };

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

  /** @param value asked at each scrape */
  gauge(declaration: Declaration, value: () => Promise<number>): Gauge {
    return new Gauge({
      ...this.#declare('gauge', declaration),
      async collect() {
        this.set(await value());
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
