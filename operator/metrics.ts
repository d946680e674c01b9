/**
 * The metrics of the operator (Prometheus): of its controllers and its requests under the names that controller-runtime
 * and client-go use, so that dashboards for any operator show this one; of mail under our own.
 */
import type { Condition } from '../crds/common.ts';
import { KINDS } from '../crds/kinds.ts';
import type { KindName, ObjectMeta } from '../crds/resource.ts';
import { Catalogue, type Documented, type Sample } from '../relay/observe/catalogue.ts';
import { processMetrics } from '../relay/observe/process-metrics.ts';
import type { Objects } from './backend.ts';
import type { QueueMeter } from './runtime/queue.ts';
import { WORKERS } from './runtime/run-controllers.ts';

/** A DKIM key that is kept, in use or not. */
export interface KeptKey {
  readonly namespace: string;
  readonly mailDomain: string;
  readonly selector: string;
  readonly algorithm: string;
  /** Milliseconds since 1970. */
  readonly createdMs: number;
}

/** What is asked at each scrape. */
export interface Measured {
  readonly objects: Pick<Objects, 'list'>;
  readonly keptKeys: () => readonly KeptKey[];
  readonly leading: () => boolean;
  readonly nowMs: () => number;
  /** Milliseconds of a clock that no one sets. */
  readonly elapsedMs: () => number;
}

/** A request to the API server, and its code, or `<error>` when none came. */
export interface Answered {
  readonly host: string;
  readonly method: string;
  readonly code: string;
  readonly seconds: number;
}

export interface OperatorMetrics {
  readonly queue: QueueMeter;
  readonly request: (answer: Answered) => void;
  readonly declarations: readonly Documented[];
  page(): Promise<{ readonly type: string; readonly text: string }>;
}

const CONTROLLERS = KINDS.map(({ kind }) => kind.toLowerCase());
const WORK_BUCKETS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60];
const OF_OBJECT = { namespace: 'namespaces of the objects', name: 'their names' };

export function operatorMetrics(measured: Measured): OperatorMetrics {
  const catalogue = new Catalogue();
  const queue = queueMetrics(catalogue, measured);
  const request = requestMetrics(catalogue);
  catalogue.gauge(
    {
      name: 'leader_election_master_status',
      help: 'Whether this process leads (1), or waits for the one that does (0).',
      question: 'Is there an operator that works, and only one?',
      unit: '0 or 1',
      labels: { name: 'name of the lease' },
    },
    () => [[{ name: LEASE_NAME }, measured.leading() ? 1 : 0]],
  );
  readiness(catalogue, measured);
  ages(catalogue, measured);
  processMetrics(catalogue);
  return { queue, request, declarations: catalogue.declarations, page: () => catalogue.page() };
}

/** Name of the Lease that operators compete for. */
export const LEASE_NAME = 'chasqui-operator';

