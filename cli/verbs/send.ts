import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import { type Address, hostAndPort, outputOption, stateOption } from '../arguments.ts';
import { chooseUser, credentialOf, defaultSender } from '../credential.ts';
import { readObjects, requireStateFolder } from '../state-folder.ts';
import { submit } from '../submit.ts';

interface Options {
  user?: string;
  from?: string;
  to: readonly string[];
  subject: string;
  body: string;
  server?: Address;
  output: string;
  state: string;
}

export const command = new Command('send')
  .description(
    'Sends a message as an SmtpUser, with the credential that the operator made for it, over verified TLS. The server has taken responsibility for the message when this succeeds; "chasqui queue" and the log tell what became of it.',
  )
  .requiredOption('--to <address...>', 'recipients')
  .option('--user <name>', 'SmtpUser as NAME or NAME.NAMESPACE; not needed when there is only one')
  .option('--from <address>', 'sender; by default the first address that the user may send as')
  .option('--subject <text>', 'subject', 'Hello from Chasqui')
  .option('--body <text>', 'text of the message; - reads it from standard input', 'It works.')
  .option('--server <host:port>', 'submit there instead of where the credential says', hostAndPort)
  .addOption(outputOption('table', 'json'))
  .addOption(stateOption())
  .addHelpText(
    'after',
    `
Examples:
  $ chasqui send --to someone@example.org
  $ date | chasqui send --user app.default --from app@example.test --to a@example.org b@example.org --subject Now --body -`,
  )
  .action(async (options: Options) => {
    const { state, to, subject, server, output } = options;
    await requireStateFolder(state);
    const user = chooseUser(await readObjects(state, 'SmtpUser'), options.user);
    const credential = await credentialOf(state, user);
    const body = options.body === '-' ? await text(process.stdin) : `${options.body}\n`;
    const from = options.from ?? defaultSender(user);
    const sent = await submit({ ...credential, ...server }, { from, to, subject, text: body });
    if (output === 'json') console.log(JSON.stringify(sent, undefined, 2));
    else console.log([...sent.rejected.map((line) => `refused: ${line}`), sent.response].join('\n'));
    if (sent.rejected.length > 0) process.exitCode = 1;
  });
