/** What a relay's spec says, in the words of the config folder: durations in ms, sizes in bytes, domains in lower case. */
import { durationMs } from '../../crds/duration.ts';
import { quantityBytes } from '../../crds/quantity.ts';
import type { SmtpRelay, SmtpRelaySpec } from '../../crds/smtprelay.ts';
import type { SettingsDocument } from '../../relay/config/documents.ts';

/** @param bindPort see Backend */
export function settingsDocument({ metadata, spec }: SmtpRelay, bindPort: (port: number) => number): SettingsDocument {
  const { messagesPerSession, recipientsPerSession } = spec.limits;
  return {
    relay: { namespace: metadata.namespace, name: metadata.name },
    hostname: spec.hostname.toLowerCase(),
    listeners: spec.listeners.map(({ name, protocol, port, tls, auth, proxyProtocol }) => ({
      name,
      protocol,
      port: bindPort(port),
      tls,
      exemptNetworks: auth.exemptNetworks,
      ...(proxyProtocol.from.length > 0 && { proxyNetworks: proxyProtocol.from }),
    })),
    tls: { minVersion: spec.tls.minVersion },
    delivery: deliverySettings(spec.delivery),
    limits: {
      messageSizeBytes: quantityBytes(spec.limits.messageSize),
      recipients: spec.limits.recipients,
      idleTimeoutMs: durationMs(spec.limits.idleTimeout),
      connections: spec.limits.connections,
      connectionsPerClient: spec.limits.connectionsPerClient,
      ...(messagesPerSession !== undefined && { messagesPerSession }),
      ...(recipientsPerSession !== undefined && { recipientsPerSession }),
      sessionTimeoutMs: durationMs(spec.limits.sessionTimeout),
    },
    queue: { minFreeBytes: quantityBytes(spec.queue.minFree), maxMessages: spec.queue.maxMessages },
    monitoring: { port: spec.monitoring.port },
  };
}

const deliverySettings = ({
  routes,
  direct,
  retry,
  destinations,
  suspended,
}: SmtpRelaySpec['delivery']): SettingsDocument['delivery'] => ({
  routes: routes.map(({ match, smarthosts }) => ({
    domains: match.domains.map((domain) => domain.toLowerCase()),
    smarthosts: smarthosts.map(({ host, port, tls, credentialsSecretRef: secret }) => ({
      ...{ host, port, tls: tls.mode },
      ...(secret && { credentials: secret.name }),
    })),
  })),
  direct,
  retry: { scheduleMs: retry.schedule.map(durationMs), expireAfterMs: durationMs(retry.expireAfter) },
  ...(destinations.length > 0 && {
    destinations: destinations.map(({ match, ...limits }) => ({
      ...limits,
      domains: match.domains.map((domain) => domain.toLowerCase()),
      mx: match.mx.map((host) => host.toLowerCase()),
    })),
  }),
  ...(suspended && { suspended }),
});
