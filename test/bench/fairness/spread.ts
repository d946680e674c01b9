/** How latencies spread, in ms. */
export interface Spread {
  readonly count: number;
  readonly median: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

export function spreadOf(latencies: readonly number[]): Spread {
  const sorted = latencies.toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
  return { count: sorted.length, median: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) };
}

export function row(name: string, { count, median, p95, p99, max }: Spread): string {
  const cells = [median, p95, p99, max].map((ms) => (ms === Number.POSITIVE_INFINITY ? 'never' : ms.toFixed(1)));
  return `| ${[name, count, ...cells].join(' | ')} |\n`;
}

export const HEAD = '| messages | median | 95th | 99th | max |\n|---|---|---|---|---|---|\n';
