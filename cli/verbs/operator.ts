import { Command, Option } from 'commander';
import { bindAddress, dnsResolversOption, nameList } from '../arguments.ts';

export const command = new Command('operator')
  .description(
    'Runs SmtpRelays, MailDomains and SmtpUsers on Kubernetes. It may be run several times: one leads, the others wait.',
  )
  .option('--kubeconfig <file>', 'how to reach the API server; by default $KUBECONFIG, else the service account')
  .option('--namespaces <names>', 'namespaces whose resources count, with commas; by default all', nameList)
  .option('--relay-namespaces <names>', 'namespaces where relays run; by default those of --namespaces', nameList)
  .addOption(
    new Option('--relay-image <image>', 'image of relays that name none')
      .env('CHASQUI_RELAY_IMAGE')
      .makeOptionMandatory(),
  )
  .addOption(dnsResolversOption())
  .option('--leader-elect', 'work only while holding the lease', true)
  .option('--no-leader-elect', 'work at once: only where nothing else runs an operator')
  .option('--leader-election-namespace <name>', 'namespace of the lease; by default that of the pod')
  .addOption(
    new Option('--metrics-bind-address <address>', '[HOST]:PORT of /metrics, or 0 for none')
      .argParser(bindAddress)
      .default(bindAddress(':8080'), ':8080'),
  )
  .addOption(
    new Option('--health-probe-bind-address <address>', '[HOST]:PORT of /healthz and /readyz, or 0 for none')
      .argParser(bindAddress)
      .default(bindAddress(':8081'), ':8081'),
  )
  .addOption(
    new Option('--log-level <level>', 'least level that is logged')
      .choices(['debug', 'info', 'warn', 'error'])
      .default('info'),
  )
  .addHelpText(
    'after',
    `
Example:
  $ chasqui operator --relay-image example.org/chasqui:0.1.0

Ready means that all was read, not that it leads. It waits for CustomResourceDefinitions that are missing, and says so.
Stop it with SIGTERM: it finishes what is in hand and gives the lease back.`,
  )
  // Only this verb loads what speaks to an API server.
  .action(async (options) => (await import('../operator.ts')).operator(options));
