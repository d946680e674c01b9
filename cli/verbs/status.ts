import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import { ReplicaUnreachable, replicaStatus } from '../admin-client.ts';
import { outputOption, stateOption, wholeNumber } from '../arguments.ts';
import { EXIT } from '../failure.ts';
import { holderOf, readObjects, readProblems, replicaSockets, requireStateFolder } from '../state-folder.ts';
import { type Live, type Report, report, reportText } from '../status-report.ts';

const LOOK_AGAIN_MS = 250;

export const command = new Command('status')
  .description(
    'Shows the objects of a state folder and whether they are ready, the replicas of the relays with their queued mail, and what is wrong with the manifests. Exits 0 when everything is ready, else 1.',
  )
  .option('--wait <seconds>', 'wait until everything is ready, at most so long', wholeNumber(0, 86_400), 0)
  .addOption(outputOption('table', 'json'))
  .addOption(stateOption())
  .addHelpText(
    'after',
    '\nExamples:\n  $ chasqui status\n  $ chasqui status --wait 30 && chasqui send --to someone@example.org',
  )
  .action(async ({ wait, output, state }: { wait: number; output: string; state: string }) => {
    const until = Date.now() + wait * 1000;
    const last = await readyOrLast(state, until);
    console.log(output === 'json' ? JSON.stringify(last, undefined, 2) : reportText(last, Date.now()));
    if (!last.ready) process.exitCode = EXIT.failure;
  });

async function readyOrLast(state: string, untilMs: number): Promise<Report> {
  for (;;) {
    const patient = Date.now() < untilMs;
    try {
      const seen = await look(state);
      if (seen.ready || !patient) return seen;
    } catch (error) {
      // The folder may still have to be made.
      if (!patient) throw error;
    }
    await delay(LOOK_AGAIN_MS);
  }
}

async function look(state: string): Promise<Report> {
  await requireStateFolder(state);
  const holder = await holderOf(state);
  const relays = await readObjects(state, 'SmtpRelay');
  const objects = [...relays, ...(await readObjects(state, 'MailDomain')), ...(await readObjects(state, 'SmtpUser'))];
  const problems = await readProblems(state);
  return report(
    { state, ...(holder !== undefined && { holder }), objects, relays, live: await askReplicas(state), problems },
    Date.now(),
  );
}

async function askReplicas(state: string): Promise<readonly Live[]> {
  return Promise.all(
    (await replicaSockets(state)).map(async ({ namespace, name, ordinal, path }) => {
      const replica = { namespace, name, ordinal };
      try {
        return { ...replica, status: await replicaStatus(path) };
      } catch (error) {
        if (error instanceof ReplicaUnreachable) return replica;
        throw error;
      }
    }),
  );
}
