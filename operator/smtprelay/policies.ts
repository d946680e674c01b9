/**
 * What an SmtpRelay must not say, though its schema allows it. Most is refused before it is stored; here it is refused
 * once more, because a config that a relay cannot run by would end every replica: the last good one stays in force.
 */
import { isIP } from 'node:net';
import Schema from 'typebox/schema';
import type { SmtpRelay, SmtpRelaySpec } from '../../crds/smtprelay.ts';
import { SettingsDocument } from '../../relay/config/documents.ts';
import type { Judgement } from '../runtime/conditions.ts';
import { settingsDocument } from './settings.ts';

type Refusal = Pick<Judgement, 'reason' | 'message'>;
type Policy = (relay: SmtpRelay, ports: ReplicaPorts) => Refusal | undefined;

/** What is known of the ports of a replica. */
export interface ReplicaPorts {
  /** See Backend. */
  readonly bindPort: (port: number) => number;
  /** Where it serves its admin API, if at a port. */
  readonly adminPort?: number;
}

/** In the order in which they are asked; the first refusal counts. */
const POLICIES: readonly Policy[] = [
  listenerNamesDiffer,
  portsDiffer,
  boundPortsDiffer,
  monitoringPortsExist,
  listenersKeepOffMonitoring,
  adminPortIsFree,
  exemptNetworksAreNetworks,
  proxiesAreNetworks,
  egressAddressesAreAddresses,
  exemptClientsAreSeen,
  settingsFitTheRelay,
];

/** Condition Accepted. */
export function judgeRelay(relay: SmtpRelay, ports: ReplicaPorts): Judgement {
  for (const policy of POLICIES) {
    const refusal = policy(relay, ports);
    if (refusal) return { type: 'Accepted', status: 'False', ...refusal };
  }
  return { type: 'Accepted', status: 'True', reason: 'Accepted', message: 'The spec is valid.' };
}

function listenerNamesDiffer({ spec }: SmtpRelay): Refusal | undefined {
  const twice = firstTwice(spec.listeners.map(({ name }) => name));
  return twice === undefined
    ? undefined
    : { reason: 'InvalidListeners', message: `spec.listeners: the name ${twice} stands there twice.` };
}

function portsDiffer({ spec }: SmtpRelay): Refusal | undefined {
  const twice = firstTwice(spec.listeners.map(({ port }) => port));
  return twice === undefined
    ? undefined
    : { reason: 'InvalidListeners', message: `spec.listeners: two of them have port ${twice}.` };
}

function boundPortsDiffer({ spec }: SmtpRelay, { bindPort }: ReplicaPorts): Refusal | undefined {
  const twice = firstTwice(spec.listeners.map(({ port }) => bindPort(port)));
  if (twice === undefined) return undefined;
  const names = spec.listeners
    .filter(({ port }) => bindPort(port) === twice)
    .map(({ name, port }) => `${name} (${port})`);
  const message = `spec.listeners: ${names.join(' and ')} would both bind port ${twice} in a replica; change one of the ports.`;
  return { reason: 'InvalidListeners', message };
}

/** Replica i serves monitoring at port + i. */
const lastMonitoringPort = ({ monitoring, replicas }: SmtpRelaySpec): number =>
  monitoring.port + Math.max(replicas, 1) - 1;

function monitoringPortsExist({ spec }: SmtpRelay): Refusal | undefined {
  const last = lastMonitoringPort(spec);
  if (last <= 65_535) return undefined;
  const message = `spec.monitoring.port: with ${spec.replicas} replicas the last port would be ${last}, above 65535.`;
  return { reason: 'InvalidMonitoringPort', message };
}

function listenersKeepOffMonitoring({ spec }: SmtpRelay, { bindPort }: ReplicaPorts): Refusal | undefined {
  const last = lastMonitoringPort(spec);
  const clash = spec.listeners.find(({ port }) => {
    const bound = bindPort(port);
    return bound >= spec.monitoring.port && bound <= last;
  });
  if (!clash) return undefined;
  const message = `spec.listeners: port ${clash.port} of ${clash.name} is a monitoring port (${spec.monitoring.port} to ${last}).`;
  return { reason: 'InvalidListeners', message };
}

