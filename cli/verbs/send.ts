import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import { type Address, hostAndPort, outputOption, stateOption } from '../arguments.ts';
import { type Credential, chooseUser, credentialOf, defaultSender, mountedCredential } from '../credential.ts';
import { Failure } from '../failure.ts';
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
  secret?: string;
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
  .option('--secret <dir>', 'folder where the Secret of the SmtpUser is mounted, in place of --state; needs --from')
  .addHelpText(
    'after',
    `
Examples:
  $ chasqui send --to someone@example.org
  $ chasqui send --secret /etc/mail --from app@example.test --to someone@example.org
  $ date | chasqui send --user app.default --from app@example.test --to a@example.org b@example.org --subject Now --body -`,
  )
  .action(async (options: Options) => {
    const { to, subject, server, output } = options;
    const { credential, from } = options.secret === undefined ? await fromState(options) : await mounted(options);
    const body = options.body === '-' ? await text(process.stdin) : `${options.body}\n`;
    const sent = await submit({ ...credential, ...server }, { from, to, subject, text: body });
    if (output === 'json') console.log(JSON.stringify(sent, undefined, 2));
    else console.log([...sent.rejected.map((line) => `refused: ${line}`), sent.response].join('\n'));
    if (sent.rejected.length > 0) process.exitCode = 1;
  });

interface As {
  readonly credential: Credential;
  readonly from: string;
}

async function fromState({ state, user: name, from }: Options): Promise<As> {
  await requireStateFolder(state);
  const user = chooseUser(await readObjects(state, 'SmtpUser'), name);
  return { credential: await credentialOf(state, user), from: from ?? defaultSender(user) };
}

/** A Secret does not say what its user may send as. */
async function mounted({ secret = '', from }: Options): Promise<As> {
  if (from === undefined) throw new Failure('say by --from as whom to send: a Secret does not tell it');
  return { credential: await mountedCredential(secret), from };
}
