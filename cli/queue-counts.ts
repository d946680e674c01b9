/** What waits, counted over all replicas that run. */
import type { Counts } from '../relay/admin/shapes.ts';
import { queueCounts } from './admin-client.ts';
import { askAll, type Silent, silentOf } from './queue-view.ts';
import { table } from './table.ts';

type Count = Counts['counts'][number];

interface Counted {
  /** Largest first. */
  readonly counts: readonly Count[];
  readonly recipients: number;
  readonly unreachable: readonly Silent[];
}

export async function countQueues(state: string): Promise<Counted> {
  const asked = await askAll(state, queueCounts);
  const sums = new Map<string, Count>();
  let recipients = 0;
  for (const { answer } of asked) {
    recipients += answer?.recipients ?? 0;
    for (const count of answer?.counts ?? []) {
      const key = `${count.destination}\n${count.reason}`;
      const sum = sums.get(key);
      sums.set(key, {
        ...count,
        recipients: count.recipients + (sum?.recipients ?? 0),
        held: count.held + (sum?.held ?? 0),
      });
    }
  }
  const counts = [...sums.values()].sort((a, b) => b.recipients - a.recipients);
  return { counts, recipients, unreachable: silentOf(asked) };
}

export function countsText({ counts, recipients }: Pick<Counted, 'counts' | 'recipients'>): string {
  if (recipients === 0) return 'No message is queued.';
  const rows = counts.map(({ destination, reason, recipients: waiting, held }) => [
    String(waiting),
    held > 0 ? String(held) : '',
    destination,
    reason || 'not tried yet',
  ]);
  const others = recipients - counts.reduce((sum, count) => sum + count.recipients, 0);
  const rest = others > 0 ? `${others} at smaller destinations\n` : '';
  return `${table(['RECIPIENTS', 'HELD', 'DESTINATION', 'LAST REPLY'], rows)}\n${rest}${recipients} in all`;
}