function adminPortIsFree({ spec }: SmtpRelay, { bindPort, adminPort }: ReplicaPorts): Refusal | undefined {
  if (adminPort === undefined) return undefined;
  const clash = spec.listeners.find(({ port }) => bindPort(port) === adminPort);
  if (clash) {
    const message = `spec.listeners: port ${clash.port} of ${clash.name} is where a replica serves its admin API.`;
    return { reason: 'InvalidListeners', message };
  }
  if (spec.monitoring.port !== adminPort) return undefined;
  const message = `spec.monitoring.port: ${adminPort} is where a replica serves its admin API.`;
  return { reason: 'InvalidMonitoringPort', message };
}

function exemptNetworksAreNetworks({ spec }: SmtpRelay): Refusal | undefined {
  for (const { name, auth } of spec.listeners) {
    const wrong = auth.exemptNetworks.find((network) => !isNetwork(network));
    if (wrong !== undefined) {
      const message = `spec.listeners: auth.exemptNetworks of ${name}: ${wrong} is no network such as 10.0.0.0/8.`;
      return { reason: 'InvalidNetwork', message };
    }
  }
  return undefined;
}

function proxiesAreNetworks({ spec }: SmtpRelay): Refusal | undefined {
  for (const { name, proxyProtocol } of spec.listeners) {
    const wrong = proxyProtocol.from.find((network) => !isNetwork(network));
    if (wrong !== undefined) {
      const message = `spec.listeners: proxyProtocol.from of ${name}: ${wrong} is no network such as 10.0.0.0/8.`;
      return { reason: 'InvalidNetwork', message };
    }
  }
  return undefined;
}

function isNetwork(text: string): boolean {
  const [address = '', prefix = ''] = text.split('/');
  const family = isIP(address);
  return family !== 0 && /^(0|[1-9][0-9]{0,2})$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128);
}

function egressAddressesAreAddresses({ spec }: SmtpRelay): Refusal | undefined {
  const wrong = spec.egress.addresses.find((address) => isIP(address) === 0);
  return wrong === undefined
    ? undefined
    : { reason: 'InvalidAddress', message: `spec.egress.addresses: ${wrong} is no IP address.` };
}

/**
 * A Service of these types with policy Cluster hides the client behind the address of a node, which may well be in an
 * exempt network: the relay would be open to everybody.
 */
function exemptClientsAreSeen({ spec }: SmtpRelay): Refusal | undefined {
  for (const { name, type, externalTrafficPolicy, listeners } of spec.services) {
    if (type === 'ClusterIP' || externalTrafficPolicy === 'Local') continue;
    const blind = spec.listeners.find(
      (listener) =>
        (listeners.length === 0 || listeners.includes(listener.name)) &&
        listener.auth.exemptNetworks.length > 0 &&
        listener.proxyProtocol.from.length === 0,
    );
    if (!blind) continue;
    const message = `spec.services: through ${name} (${type}) listener ${blind.name}, which has auth.exemptNetworks, would take the address of a node for that of the client: set externalTrafficPolicy: Local, use proxyProtocol, or leave the listener out of the Service.`;
    return { reason: 'UntrustedSourceAddress', message };
  }
  return undefined;
}

const settings = Schema.Compile(SettingsDocument);

/** The contract with the relay has the last word: what does not fit it, the relay would not run by. */
function settingsFitTheRelay(relay: SmtpRelay, { bindPort }: ReplicaPorts): Refusal | undefined {
  const [fits, errors] = settings.Errors(settingsDocument(relay, bindPort));
  if (fits) return undefined;
  const told = errors.slice(0, 3).map(({ instancePath, message }) => `${instancePath} ${message}`);
  return { reason: 'InvalidSettings', message: `The relay would refuse these settings: ${told.join('; ')}.` };
}

function firstTwice<Value>(values: readonly Value[]): Value | undefined {
  return values.find((value, index) => values.indexOf(value) < index);
}
