import { dirname, join, resolve } from 'node:path';
import { Command } from 'commander';
import { runRelay } from '../../relay/main.ts';
import { type Address, duration, hostAndPort, wholeNumber } from '../arguments.ts';
import { EXIT, Failure } from '../failure.ts';

/** Commander passes the former value too, which resolve would take for another part. */
const path = (text: string): string => resolve(text);

export const command = new Command('relay')
  .description(
    'Runs one replica of a relay from its config folder, with its own spool. "chasqui standalone" and the operator start replicas; there is seldom a reason to start one by hand.',
  )
  .requiredOption('--config <dir>', 'config folder, written by the operator', path)
  .requiredOption('--spool <dir>', 'spool folder of this replica; no other process may use it', path)
  .option(
    '--references <dir>',
    'folder with a folder for each Secret that the config refers to; by default "references" beside the config folder',
    path,
  )
  .requiredOption('--ordinal <n>', 'number of this replica, from 0', wholeNumber(0, 9999))
  .option('--listen-address <address>', 'address to listen on for mail; by default all of them')
  .requiredOption('--admin <socket>', 'unix socket of the admin API')
  .option(
    '--admin-listen <host:port>',
    'serve the admin API there too, under TLS, with the tokens of the two options below',
    hostAndPort,
  )
  .option('--admin-view-token <file>', 'token of those who may look, at least 32 characters; mode 0600 or 0440', path)
  .option('--admin-operate-token <file>', 'token of those who may hold, release, return and delete mail', path)
  .requiredOption(
    '--monitoring <address>',
    'address to serve metrics, health and readiness at; the config has the port',
  )
  .option('--monitoring-offset <n>', 'added to that port, for replicas that share a machine', wholeNumber(0, 9999), 0)
  .option(
    '--accept-after-stop <duration>',
    'after SIGTERM go on taking connections for so long, unready: for where others hear of that with a delay',
    duration,
    0,
  )
  .option(
    '--supervised',
    'be handed the sockets of listeners by the channel to the supervisor, and stop when it closes',
    false,
  )
  .action(async (options: RelayArguments) => {
    await runRelay({
      configFolder: options.config,
      spoolFolder: options.spool,
      referencesFolder: options.references ?? join(dirname(options.config), 'references'),
      ordinal: options.ordinal,
      ...(options.listenAddress !== undefined && { listenAddress: options.listenAddress }),
      adminSocket: options.admin,
      ...network(options),
      monitoring: { host: options.monitoring, offset: options.monitoringOffset },
      acceptAfterStopMs: options.acceptAfterStop,
      supervised: options.supervised,
    });
  });

function network({ adminListen, adminViewToken: view, adminOperateToken: operate }: RelayArguments) {
  if (!adminListen && view === undefined && operate === undefined) return {};
  if (!adminListen || view === undefined || operate === undefined) {
    throw new Failure('--admin-listen, --admin-view-token and --admin-operate-token go together', EXIT.usage);
  }
  return { adminNetwork: { ...adminListen, tokens: { view, operate } } };
}

interface RelayArguments {
  config: string;
  spool: string;
  references?: string;
  ordinal: number;
  listenAddress?: string;
  admin: string;
  adminListen?: Address;
  adminViewToken?: string;
  adminOperateToken?: string;
  monitoring: string;
  monitoringOffset: number;
  acceptAfterStop: number;
  supervised: boolean;
}
