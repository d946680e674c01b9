/** Which messages a queue verb is about, as options. */
import { type Command, Option } from 'commander';
import { type Filter, STATES } from '../relay/admin/shapes.ts';
import { duration } from './arguments.ts';

export interface FilterOptions {
  readonly sender?: string;
  readonly recipient?: string;
  readonly destination?: string;
  readonly user?: string;
  readonly status?: (typeof STATES)[number];
  readonly reason?: string;
  readonly olderThan?: number;
  readonly newerThan?: number;
}

export const withFilterOptions = (command: Command): Command =>
  command
    .option('--sender <address>', 'mail from it; @DOMAIN for all of a domain, <> for notices')
    .option('--recipient <address>', 'mail to it, or to @DOMAIN')
    .option('--destination <name>', 'mail that goes there: a domain, or a destination as "queue counts" names it')
    .option('--user <name>', 'mail that this SmtpUser sent, as NAME.NAMESPACE')
    .addOption(
      new Option(
        '--status <status>',
        'queued: not tried yet; deferred: waits; held: on hold; moving: to another replica',
      ).choices(STATES),
    )
    .option('--reason <reply>', 'whose last reply is so: 451, 4.7.1, or words of its text')
    .option('--older-than <duration>', 'that arrived longer ago, such as 90m or 24h', duration)
    .option('--newer-than <duration>', 'that arrived since', duration);

export function filterOf(options: FilterOptions, nowMs: number): Filter {
  const { sender, recipient, destination, user, status, reason, olderThan, newerThan } = options;
  return {
    ...(sender !== undefined && { sender }),
    ...(recipient !== undefined && { recipient }),
    ...(destination !== undefined && { destination }),
    ...(user !== undefined && { user }),
    ...(status !== undefined && { state: status }),
    ...(reason !== undefined && { reason }),
    ...(olderThan !== undefined && { arrivedBeforeMs: nowMs - olderThan }),
    ...(newerThan !== undefined && { arrivedAfterMs: nowMs - newerThan }),
  };
}
