/** What is counted of deliveries. */
import type { Catalogue } from './catalogue.ts';
import { DestinationNames } from './destinations.ts';
import type { MessageEvent, Observer } from './events.ts';
import { REASONS, reasonOf } from './reason.ts';

const STAGES = ['connect', 'greeting', 'tls', 'auth'];
const LOOKUP_BUCKETS = [0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 15];

type DeliveryEvent = Extract<MessageEvent, { readonly event: 'delivered' | 'deferred' | 'bounced' | 'expired' }>;

export interface DeliveryMetrics {
  readonly outcome: (event: DeliveryEvent) => void;
  readonly host: Observer['host'];
  readonly lookup: (type: 'mx' | 'addresses' | 'system', result: string, seconds: number) => void;
}

export function deliveryMetrics(catalogue: Catalogue): DeliveryMetrics {
  const outcomes = {
    delivered: catalogue.counter({
      name: 'chasqui_recipients_delivered_total',
      help: 'Recipients whose server took the message.',
      question: 'How much mail goes out?',
      unit: 'recipients',
    }),
    deferred: catalogue.counter({
      name: 'chasqui_recipients_deferred_total',
      help: 'Attempts for a recipient that failed for now.',
      question: 'Do destinations fail, or slow this relay down?',
      unit: 'attempts',
    }),
    bounced: catalogue.counter({
      name: 'chasqui_recipients_bounced_total',
      help: 'Recipients given up because their server refused for good.',
      question: 'Is mail sent to addresses that are none, or refused as spam?',
      unit: 'recipients',
    }),
    expired: catalogue.counter({
      name: 'chasqui_recipients_expired_total',
      help: 'Recipients given up because they could not be reached in time.',
      question: 'Was a destination away for longer than mail is kept for it?',
      unit: 'recipients',
    }),
  };
  const byDestination = catalogue.counter({
    name: 'chasqui_delivery_outcomes_total',
    help: 'What attempts came to, for each recipient, by destination and by what its answer is about (RFC 3463).',
    question: 'Which destination refuses or defers mail, and is it the address, the network or its policy?',
    unit: 'recipients',
    labels: {
      destination:
        'a provider of mail by its host, or the next hop: the first 100 since the start; all others are `other`',
      outcome: ['delivered', 'deferred', 'bounced', 'expired'],
      reason: REASONS,
    },
  });
  const latency = catalogue.histogram(
    {
      name: 'chasqui_delivery_latency_seconds',
      help: 'From 250 to the client until 250 from the destination, per recipient.',
      question: 'How long is mail on its way?',
      unit: 'seconds',
    },
    [0.01, 0.05, 0.1, 0.5, 1, 5, 30, 60, 300, 1800, 7200, 86400],
  );
  const connections = catalogue.counter({
    name: 'chasqui_delivery_connections_total',
    help: 'Connections to destinations on which mail could be sent, by version of TLS.',
    question: 'Does mail leave under TLS, and is its version one that may still be used?',
    unit: 'connections',
    labels: { tls: ['none', 'TLSv1.2', 'TLSv1.3'] },
  });
  const failures = catalogue.counter({
    name: 'chasqui_delivery_connection_failures_total',
    help: 'Connections to destinations on which none could be sent, by how far they came.',
    question: 'Is the network shut, are hosts down, do handshakes or credentials fail?',
    unit: 'connections',
    labels: { stage: STAGES },
  });
  const lookups = catalogue.histogram(
    {
      name: 'chasqui_dns_lookup_seconds',
      help: 'How long names took to look up that were not known from shortly before.',
      question: 'Is DNS slow, or does it fail?',
      unit: 'seconds',
      labels: { type: ['mx', 'addresses', 'system'], result: ['found', 'no-domain', 'no-data', 'temporary'] },
    },
    LOOKUP_BUCKETS,
  );
  const names = new DestinationNames();
  return {
    outcome(event) {
      outcomes[event.event].inc();
      const { destination, reply } = event;
      byDestination.inc({
        destination: names.of(destination, reply.host),
        outcome: event.event,
        reason: reasonOf(reply),
      });
      if (event.event === 'delivered') latency.observe(event.ageMs / 1000);
    },
    host(event) {
      if (event.event === 'connected') connections.inc({ tls: event.tls ?? 'none' });
      else failures.inc({ stage: event.stage });
    },
    lookup: (type, result, seconds) => lookups.observe({ type, result }, seconds),
  };
}
