/** The metrics of a relay (Prometheus): what they count, declared beside the code that moves them. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { SpoolStats } from '../spool/spool.ts';
import type { Observer } from './events.ts';

export interface Metrics {
  readonly observer: Observer;
  /** The page that Prometheus scrapes, and its content type. */
  page(): Promise<{ readonly type: string; readonly text: string }>;
}

/** @param stats asked at each scrape: depth and age are read where the queue is, never counted twice */
export function createMetrics(stats: () => Promise<SpoolStats>, now: () => number): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const sessions = new Counter({
    name: 'chasqui_smtp_sessions_total',
    help: 'SMTP sessions accepted.',
    labelNames: ['listener'],
    registers,
  });
  const auth = new Counter({
    name: 'chasqui_smtp_auth_total',
    help: 'AUTH attempts by result.',
    labelNames: ['listener', 'mechanism', 'result'],
    registers,
  });
  const received = new Counter({
    name: 'chasqui_messages_received_total',
    help: 'Messages answered 250: they are on disk.',
    labelNames: ['listener'],
    registers,
  });
  const receivedBytes = new Counter({
    name: 'chasqui_messages_received_bytes_total',
    help: 'Bytes of messages answered 250.',
    labelNames: ['listener'],
    registers,
  });
  const rejected = new Counter({
    name: 'chasqui_smtp_rejected_total',
    help: 'Commands and messages refused, by stage and reason.',
    labelNames: ['listener', 'stage', 'reason'],
    registers,
  });
  const signed = new Counter({ name: 'chasqui_messages_signed_total', help: 'Messages signed with DKIM.', registers });
  const outcomes = {
    delivered: new Counter({
      name: 'chasqui_recipients_delivered_total',
      help: 'Recipients whose server took the message.',
      registers,
    }),
    deferred: new Counter({
      name: 'chasqui_recipients_deferred_total',
      help: 'Attempts for a recipient that failed for now.',
      registers,
    }),
    bounced: new Counter({
      name: 'chasqui_recipients_bounced_total',
      help: 'Recipients given up because their server refused for good.',
      registers,
    }),
    expired: new Counter({
      name: 'chasqui_recipients_expired_total',
      help: 'Recipients given up because they could not be reached in time.',
      registers,
    }),
  };
  const latency = new Histogram({
    name: 'chasqui_delivery_latency_seconds',
    help: 'From 250 to the client until 250 from the destination, per recipient.',
    buckets: [0.01, 0.05, 0.1, 0.5, 1, 5, 30, 60, 300, 1800, 7200, 86400],
    registers,
  });
  new Gauge({
    name: 'chasqui_queue_messages',
    help: 'Messages in the queue.',
    registers,
    async collect() {
      this.set((await stats()).messages);
    },
  });
  new Gauge({
    name: 'chasqui_queue_deliveries',
    help: 'Deliveries in the queue: one per message and destination.',
    registers,
    async collect() {
      this.set((await stats()).deliveries);
    },
  });
  new Gauge({
    name: 'chasqui_queue_oldest_age_seconds',
    help: 'Age of the oldest message in the queue, 0 when it is empty.',
    registers,
    async collect() {
      const { oldestMs } = await stats();
      this.set(oldestMs === undefined ? 0 : Math.max(0, now() - oldestMs) / 1000);
    },
  });

  return {
    observer: {
      message(event) {
        switch (event.event) {
          case 'received': {
            const listener = event.envelope.listener ?? '';
            received.inc({ listener });
            receivedBytes.inc({ listener }, event.envelope.sizeBytes);
            break;
          }
          case 'signed':
            signed.inc();
            break;
          default:
            outcomes[event.event].inc();
            if (event.event === 'delivered') latency.observe(event.ageMs / 1000);
        }
      },
      session(event) {
        if (event.event === 'session') sessions.inc({ listener: event.listener });
        else if (event.event === 'auth') {
          auth.inc({ listener: event.listener, mechanism: event.mechanism, result: event.result });
        } else rejected.inc({ listener: event.listener, stage: event.stage, reason: event.reason });
      },
      log() {},
    },
    page: async () => ({ type: registry.contentType, text: await registry.metrics() }),
  };
}
