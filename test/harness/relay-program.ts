/**
 * `chasqui relay` with another clock and other timeouts, for tests that cannot wait for minutes or days. It stands
 * before the command that it replaces: relay-program.ts SETTINGS chasqui relay --config ...
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { hostAndPort } from '../../cli/arguments.ts';
import { TIMEOUTS, type Timeouts } from '../../relay/deliver/timeouts.ts';
import { runRelay } from '../../relay/main.ts';

interface Settings {
  readonly timeouts?: Partial<Timeouts>;
  /** A file with what is added to the time of day, ms; read each time. */
  readonly clock?: string;
  /** A file with the name of a step of a hand-over: the process is ended there, as by SIGKILL from outside. */
  readonly killAt?: string;
}

/** What to give RelayProcess as `wrap`. */
export const relayWith = (settings: Settings): readonly string[] => [
  process.execPath,
  import.meta.filename,
  JSON.stringify(settings),
];

if (import.meta.main) {
  const [settings = '{}', , , ...words] = process.argv.slice(2);
  const { timeouts, clock, killAt }: Settings = JSON.parse(settings);
  const text = { type: 'string' } as const;
  const options = {
    ...{ config: text, spool: text, ordinal: text, admin: text, monitoring: text, 'listen-address': text },
    ...{ 'admin-listen': text, 'admin-view-token': text, 'admin-operate-token': text },
  };
  const { values } = parseArgs({ args: words, options });
  const given = (name: keyof typeof values): string => values[name] ?? '';
  const network = values['admin-listen'];
  await runRelay({
    configFolder: given('config'),
    spoolFolder: given('spool'),
    referencesFolder: '/nonexistent',
    ordinal: Number(given('ordinal')),
    listenAddress: given('listen-address'),
    adminSocket: given('admin'),
    ...(network !== undefined && {
      adminNetwork: {
        ...hostAndPort(network),
        tokens: { view: given('admin-view-token'), operate: given('admin-operate-token') },
      },
    }),
    monitoring: { host: given('monitoring'), offset: 0 },
    supervised: false,
    timeouts: { ...TIMEOUTS, ...timeouts },
    ...(killAt !== undefined && {
      onHandoverStep: (step: string) => {
        if (readFileSync(killAt, 'utf8') === step) process.kill(process.pid, 'SIGKILL');
      },
    }),
    ...(clock !== undefined && { now: () => Date.now() + Number(readFileSync(clock, 'utf8')) }),
  });
}
