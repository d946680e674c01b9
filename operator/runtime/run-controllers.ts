/** Runs controllers on a backend: what changes becomes keys, each key is observed, planned and applied until it holds. */
import { isKindName, KINDS } from '../../crds/kinds.ts';
import type { KindName, ObjectKey } from '../../crds/resource.ts';
import type { Backend, Secrets } from '../backend.ts';
import type { DnsChecker } from '../dns/checker.ts';
import { isSameKey } from '../references.ts';
import { AppliedGroups } from './applied-groups.ts';
import { applyPlan, type Effects } from './apply-plan.ts';
import type { Clock, Controller, World } from './plan.ts';
import { KeyedQueue, type QueueMeter, type Urgency } from './queue.ts';
import { SecretReaders } from './secret-readers.ts';

/** What the runtime needs of a logger; pino's fits. */
export interface Log {
  debug(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** Any controller, whatever it observes: only it itself sees that. */
export type AnyController = Controller<KindName, unknown>;

export interface RunOptions {
  /**
   * Resolves true once this process may write: what changes until then is worked on after. False: it is stopped before.
   * Without it, it may from the start.
   */
  readonly campaign?: () => Promise<boolean>;
  readonly meter?: QueueMeter;
}

/** Objects that are reconciled at the same time. */
export const WORKERS = 4;

/** An object with this annotation, of the value "true", is left as it is, and so is what belongs to it. */
const PAUSED = 'chasqui.dev/paused';

interface Task {
  readonly kind: KindName;
  readonly key: ObjectKey;
}

const idOf = (kind: KindName, key: ObjectKey): string => `${kind}/${key.namespace}/${key.name}`;

function taskOf(id: string): Task {
  const [kind = '', namespace = '', name = ''] = id.split('/');
  if (!isKindName(kind)) throw new RangeError(`not the id of an object: ${id}`);
  return { kind, key: { namespace, name } };
}

/**
 * Starts the backend and, once it has read everything, the controllers: before that an object that is not read yet
 * would look deleted. Stopping ends the reconciles in hand, then the backend.
 * @throws what `backend.start` throws
 */
export async function runControllers(
  backend: Backend,
  controllers: readonly AnyController[],
  clock: Clock,
  log: Log,
  dns: Pick<DnsChecker, 'observe' | 'watch'>,
  { campaign = async () => true, meter }: RunOptions = {},
): Promise<{ stop(): Promise<void> }> {
  const groups = new AppliedGroups();
  const readers = new SecretReaders();
  const byKind = new Map(controllers.map((controller) => [controller.kind, controller]));

  let revision = 0;
  const objectChanged = (kind: KindName, key: ObjectKey): void => {
    revision += 1;
    for (const controller of controllers) {
      for (const affected of controller.affectedBy(kind, key, backend.objects)) {
        queue.add(idOf(controller.kind, affected), urgency(controller.kind, affected, { kind, key }));
      }
    }
  };
  const secretChanged = (namespace: string, name: string): void => {
    for (const id of readers.of(namespace, name)) queue.add(id);
  };

  const effects: Effects = {
    objects: backend.objects,
    relays: backend.relays,
    events: backend.events,
    ...(backend.publications && { publications: backend.publications }),
    secrets: telling(backend.secrets, secretChanged),
  };

  const reconcile = async (id: string): Promise<number | undefined> => {
    const { kind, key } = taskOf(id);
    const controller = byKind.get(kind);
    if (!controller || backend.objects.illegible?.(kind, key)) return undefined;
    if (backend.objects.get(kind, key)?.metadata.annotations?.[PAUSED] === 'true') return undefined;
    const world: World = {
      objects: backend.objects,
      secrets: readers.observedBy(id, backend.secrets),
      relays: backend.relays,
      groups: (relay) => groups.of(relay),
      dns,
      namespaces: backend.namespaces,
      revision,
      issuesCertificates: backend.issuesCertificates,
      publication: async (domain) => (await backend.publications?.state(domain)) ?? 'Unavailable',
      submissionHost: (relay) => backend.submissionHost(relay),
      serviceNames: (relay) => backend.serviceNames(relay),
      bindPort: (port) => backend.bindPort(port),
    };
    const observed = await controller.observe(key, world);
    const object = backend.objects.get(kind, key);
    if (observed === undefined || object === undefined) {
      readers.forget(id);
      if (kind === 'SmtpRelay') groups.forget(key);
      await controller.forget?.(key, backend.secrets);
      return undefined;
    }
    const plan = controller.plan(observed, clock);
    const againMs = await applyPlan(plan, object, effects, clock);
    if (plan.relay && groups.remember(plan.relay)) objectChanged('SmtpRelay', key);
    return againMs;
  };

  const queue = new KeyedQueue({
    work: reconcile,
    workers: WORKERS,
    ...(meter && { meter }),
    failed: (id, err, retryMs) => {
      const { kind, key } = taskOf(id);
      log.warn({ kind, ...key, err, retryMs }, 'reconciling failed, will be tried again');
    },
  });

  backend.objects.watch(objectChanged);
  // Whom a grant by labels lets in: objects of that namespace, at whatever relay.
  backend.namespaces.watch((namespace) => {
    revision += 1;
    for (const { kind } of KINDS) {
      for (const { metadata } of backend.objects.list(kind)) {
        if (kind === 'SmtpRelay' || metadata.namespace === namespace) queue.add(idOf(kind, metadata));
      }
    }
  });
  backend.secrets.watch(secretChanged);
  backend.relays.watch((key) => objectChanged('SmtpRelay', key));
  // Both of domains alone.
  dns.watch((id) => queue.add(`MailDomain/${id}`));
  backend.publications?.watch((domain) => queue.add(idOf('MailDomain', domain)));
  await backend.start();
  if (!(await campaign())) return { stop: () => backend.stop() };
  for (const { kind } of KINDS) {
    for (const { metadata } of backend.objects.list(kind)) queue.add(idOf(kind, metadata), 'Behind');
  }
  // Of objects that went while nobody watched, the Secrets are all that is left: what is gone is forgotten.
  for (const { kind, key } of await backend.secrets.owners()) queue.add(idOf(kind, key));
  queue.start();
  log.debug({}, 'controllers started');

  return {
    stop: async () => {
      await queue.stop();
      await backend.stop();
    },
  };
}

/**
 * What was edited, and the config of relays, before all that may have to be told anew of it: a relay that has another
 * config is looked at by each of its domains and users.
 */
const urgency = (kind: KindName, key: ObjectKey, changed: Task): Urgency =>
  kind === 'SmtpRelay' || (kind === changed.kind && isSameKey(key, changed.key)) ? 'Soon' : 'Behind';

/** A backend need not tell us of our own writes: those that wait for a Secret are woken here. */
const telling = (secrets: Secrets, changed: (namespace: string, name: string) => void): Secrets => ({
  get: (namespace, name) => secrets.get(namespace, name),
  ownedBy: (namespace, owner) => secrets.ownedBy(namespace, owner),
  reference: (namespace, name) => secrets.reference(namespace, name),
  owners: () => secrets.owners(),
  watch: (listener) => secrets.watch(listener),
  create: async (secret) => {
    await secrets.create(secret);
    changed(secret.namespace, secret.name);
  },
  apply: async (secret) => {
    await secrets.apply(secret);
    changed(secret.namespace, secret.name);
  },
  delete: async (namespace, name) => {
    await secrets.delete(namespace, name);
    changed(namespace, name);
  },
});
