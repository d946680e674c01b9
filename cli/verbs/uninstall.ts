import { Command, InvalidArgumentError, Option } from 'commander';
import type { ObjectKey } from '../../crds/resource.ts';
import { Client } from '../../operator/backends/kubernetes/client.ts';
import { connect } from '../../operator/backends/kubernetes/connection.ts';
import { deleteRelays, leaveRelays } from '../../operator/backends/kubernetes/uninstall.ts';
import packageJson from '../../package.json' with { type: 'json' };

const REQUEST_TIMEOUT_MS = 30_000;

function objectKey(text: string): ObjectKey {
  const [, namespace, name] = /^([^/]+)\/([^/]+)$/.exec(text) ?? [];
  if (namespace === undefined || name === undefined) throw new InvalidArgumentError('It must be NAMESPACE/NAME.');
  return { namespace, name };
}

export const command = new Command('uninstall')
  .description(
    'Prepares a cluster for having its operator taken off, so that SmtpRelays and their namespaces can be deleted without it. The Helm chart runs it before it is uninstalled; run it by hand where the operator was installed otherwise.',
  )
  .addOption(
    new Option('--relays <mode>', 'Keep: relays run on; Delete: they deliver what they have, and end')
      .choices(['Keep', 'Delete'])
      .makeOptionMandatory(),
  )
  .requiredOption('--operator <namespace/name>', "the operator's Deployment", objectKey)
  .requiredOption('--operator-pods <selector>', 'label selector of its pods')
  .option(
    '--namespaces <names>',
    'namespaces whose SmtpRelays are meant, separated by commas; by default all',
    (text) => text.split(','),
  )
  .option('--kubeconfig <file>', 'by default $KUBECONFIG, the service account of the pod, or ~/.kube/config')
  .action(async ({ relays, operator, operatorPods, namespaces = [], kubeconfig }: UninstallArguments) => {
    const connection = await connect(kubeconfig);
    try {
      const api = new Client({
        connection,
        userAgent: `chasqui-uninstall/${packageJson.version}`,
        writeTimeoutMs: REQUEST_TIMEOUT_MS,
        mayWrite: () => undefined,
      });
      const work = { api, namespaces, operator, operatorPods, log: (line: string) => console.log(line) };
      await (relays === 'Delete' ? deleteRelays(work) : leaveRelays(work));
      console.log(
        relays === 'Delete' ? 'no SmtpRelay is left' : 'SmtpRelays stay, and no longer wait for the operator',
      );
    } finally {
      await connection.close();
    }
  });

interface UninstallArguments {
  relays: 'Keep' | 'Delete';
  operator: ObjectKey;
  operatorPods: string;
  namespaces?: readonly string[];
  kubeconfig?: string;
}
