/** The chasqui program: one verb each, loaded when it is asked for, so that a relay does not load the operator. */
import { Command, CommanderError } from 'commander';
import manifest from '../package.json' with { type: 'json' };
import { EXIT, Failure } from './failure.ts';

interface Verb {
  readonly summary: string;
  readonly load: () => Promise<{ readonly command: Command }>;
}

const VERBS: Readonly<Record<string, Verb>> = {
  standalone: {
    summary: 'run relays on this machine from a folder of manifests',
    load: () => import('./verbs/standalone.ts'),
  },
  operator: { summary: 'run relays on Kubernetes', load: () => import('./verbs/operator.ts') },
  uninstall: {
    summary: 'prepare a cluster for having its operator taken off',
    load: () => import('./verbs/uninstall.ts'),
  },
  relay: { summary: 'run one replica of a relay (the operator starts it)', load: () => import('./verbs/relay.ts') },
  sink: { summary: 'take mail as a demo destination, and print and verify it', load: () => import('./verbs/sink.ts') },
  send: { summary: 'send a message as an SmtpUser', load: () => import('./verbs/send.ts') },
  status: { summary: 'show objects, replicas and problems', load: () => import('./verbs/status.ts') },
  dns: { summary: 'show the DNS records to publish for a domain', load: () => import('./verbs/dns.ts') },
  spool: { summary: 'check and recover the disk of a queue', load: () => import('./verbs/spool.ts') },
  queue: { summary: 'look into the mail queues', load: () => import('./verbs/queue.ts') },
};

const EXAMPLES = `
Start with:
  $ chasqui standalone -f examples/quickstart --state state
  $ chasqui status
  $ chasqui dns example.test
  $ chasqui send --to someone@example.org

The state folder is --state, else $CHASQUI_STATE, else ./state.
Exit codes: 0 done, 1 failed, 2 wrong usage, 69 not available.`;

async function main(words: readonly string[]): Promise<void> {
  const program = new Command('chasqui')
    .description('Managed mail servers by manifest: durable, DKIM-signing SMTP relays.')
    .version(manifest.version)
    .addHelpText('after', EXAMPLES);
  const asked = words[0] === 'help' ? words[1] : words[0];
  for (const [name, { summary, load }] of Object.entries(VERBS)) {
    program.addCommand((name === asked ? (await load()).command : new Command(name)).summary(summary));
  }
  throwInsteadOfExit(program);
  await program.parseAsync(words, { from: 'user' });
}

function throwInsteadOfExit(command: Command): void {
  command
    .exitOverride()
    .showHelpAfterError(`Run "${command.name() === 'chasqui' ? '' : 'chasqui '}${command.name()} --help" for usage.`);
  command.commands.forEach(throwInsteadOfExit);
}

/** What went wrong, told on stderr; the exit code of it. */
function told(error: unknown): number {
  // Commander has printed its message, or the help that was asked for.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT.usage;
  if (error instanceof Failure) console.error(`chasqui: ${error.message}`);
  else console.error('chasqui: this should not happen:', error);
  return error instanceof Failure ? error.exitCode : EXIT.failure;
}

// A reader that has seen enough, such as head, is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = told(error);
}
