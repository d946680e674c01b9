/** What is measured of the controllers and of the queue that they share. */
import { KINDS } from '../crds/kinds.ts';
import type { Catalogue, Sample } from '../relay/observe/catalogue.ts';
import type { QueueMeter } from './runtime/queue.ts';
import { WORKERS } from './runtime/run-controllers.ts';

const CONTROLLERS = KINDS.map(({ kind }) => kind.toLowerCase());
const WORK_BUCKETS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60];

/** @param elapsedMs milliseconds of a clock that no one sets */
export function queueMetrics(catalogue: Catalogue, elapsedMs: () => number): QueueMeter {
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
