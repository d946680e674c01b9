import { resolve } from 'node:path';
import { Command } from 'commander';
import { dnsResolversOption, stateOption } from '../arguments.ts';
import { standalone } from '../standalone.ts';

export const command = new Command('standalone')
  .description(
    'Runs the relays that a folder of manifests describes on this machine, and follows the folder: an edit takes effect in the running processes. Keys, passwords and queues are kept in the state folder.',
  )
  .requiredOption('-f, --filename <folder>', 'folder of manifests (*.yaml, *.yml, *.json)', (text: string) =>
    resolve(text),
  )
  .addOption(stateOption())
  .option('--listen-address <address>', 'address to listen on for mail; by default all of them')
  .addOption(dnsResolversOption())
  .option('--allow-empty', 'an empty folder deletes everything, instead of nothing', false)
  .addHelpText(
    'after',
    `
Example:
  $ chasqui standalone -f examples/quickstart --state state --listen-address 127.0.0.1
  $ chasqui status --state state

Deleting: an object goes when its manifest is gone from a folder that was read twice without an error. Only one
standalone may use a state folder. Stop it with Ctrl-C or SIGTERM; mail that is queued waits for the next start.`,
  )
  .action(standalone);