function queueMetrics(catalogue: Catalogue, { elapsedMs }: Pick<Measured, 'elapsedMs'>): QueueMeter {
  const controller = { controller: CONTROLLERS };
  const name = { name: CONTROLLERS };
  const reconciled = catalogue.counter({
    name: 'controller_runtime_reconcile_total',
    help: 'Reconciles that ended, by how: requeue_after asked to be run again later.',
    question: 'How much is there to do?',
    unit: 'reconciles',
    labels: { ...controller, result: ['success', 'requeue_after', 'error'] },
  });
  const errors = catalogue.counter({
    name: 'controller_runtime_reconcile_errors_total',
    help: 'Reconciles that failed; each is tried again.',
    question: 'Does something keep the operator from its work?',
    unit: 'reconciles',
    labels: controller,
  });
  const time = catalogue.histogram(
    {
      name: 'controller_runtime_reconcile_time_seconds',
      help: 'How long a reconcile took.',
      question: 'Is the API server slow?',
      unit: 'seconds',
      labels: controller,
    },
    WORK_BUCKETS,
  );
  const active = new Map<string, number>();
  const perController = (counts: ReadonlyMap<string, number>) => (): Sample[] =>
    CONTROLLERS.map((each) => [{ controller: each }, counts.get(each) ?? 0]);
  catalogue.gauge(
    {
      name: 'controller_runtime_active_workers',
      help: 'Objects that are worked on now.',
      question: 'Is the operator busy?',
      unit: 'objects',
      labels: controller,
    },
    perController(active),
  );
  catalogue.gauge(
    {
      name: 'controller_runtime_max_concurrent_reconciles',
      help: 'Most objects that are worked on at the same time, of all controllers together.',
      question: 'Is the operator as busy as it can be?',
      unit: 'objects',
      labels: controller,
    },
    () => CONTROLLERS.map((each): Sample => [{ controller: each }, WORKERS]),
  );
  const depths = new Map<string, number>();
  catalogue.gauge(
    {
      name: 'workqueue_depth',
      help: 'Objects that wait to be worked on.',
      question: 'Does the operator keep up?',
      unit: 'objects',
      labels: name,
    },
    () => CONTROLLERS.map((each): Sample => [{ name: each }, depths.get(each) ?? 0]),
  );
  const adds = catalogue.counter({
    name: 'workqueue_adds_total',
    help: 'Objects that were put in line.',
    question: 'How often does something change that concerns objects of this kind?',
    unit: 'objects',
    labels: name,
  });
  const waited = catalogue.histogram(
    {
      name: 'workqueue_queue_duration_seconds',
      help: 'How long an object waited in line.',
      question: 'How soon does an edit take effect?',
      unit: 'seconds',
      labels: name,
    },
    WORK_BUCKETS,
  );
  const worked = catalogue.histogram(
    {
      name: 'workqueue_work_duration_seconds',
      help: 'How long an object was worked on.',
      question: 'What takes the time?',
      unit: 'seconds',
      labels: name,
    },
    WORK_BUCKETS,
  );
  const begun = new Map<string, number>();
  const seconds = (of: string): number[] => {
    const nowMs = elapsedMs();
    return [...begun].flatMap(([key, atMs]) => (controllerOf(key) === of ? [(nowMs - atMs) / 1_000] : []));
  };
  catalogue.gauge(
    {
      name: 'workqueue_unfinished_work_seconds',
      help: 'For how long what is worked on now is worked on, added up.',
      question: 'Is work stuck?',
      unit: 'seconds',
      labels: name,
    },
    () => CONTROLLERS.map((each): Sample => [{ name: each }, seconds(each).reduce((sum, one) => sum + one, 0)]),
  );
  catalogue.gauge(
    {
      name: 'workqueue_longest_running_processor_seconds',
      help: 'For how long the object is worked on that was begun first of those worked on now.',
      question: 'Is an object stuck?',
      unit: 'seconds',
      labels: name,
    },
    () => CONTROLLERS.map((each): Sample => [{ name: each }, Math.max(0, ...seconds(each))]),
  );
  const retries = catalogue.counter({
    name: 'workqueue_retries_total',
    help: 'Objects that were put in line again after a failure.',
    question: 'Does something fail again and again?',
    unit: 'objects',
    labels: name,
  });
  const add = (counts: Map<string, number>, of: string, by: number): void => {
    counts.set(of, (counts.get(of) ?? 0) + by);
  };
  return {
    added(key) {
      adds.inc({ name: controllerOf(key) });
      add(depths, controllerOf(key), 1);
    },
    removed(key) {
      add(depths, controllerOf(key), -1);
    },
    began(key, waitedMs) {
      const of = controllerOf(key);
      waited.observe({ name: of }, waitedMs / 1_000);
      add(depths, of, -1);
      add(active, of, 1);
      begun.set(key, elapsedMs());
    },
    ended(key, tookMs, outcome) {
      const of = controllerOf(key);
      add(active, of, -1);
      begun.delete(key);
      reconciled.inc({ controller: of, result: RESULTS[outcome] });
      time.observe({ controller: of }, tookMs / 1_000);
      worked.observe({ name: of }, tookMs / 1_000);
      if (outcome !== 'Failed') return;
      errors.inc({ controller: of });
      retries.inc({ name: of });
    },
  };
}

