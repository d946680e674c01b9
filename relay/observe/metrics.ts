/** The metrics of a relay (Prometheus): what they count, declared beside the code that moves them. */
import { HINDRANCES, type Hindrance, type Spool } from '../spool/spool.ts';
import { Catalogue, type Documented, type Sample } from './catalogue.ts';
import { type ConfigState, configMetrics } from './config-metrics.ts';
import { type DeliveryMetrics, deliveryMetrics } from './delivery-metrics.ts';
import type { Observer } from './events.ts';
import { processMetrics } from './process-metrics.ts';

export interface Metrics {
  readonly observer: Observer;
  /** Told of each name that was looked up. */
  readonly lookup: DeliveryMetrics['lookup'];
  readonly declarations: readonly Documented[];
  /** The page that Prometheus scrapes, and its content type. */
  page(): Promise<{ readonly type: string; readonly text: string }>;
}

/** The one value of a gauge without labels. */
const one = (value: number): readonly Sample[] => [[{}, value]];

const LISTENER = 'names of the listeners';

const WHY_NO_MAIL: Readonly<Record<Hindrance['kind'], string>> = {
  full: 'Whether new mail is answered 452, for want of room (1), or not (0).',
  unwritable: 'Whether new mail is answered 451, since the disk cannot be written (1), or not (0).',
  damaged: 'Whether new mail is answered 451, since some of the queue was lost (1), or not (0).',
};

export interface Measured {
  /** Asked at each scrape: depth and age are read where the queue is, never counted twice. */
  readonly spool: Pick<Spool, 'stats' | 'health'>;
  readonly config: ConfigState;
  readonly now: () => number;
}

