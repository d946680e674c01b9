import { Command } from 'commander';
import { formatZone } from '../../operator/dns/zone.ts';
import { outputOption, stateOption } from '../arguments.ts';
import { advice, domainRecords, keyTable, recordTable } from '../dns-records.ts';
import { readObjects, requireStateFolder } from '../state-folder.ts';

export const command = new Command('dns')
  .description(
    'Shows the DNS records to publish so that mail of a domain is trusted: DKIM, SPF, DMARC; what DNS has of them, and what is left to do.',
  )
  .argument('<domain>', 'a domain that a MailDomain describes')
  .addOption(outputOption('table', 'json', 'zone'))
  .addOption(stateOption())
  .addHelpText(
    'after',
    `
Examples:
  $ chasqui dns example.test
  $ chasqui dns example.test -o zone >> /etc/nsd/example.test.zone

A TXT value longer than 255 bytes is several strings in one record: the table and the zone show them quoted, one after
the other; -o json has the value in one piece. States are as the operator last saw them: it looks each half hour, and
more often while something is missing.`,
  )
  .action(async (domain: string, { output, state }: { output: string; state: string }) => {
    await requireStateFolder(state);
    const { records, keys, ttlSeconds } = domainRecords(domain, await readObjects(state, 'MailDomain'));
    if (output === 'json') console.log(JSON.stringify(records, undefined, 2));
    else if (output === 'zone') process.stdout.write(formatZone(records, ttlSeconds));
    else {
      const todo = advice({ records, keys });
      const parts = [recordTable(records), ...(keys.length > 0 ? [keyTable(keys)] : []), todo.join('\n')];
      console.log(parts.filter((part) => part !== '').join('\n\n'));
    }
  });
