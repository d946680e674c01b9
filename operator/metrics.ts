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
import { queueMetrics } from './queue-metrics.ts';
import type { QueueMeter } from './runtime/queue.ts';

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

const OF_OBJECT = { namespace: 'namespaces of the objects', name: 'their names' };

export function operatorMetrics(measured: Measured): OperatorMetrics {
  const catalogue = new Catalogue();
  const queue = queueMetrics(catalogue, measured.elapsedMs);
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
  verification(catalogue, measured);
  ages(catalogue, measured);
  processMetrics(catalogue);
  return { queue, request, declarations: catalogue.declarations, page: () => catalogue.page() };
}

/** Name of the Lease that operators compete for. */
export const LEASE_NAME = 'chasqui-operator';

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
  readonly metadata: Pick<ObjectMeta, 'namespace' | 'name'>;
  readonly status?: { readonly conditions?: readonly Pick<Condition, 'type' | 'status'>[] };
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

function verification(catalogue: Catalogue, { objects }: Measured): void {
  catalogue.gauge(
    {
      name: 'chasqui_maildomain_dns_verified',
      help: 'Whether DNS has all records of the MailDomain (1), or not (0); none where it was not found out.',
      question: 'Is a record missing, or wrong?',
      unit: '0 or 1',
      labels: OF_OBJECT,
    },
    () => verifiedSamples(objects.list('MailDomain')),
  );
}

/** Unknown, or not judged yet, is no sample: an alert must not take it for a record that is missing. */
export const verifiedSamples = (domains: readonly Judged[]): readonly Sample[] =>
  domains.flatMap(({ metadata: { namespace, name }, status }): Sample[] => {
    const verified = status?.conditions?.find(({ type }) => type === 'DnsVerified')?.status ?? 'Unknown';
    return verified === 'Unknown' ? [] : [[{ namespace, name }, verified === 'True' ? 1 : 0]];
  });

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