export function createMetrics({ spool, config, now }: Measured): Metrics {
  const stats = () => spool.stats();
  const catalogue = new Catalogue();
  const sessions = catalogue.counter({
    name: 'chasqui_smtp_sessions_total',
    help: 'SMTP sessions accepted.',
    question: 'How many clients connect, and where?',
    unit: 'sessions',
    labels: { listener: LISTENER },
  });
  const handshakes = catalogue.counter({
    name: 'chasqui_smtp_tls_handshakes_total',
    help: 'Handshakes with clients that came to an end, by version of TLS.',
    question: 'Which versions of TLS do clients use, and can an old one be turned off?',
    unit: 'handshakes',
    labels: { listener: LISTENER, version: ['TLSv1.2', 'TLSv1.3'] },
  });
  const auth = catalogue.counter({
    name: 'chasqui_smtp_auth_total',
    help: 'AUTH attempts by result.',
    question: 'Does somebody guess passwords, or has an application an old one?',
    unit: 'attempts',
    labels: { listener: LISTENER, mechanism: ['PLAIN', 'LOGIN'], result: ['accepted', 'rejected'] },
  });
  const received = catalogue.counter({
    name: 'chasqui_messages_received_total',
    help: 'Messages answered 250: they are on disk.',
    question: 'How much mail comes in?',
    unit: 'messages',
    labels: { listener: LISTENER },
  });
  const receivedBytes = catalogue.counter({
    name: 'chasqui_messages_received_bytes_total',
    help: 'Bytes of messages answered 250.',
    question: 'How large is the mail that comes in, and how fast does it fill a disk?',
    unit: 'bytes',
    labels: { listener: LISTENER },
  });
  const rejected = catalogue.counter({
    name: 'chasqui_smtp_rejected_total',
    help: 'Commands and messages refused, by stage and reason.',
    question: 'What is refused, and is the client to blame or this relay?',
    unit: 'replies',
    labels: {
      listener: LISTENER,
      stage: ['connect', 'command', 'auth', 'mail', 'rcpt', 'data'],
      reason: 'the reasons in [errors.md](errors.md)',
    },
  });
  const signed = catalogue.counter({
    name: 'chasqui_messages_signed_total',
    help: 'Messages signed with DKIM.',
    question: 'Does all mail leave signed?',
    unit: 'messages',
  });
  const moved = catalogue.counter({
    name: 'chasqui_messages_moved_total',
    help: 'Messages handed over to another replica.',
    question: 'Does a replica that drains get rid of its mail?',
    unit: 'messages',
  });
  const actions = catalogue.counter({
    name: 'chasqui_queue_actions_total',
    help: 'Messages on which somebody acted by the admin API.',
    question: 'Who holds, returns or deletes mail?',
    unit: 'messages',
    labels: {
      action: ['held', 'released', 'hurried', 'recalled', 'returned', 'removed'],
      by: ['socket', 'operate token'],
    },
  });
  const deliveries = deliveryMetrics(catalogue);
  catalogue.gauge(
    {
      name: 'chasqui_queue_messages',
      help: 'Messages in the queue.',
      question: 'Does mail pile up?',
      unit: 'messages',
    },
    async () => one((await stats()).messages),
  );
  catalogue.gauge(
    {
      name: 'chasqui_queue_moving_messages',
      help: 'Messages in the queue that another replica is to take, which has not confirmed it.',
      question: 'Is mail held since the replica it moves to does not answer?',
      unit: 'messages',
    },
    async () => one((await stats()).moving ?? 0),
  );
  catalogue.gauge(
    {
      name: 'chasqui_queue_deliveries',
      help: 'Deliveries in the queue: one per message and destination.',
      question: 'How much work is left?',
      unit: 'deliveries',
    },
    async () => one((await stats()).deliveries),
  );
  catalogue.gauge(
    {
      name: 'chasqui_queue_oldest_age_seconds',
      help: 'Age of the oldest message in the queue, 0 when it is empty.',
      question: 'For how long does mail wait already?',
      unit: 'seconds',
    },
    async () => {
      const { oldestMs } = await stats();
      return one(oldestMs === undefined ? 0 : Math.max(0, now() - oldestMs) / 1000);
    },
  );
  for (const kind of HINDRANCES) {
    catalogue.gauge(
      {
        name: `chasqui_queue_${kind}`,
        help: WHY_NO_MAIL[kind],
        question: 'Is new mail turned away, and why?',
        unit: '0 or 1',
      },
      () => one(spool.health().hindrance?.kind === kind ? 1 : 0),
    );
  }
  catalogue.gauge(
    {
      name: 'chasqui_queue_free_bytes',
      help: 'Room for the queue on its disk, the unused part of its database counted in.',
      question: 'How long until the disk is full?',
      unit: 'bytes',
    },
    () => one(spool.health().freeBytes),
  );
  catalogue.gauge(
    {
      name: 'chasqui_queue_disk_bytes',
      help: 'Size of the disk that the queue is on.',
      question: 'How full is the disk?',
      unit: 'bytes',
    },
    () => one(spool.health().diskBytes),
  );
  catalogue.gauge(
    {
      name: 'chasqui_queue_set_aside',
      help: 'Deliveries found damaged since the start; they are held.',
      question: 'Does the disk go bad?',
      unit: 'deliveries',
    },
    () => one(spool.health().setAside),
  );
  catalogue.gauge(
    {
      name: 'chasqui_queue_read_failures',
      help: 'Looks for what is due since the start that failed; each is made again.',
      question: 'Can the queue be read?',
      unit: 'failures',
    },
    () => one(spool.health().readFailures),
  );
  catalogue.gauge(
    {
      name: 'chasqui_queue_unchecked',
      help: 'The queue was too large to be checked before the start; 0 once it was looked through, and nothing was wrong.',
      question: 'Has all that is queued been looked at since the start?',
      unit: '0 or 1',
    },
    () => one(spool.health().unchecked ? 1 : 0),
  );
  configMetrics(catalogue, config);
  processMetrics(catalogue);

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
          case 'held':
          case 'released':
          case 'hurried':
          case 'recalled':
          case 'returned':
          case 'removed':
            actions.inc({ action: event.event, by: event.by });
            break;
          case 'signed':
            signed.inc();
            break;
          case 'moved':
            moved.inc();
            break;
          default:
            deliveries.outcome(event);
        }
      },
      session(event) {
        if (event.event === 'session') sessions.inc({ listener: event.listener });
        else if (event.event === 'secured') handshakes.inc({ listener: event.listener, version: event.version });
        else if (event.event === 'auth') {
          auth.inc({ listener: event.listener, mechanism: event.mechanism, result: event.result });
        } else rejected.inc({ listener: event.listener, stage: event.stage, reason: event.reason });
      },
      host: deliveries.host,
      log() {},
    },
    lookup: deliveries.lookup,
    declarations: catalogue.declarations,
    page: () => catalogue.page(),
  };
}
