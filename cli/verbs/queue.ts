import { Command } from 'commander';
import { dump } from 'js-yaml';
import type { Action } from '../../relay/admin/actions.ts';
import { outputOption, stateOption, wholeNumber } from '../arguments.ts';
import { EXIT, Failure } from '../failure.ts';
import { actEverywhere, actedText, chosenBy } from '../queue-action.ts';
import { countQueues, countsText } from '../queue-counts.ts';
import { type FilterOptions, filterOf, withFilterOptions } from '../queue-filter.ts';
import { findMessage, listQueues, messageText, queueTable, type Silent } from '../queue-view.ts';
import { requireStateFolder } from '../state-folder.ts';

interface Options {
  output: string;
  state: string;
}

const list = withFilterOptions(new Command('list'))
  .description('Lists the messages that are queued, of all replicas, oldest first.')
  .option('--limit <n>', 'most messages of each replica', wholeNumber(1, 100_000), 1_000)
  .addOption(outputOption('table', 'json', 'yaml'))
  .addOption(stateOption())
  .action(async (options: Options & FilterOptions & { limit: number }) => {
    const { output, state, limit } = options;
    await requireStateFolder(state);
    const queues = await listQueues(state, limit, filterOf(options, Date.now()));
    tell(queues.unreachable);
    print(output, queues.messages, () => queueTable(queues.messages, Date.now()));
  });

const show = new Command('show')
  .description('Shows one message: its envelope, and what each destination said.')
  .argument('<id>', 'queue id, as the reply to the client and the log have it')
  .addOption(outputOption('table', 'json', 'yaml'))
  .addOption(stateOption())
  .action(async (id: string, { output, state }: Options) => {
    await requireStateFolder(state);
    const message = await findMessage(state, id);
    print(output, message, () => messageText(message, Date.now()));
  });

const counts = new Command('counts')
  .description('Counts the recipients that wait, by destination and by what it last said. Begin here.')
  .addOption(outputOption('table', 'json', 'yaml'))
  .addOption(stateOption())
  .action(async ({ output, state }: Options) => {
    await requireStateFolder(state);
    const counted = await countQueues(state);
    tell(counted.unreachable);
    print(output, counted.counts, () => countsText(counted));
  });

const action = (name: Action, description: string): Command =>
  withFilterOptions(new Command(name).argument('[id...]', 'queue ids'))
    .description(description)
    .option('--all', 'the whole queue of all relays', false)
    .option('--dry-run', 'tell how many messages it would be, and change nothing', false)
    .addOption(outputOption('table', 'json', 'yaml'))
    .addOption(stateOption())
    .action(async (ids: string[], options: Options & FilterOptions & { all: boolean; dryRun: boolean }) => {
      const { output, state, all, dryRun } = options;
      const chosen = chosenBy(ids, filterOf(options, Date.now()), all);
      await requireStateFolder(state);
      const acted = await actEverywhere(state, name, chosen, dryRun);
      tell(acted.unreachable);
      if (acted.messages.length > 0 || acted.unknown.length === 0) {
        print(output, acted.messages, () => actedText(name, acted));
      }
      if (acted.unknown.length === 0) return;
      throw new Failure(
        `not queued: ${acted.unknown.join(', ')}: delivered, returned or deleted, or never taken; the log tells`,
      );
    });

export const command = new Command('queue')
  .description(
    'Looks into the queues of the relays that run, and acts on what is there. A message that was delivered or returned is no longer there.',
  )
  .addCommand(counts)
  .addCommand(list)
  .addCommand(show)
  .addCommand(action('hold', 'Puts messages on hold: they are not tried, and do not expire, until they are released.'))
  .addCommand(action('release', 'Releases messages that are on hold: they are tried now.'))
  .addCommand(action('retry', 'Tries messages now instead of when they are due. Those on hold stay so.'))
  .addCommand(
    action(
      'recall',
      'Delivers here what is on its way to a replica that does not answer, and whose spool is lost for good. If that spool comes back after all, the messages may arrive TWICE.',
    ),
  )
  .addCommand(action('bounce', 'Gives messages up and tells their senders, as if they had expired.'))
  .addCommand(action('delete', 'Deletes messages. Their senders are NOT told: "bounce" does that.'))
  .addHelpText(
    'after',
    `
Examples:
  $ chasqui queue counts
  $ chasqui queue list --destination example.org --reason 4.7.1
  $ chasqui queue hold --sender @example.test --dry-run
  $ chasqui queue retry --destination example.org
  $ chasqui queue bounce ID

Exit codes: 0 done, also where there was nothing to do; 1 an id is not queued, or a replica did not answer; 2 wrong usage.`,
  );

function print(output: string, value: unknown, text: () => string): void {
  if (output === 'json') console.log(JSON.stringify(value, undefined, 2));
  else if (output === 'yaml') process.stdout.write(dump(value, { lineWidth: -1, noRefs: true }));
  else console.log(text());
}

/** Part of the answer is missing then: a script must not take it for all. */
function tell(unreachable: readonly Silent[]): void {
  for (const { replica, problem } of unreachable) console.error(`chasqui: ${replica} is left out: ${problem}`);
  if (unreachable.length > 0) process.exitCode = EXIT.failure;
}