const RESULTS = { Done: 'success', Again: 'requeue_after', Failed: 'error' } as const;

/** Keys are KIND/NAMESPACE/NAME. */
const controllerOf = (key: string): string => key.slice(0, key.indexOf('/')).toLowerCase();

const METHODS = ['GET', 'POST', 'PATCH', 'DELETE'];
const HOST = { host: 'the API server' };

function requestMetrics(catalogue: Catalogue): OperatorMetrics['request'] {
  const requests = catalogue.counter({
    name: 'rest_client_requests_total',
    help: 'Requests to the API server, by code; <error> is none that was answered.',
    question: 'Does the operator load the API server, and does the API server refuse it?',
    unit: 'requests',
    labels: { code: 'codes of HTTP, and `<error>`', ...HOST, method: METHODS },
  });
  const durations = catalogue.histogram(
    {
      name: 'rest_client_request_duration_seconds',
      help: 'From the request until the head of its answer.',
      question: 'How slow is the API server?',
      unit: 'seconds',
      labels: { ...HOST, verb: METHODS },
    },
    [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30],
  );
  return ({ host, method, code, seconds }) => {
    requests.inc({ code, host, method });
    durations.observe({ host, verb: method }, seconds);
  };
}

interface Judged {
  readonly metadata: ObjectMeta;
  readonly status?: { readonly conditions?: readonly Condition[] };
}

function readiness(catalogue: Catalogue, { objects }: Measured): void {
  const questions: Readonly<Record<KindName, string>> = {
    SmtpRelay: 'Is mail taken?',
    MailDomain: 'Is mail of this domain signed, and will receivers trust it?',
    SmtpUser: 'Can this application send?',
  };
  for (const { kind } of KINDS) {
    catalogue.gauge(
      {
        name: `chasqui_${kind.toLowerCase()}_ready`,
        help: `Whether the ${kind} is Ready (1), or not (0); \`kubectl describe\` says why.`,
        question: questions[kind],
        unit: '0 or 1',
        labels: OF_OBJECT,
      },
      () => objects.list(kind).map(readySample),
    );
  }
}

const readySample = ({ metadata: { namespace, name }, status }: Judged): Sample => {
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  return [{ namespace, name }, ready?.status === 'True' ? 1 : 0];
};

function ages(catalogue: Catalogue, { objects, keptKeys, nowMs }: Measured): void {
  catalogue.gauge(
    {
      name: 'chasqui_dkim_key_age_seconds',
      help: 'Age of each DKIM key that is kept.',
      question: 'Are keys rotated?',
      unit: 'seconds',
      labels: { ...OF_OBJECT, selector: 'selectors of the keys', algorithm: ['RSA2048', 'Ed25519'] },
    },
    () =>
      keptKeys().map(({ namespace, mailDomain: name, selector, algorithm, createdMs }): Sample => {
        return [{ namespace, name, selector, algorithm }, Math.max(0, nowMs() - createdMs) / 1_000];
      }),
  );
  catalogue.gauge(
    {
      name: 'chasqui_certificate_expiration_timestamp_seconds',
      help: 'When the certificate that an SmtpRelay serves expires, in seconds since 1970.',
      question: 'Is a certificate about to expire?',
      unit: 'seconds',
      labels: OF_OBJECT,
    },
    () =>
      objects.list('SmtpRelay').flatMap(({ metadata: { namespace, name }, status }): Sample[] => {
        const notAfter = status?.certificate?.notAfter;
        return notAfter === undefined ? [] : [[{ namespace, name }, Date.parse(notAfter) / 1_000]];
      }),
  );
}
