import { Command, Option } from 'commander';
import { type Address, hostAndPort, stateOption } from '../arguments.ts';
import { sink } from '../sink.ts';
import { stopSignal } from '../stop.ts';

export const command = new Command('sink')
  .description(
    'Stands for the server of a destination: takes any mail, prints what arrived, and verifies its DKIM signatures against the records of the MailDomains in the state folder. For demonstrations and tests; it delivers nothing.',
  )
  .addOption(
    new Option('--listen <host:port>', 'where to take mail')
      .argParser(hostAndPort)
      .default({ host: '127.0.0.1', port: 2627 }, '127.0.0.1:2627'),
  )
  .addOption(stateOption())
  .option('--json', 'print one JSON line for each message', false)
  .addHelpText('after', '\nExample:\n  $ chasqui sink --listen 127.0.0.1:2627')
  .action(async ({ listen, state, json }: { listen: Address; state: string; json: boolean }) => {
    await sink({ listen, state, json, signal: stopSignal(), out: process.stdout });
  });
