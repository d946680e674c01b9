/** What replicas serve at their monitoring ports, read as Prometheus and probes do. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';

/** Values by sample, `name{label="value",...}`, summed over pages. */
export type Samples = ReadonlyMap<string, number>;

export async function page(port: number, path: string): Promise<{ readonly status: number; readonly text: string }> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`);
  return { status: response.status, text: await response.text() };
}

export async function samplesOf(ports: readonly number[]): Promise<Samples> {
  const sums = new Map<string, number>();
  for (const port of ports) {
    const { text: metrics } = await page(port, '/metrics');
    for (const [, sample = '', value] of metrics.matchAll(/^([a-z]\S*(?:\{.*\})?) (\S+)$/gm)) {
      sums.set(sample, (sums.get(sample) ?? 0) + Number(value));
    }
  }
  return sums;
}

/** What `promtool check metrics` says; clean is 0 and nothing. */
export async function promtoolVerdict(metrics: string): Promise<{ readonly code: unknown; readonly said: string }> {
  const child = spawn('promtool', ['check', 'metrics'], { stdio: ['pipe', 'pipe', 'pipe'] });
  const exit = once(child, 'exit');
  child.stdin.end(metrics);
  const said = (await Promise.all([text(child.stdout), text(child.stderr)])).join('');
  const [code] = await exit;
  return { code, said };
}
