import { Command, Option } from 'commander';
import { type Address, hostAndPort, stateOption } from '../arguments.ts';
import { recordsOfDns, recordsOfState, sink } from '../sink.ts';
import { stopSignal } from '../stop.ts';

interface Options {
  readonly listen: Address;
  readonly state: string;
  readonly dns: boolean;
  readonly json: boolean;
}

export const command = new Command('sink')
  .description(
    'Stands for the server of a destination: takes any mail, prints what arrived, and verifies its DKIM signatures against the records of the MailDomains in the state folder, or those of DNS. For demonstrations and tests; it delivers nothing.',
  )
  .addOption(
    new Option('--listen <host:port>', 'where to take mail')
      .argParser(hostAndPort)
      .default({ host: '127.0.0.1', port: 2627 }, '127.0.0.1:2627'),
  )
  .addOption(stateOption())
  .option('--dns', 'verify by the records that DNS has, instead of those of the state folder', false)
  .option('--json', 'print one JSON line for each message', false)
  .addHelpText('after', '\nExample:\n  $ chasqui sink --listen 127.0.0.1:2627')
  .action(async ({ listen, state, dns, json }: Options) => {
    const records = dns ? recordsOfDns : () => recordsOfState(state);
    await sink({ listen, records, json, signal: stopSignal(), out: process.stdout });
  });
