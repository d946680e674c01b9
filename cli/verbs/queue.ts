import { Command } from 'commander';
import { outputOption, stateOption, wholeNumber } from '../arguments.ts';
import { findMessage, listQueues, messageText, queueTable } from '../queue-view.ts';
import { requireStateFolder } from '../state-folder.ts';

interface Options {
  output: string;
  state: string;
  limit: number;
}

const list = new Command('list')
  .description('Lists the messages that are queued, of all replicas.')
  .option('--limit <n>', 'most messages of each replica', wholeNumber(1, 100_000), 1_000)
  .addOption(outputOption('table', 'json'))
  .addOption(stateOption())
  .action(async ({ output, state, limit }: Options) => {
    await requireStateFolder(state);
    const queues = await listQueues(state, limit);
    for (const { replica, problem } of queues.unreachable)
      console.error(`chasqui: ${replica} is not shown: ${problem}`);
    console.log(
      output === 'json' ? JSON.stringify(queues.messages, undefined, 2) : queueTable(queues.messages, Date.now()),
    );
    if (queues.unreachable.length > 0) process.exitCode = 1;
  });

const show = new Command('show')
  .description('Shows one message: its envelope, and what each destination said.')
  .argument('<id>', 'queue id, as the reply to the client and the log have it')
  .addOption(outputOption('table', 'json'))
  .addOption(stateOption())
  .action(async (id: string, { output, state }: Options) => {
    await requireStateFolder(state);
    const message = await findMessage(state, id);
    console.log(output === 'json' ? JSON.stringify(message, undefined, 2) : messageText(message, Date.now()));
  });

export const command = new Command('queue')
  .description(
    'Looks into the queues of the relays that run. A message that was delivered or returned is no longer there.',
  )
  .addCommand(list)
  .addCommand(show)
  .addHelpText('after', '\nExamples:\n  $ chasqui queue list\n  $ chasqui queue show ID -o json');
