import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { checkSpool, isSpool, type Recovery, recoverSpool, type SpoolCheck } from '../../relay/spool/recover.ts';
import { SpoolUnavailable } from '../../relay/spool/spool.ts';
import { EXIT, Failure } from '../failure.ts';
import { requireStateFolder } from '../state-folder.ts';

interface Options {
  spool?: string;
  state: string;
}

const spoolOption = () => new Option('--spool <dir>', 'spool of one replica, instead of all of a state folder');
const stateOption = () =>
  new Option('--state <dir>', 'state folder of the standalone').env('CHASQUI_STATE').default('./state');

const check = new Command('check')
  .description('Looks through spools for damage: pages, indexes, rows, bodies, and messages that are missing.')
  .addOption(spoolOption())
  .addOption(stateOption())
  .action(async (options: Options) => {
    for (const folder of await foldersOf(options)) {
      const found = await offline(folder, () => checkSpool(folder));
      console.log(checkText(folder, found));
      if (found.problems.length > 0) process.exitCode = EXIT.failure;
    }
  });

const recover = new Command('recover')
  .description('Makes damaged spools whole of what is left of them, tells what is lost, and lets them take mail again.')
  .addOption(spoolOption())
  .addOption(stateOption())
  .action(async (options: Options) => {
    for (const folder of await foldersOf(options)) {
      const found = await offline(folder, () => checkSpool(folder));
      if (found.problems.length === 0) console.log(checkText(folder, found));
      else console.log(recoveryText(folder, await offline(folder, () => recoverSpool(folder, Date.now()))));
    }
  });

/** @throws {Failure} */
async function foldersOf({ spool, state }: Options): Promise<readonly string[]> {
  if (spool !== undefined) {
    if (!isSpool(spool)) throw new Failure(`${spool} is no spool: there is neither a queue.db nor an ids.json`);
    return [spool];
  }
  await requireStateFolder(state);
  const names = await readdir(join(state, 'spool'), { recursive: true, withFileTypes: true }).catch(() => []);
  return names
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter(isSpool)
    .toSorted();
}

async function offline<T>(folder: string, look: () => Promise<T>): Promise<T> {
  try {
    return await look();
  } catch (error) {
    if (!(error instanceof SpoolUnavailable)) throw error;
    throw new Failure(`${error.message}. Stop the relay of ${folder} first.`, EXIT.unavailable);
  }
}

const checkText = (folder: string, { spoolId, messages, problems }: SpoolCheck): string =>
  [
    `${folder}: spool ${spoolId ?? 'unknown'}, ${messages} messages, ${problems.length === 0 ? 'nothing is wrong' : 'damaged:'}`,
    ...problems.map((problem) => `  ${problem}`),
  ].join('\n');

const recoveryText = (folder: string, { spoolId, messages, deliveries, lost, gap }: Recovery): string =>
  [
    `${folder}: spool ${spoolId} has ${messages} messages with ${deliveries} deliveries, and takes mail again`,
    ...(lost.length === 0 && gap === undefined ? ['  nothing is lost'] : []),
    ...(gap === undefined ? [] : [`  ${gap}`]),
    ...lost.map(({ queueId, problem }) => `  lost: ${queueId}: ${problem}`),
    ...(lost.length === 0 ? [] : [`  what was read of them is in ${join(folder, 'lost')}`]),
  ].join('\n');

export const command = new Command('spool')
  .description('Looks through spools and recovers them after damage, while their relay is stopped.')
  .addCommand(check)
  .addCommand(recover)
  .addHelpText(
    'after',
    '\nExamples:\n  $ chasqui spool check\n  $ chasqui spool recover --spool state/spool/default/outbound/0',
  );
