import { Command } from 'commander';
import { EXIT, Failure } from '../failure.ts';

export const command = new Command('operator')
  .description('Runs SmtpRelays on Kubernetes. The Kubernetes backend is not part of this version yet.')
  .action(() => {
    throw new Failure(
      'the operator comes with the Kubernetes backend, which this version does not have; "chasqui standalone" runs the same manifests on this machine',
      EXIT.unavailable,
    );
  });
