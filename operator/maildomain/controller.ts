/** MailDomain: judges who holds a domain, makes and rotates its DKIM keys, and says which records to publish. */
import type { MailDomain } from '../../crds/maildomain.ts';
import { keyOf, type ObjectKey } from '../../crds/resource.ts';
import type { SmtpRelay } from '../../crds/smtprelay.ts';
import type { Objects, PublicationState, Secrets } from '../backend.ts';
import { recordId, type Seen } from '../dns/checker.ts';
import { dnsRecords, type WantedRecord } from '../dns/records.ts';
import { admits, isSameKey, type LabelsOf, relayKeys } from '../references.ts';
import { type Judgement, readyFrom, setConditions } from '../runtime/conditions.ts';
import type { Clock, Controller, Plan, World } from '../runtime/plan.ts';
import { entryProgrammed, type RelayView } from '../smtprelay/programmed.ts';
import { findDomain } from '../smtprelay/relay-group.ts';
import { dkimReady, dnsPublished, spfIncomplete } from './conditions.ts';
import {
  type DkimKey,
  domainDocument,
  goesWithItsDomain,
  judgeKeys,
  keyRecipe,
  keySlot,
  type StoredKey,
  slotOf,
  slotsToRead,
  withPolicy,
} from './dkim-keys.ts';
import { decideKeys, keyEvents, retireAfterMs, statusKey } from './key-states.ts';
import {
  judgeOwnKeys,
  type OwnKey,
  type OwnLiving,
  type OwnReference,
  observeOwnKeys,
  ownStates,
  replacedAlgorithms,
} from './own-keys.ts';
import {
  type DomainWorld,
  domainHolders,
  domainOf,
  isAccepted,
  judgeDomain,
  type RelayFor,
  wasAccepted,
} from './policies.ts';
import { asksForPublication, planPublication } from './publication.ts';
import { dnsVerified, recordEvents, type SeenRecord, seenRecords, statusRecord } from './records.ts';
import type { LivingKey } from './rotation.ts';

/** Most records that fit the status. */
const MOST_RECORDS = 64;

export interface ObservedDomain {
  readonly domain: MailDomain;
  readonly world: DomainWorld;
  /** The relays it refers to, as far as they exist. */
  readonly relays: readonly SmtpRelay[];
  readonly views: readonly RelayView[];
  /** What stands where its keys may be. */
  readonly storedKeys: readonly StoredKey[];
  /** What stands where keys of the user's own are. */
  readonly ownKeys: readonly OwnReference[];
  /** What DNS has of its records, by `recordId`. */
  readonly looks: ReadonlyMap<string, Seen>;
  /** Whether somebody publishes its records, where that is asked of somebody. */
  readonly publication: PublicationState;
}

const worlds = new WeakMap<Pick<Objects, 'get'>, { readonly revision: number; readonly world: DomainWorld }>();

/** What the policies ask of the world. A thousand domains that are looked at one after the other ask the same. */
export function domainWorld(outside: Pick<World, 'objects' | 'namespaces' | 'revision'>): DomainWorld {
  const { objects, revision } = outside;
  const known = worlds.get(objects);
  if (known?.revision === revision) return known.world;
  const world = worldNow(outside);
  worlds.set(objects, { revision, world });
  return world;
}

function worldNow({ objects, namespaces }: Pick<World, 'objects' | 'namespaces'>): DomainWorld {
  const labelsOf: LabelsOf = (name) => namespaces.labels(name);
  const relayFor: RelayFor = (key, namespace) => {
    const relay = objects.get('SmtpRelay', key);
    if (!relay) return 'Missing';
    return admits(relay.spec.allowedNamespaces, key.namespace, namespace, labelsOf) ? 'Open' : 'Closed';
  };
  return { relayFor, labelsOf, holders: domainHolders(objects.list('MailDomain'), relayFor) };
}

export const mailDomainController: Controller<'MailDomain', ObservedDomain> = {
  kind: 'MailDomain',

  async observe(key, outside) {
    const { objects, secrets, relays, groups, dns, publication } = outside;
    const domain = objects.get('MailDomain', key);
    if (!domain) {
      dns.observe(keyOf({ metadata: key }), []);
      return undefined;
    }
    const refs = relayKeys(key.namespace, domain.spec.relayRefs);
    const world = domainWorld(outside);
    const storedKeys = await observeKeys(domain, secrets);
    const ownKeys = await observeOwnKeys(domain, secrets);
    const existing = refs.map((ref) => objects.get('SmtpRelay', ref)).filter((relay) => relay !== undefined);
    const looksAt = domain.spec.dns.verification !== 'Disabled' && isAccepted(domain, world);
    const keys = [...judgeKeys(domain, storedKeys).ready, ...judgeOwnKeys(domain, ownKeys).ready];
    const wanted = looksAt ? recordsOf(domain, existing, keys) : [];
    return {
      domain,
      world,
      relays: existing,
      views: refs.map((ref) => ({ name: ref.name, replicas: relays.observe(ref), groups: groups(ref) })),
      storedKeys,
      ownKeys,
      looks: dns.observe(keyOf(domain), wanted),
      publication: asksForPublication(domain) ? await publication(key) : 'Unavailable',
    };
  },

  plan: planDomain,

  async forget({ namespace, name }, secrets) {
    for (const secret of await secrets.ownedBy(namespace, { kind: 'MailDomain', name })) {
      if (goesWithItsDomain(secret)) await secrets.delete(namespace, secret.name);
    }
  },

  affectedBy(kind, key, objects) {
    if (kind === 'SmtpRelay') return domainsOfRelay(key, objects);
    if (kind === 'MailDomain') return [key, ...rivals(key, objects)];
    return [];
  },
};

/** What stands where keys may be. Without a status, as after a restore, that is under any name. */
async function observeKeys(domain: MailDomain, secrets: Pick<Secrets, 'get' | 'ownedBy'>): Promise<StoredKey[]> {
  const { namespace, name } = domain.metadata;
  const slots = slotsToRead(domain);
  if (domain.status?.dkim === undefined) {
    const owned = await secrets.ownedBy(namespace, { kind: 'MailDomain', name });
    for (const slot of owned.map((secret) => slotOf(domain.metadata, secret))) {
      if (slot && !slots.some(({ secretName }) => secretName === slot.secretName)) slots.push(slot);
    }
  }
  return Promise.all(slots.map(async (slot) => ({ slot, secret: await secrets.get(namespace, slot.secretName) })));
}

const recordsOf = (
  { spec }: MailDomain,
  relays: readonly SmtpRelay[],
  keys: readonly Pick<DkimKey, 'selector' | 'algorithm' | 'publicKey'>[],
): WantedRecord[] =>
  dnsRecords({ domain: spec, relays: relays.map((relay) => relay.spec), keys }).slice(0, MOST_RECORDS);

export function planDomain(observed: ObservedDomain, clock: Clock): Plan<'MailDomain'> {
  const { domain, world, relays, views, storedKeys, ownKeys, looks, publication } = observed;
  const nowMs = clock();
  const accepted = judgeDomain(domain, world);
  const inForce = accepted.status === 'True';
  const stored = judgeKeys(domain, storedKeys);
  const own = judgeOwnKeys(domain, ownKeys);
  const known = [...stored.ready, ...own.ready];
  const published = publishedKeys(domain, seenRecords(domain, recordsOf(domain, relays, known), looks), relays, known);
  const isPublished = ({ selector }: { readonly selector: string }): boolean => published.has(selector);
  const ownLiving = ownStates(domain, own.ready, isPublished);
  const rotation = decideKeys(domain, stored, relays, isPublished, replacedAlgorithms(domain, ownLiving), nowMs);
  const living = [...rotation.keys, ...ownLiving];

  // A domain that is not ours to send as gets no keys, and those it has stay as they are.
  const making = inForce ? rotation.make.map(({ algorithm, number }) => keySlot(domain, algorithm, number)) : [];
  const taken = new Set(stored.conflicts.map(({ secretName }) => secretName));
  const create = making.filter(({ secretName }) => !taken.has(secretName));
  const conflicts = stored.conflicts.filter(
    (slot) => inForce && making.some(({ selector }) => selector === slot.selector),
  );
  const kept = stored.ready.filter(({ selector }) => rotation.keys.some((key) => key.selector === selector));
  const ready = [...kept, ...own.ready];
  const records = seenRecords(domain, recordsOf(domain, relays, ready), looks);

  const { damaged } = stored;
  const { problems } = own;
  const dkim = dkimReady(domain, accepted, { living, making, conflicts, damaged, problems });
  const verified = dnsVerified(domain, accepted, records, living);
  const active = new Set(living.flatMap(({ selector, state }) => (state === 'Active' ? [selector] : [])));
  const programmed = domainProgrammed(
    accepted,
    domain,
    ready.filter(({ selector }) => active.has(selector)),
    views,
  );
  const needed = [accepted, dkim, ...(domain.spec.dns.verification === 'Required' ? [verified] : []), programmed];
  return {
    create: create.map((slot) => keyRecipe(domain, slot, nowMs)),
    apply: inForce ? withPolicy(domain, storedKeys, kept) : [],
    delete: inForce ? rotation.remove.map(({ selector }) => secretOf(domain, selector, stored.ready)) : [],
    secretCondition: 'DkimReady',
    ...(inForce && planPublication(domain, records, publication)),
    status: {
      observedGeneration: domain.metadata.generation,
      conditions: setConditions(
        domain,
        [
          accepted,
          dkim,
          verified,
          programmed,
          ...dnsPublished(domain, accepted, publication),
          ...spfIncomplete(domain, relays),
          readyFrom(needed),
        ],
        clock,
      ),
      ...(inForce
        ? toPublish(domain, relays, [rotation.keys, ownLiving], records)
        : domain.status?.dkim && { dkim: domain.status.dkim }),
    },
    events: [
      ...create.map(({ algorithm, selector }) => ({
        type: 'Normal' as const,
        reason: 'DkimKeyCreated',
        message: `Made a DKIM key: ${algorithm}, selector ${selector}.`,
      })),
      ...(inForce ? [...keyEvents(domain, living, rotation.remove), ...recordEvents(domain, records)] : []),
    ],
    ...(rotation.nextMs !== undefined && { againMs: Math.max(rotation.nextMs - nowMs, 0) }),
  };
}

/** Selectors of keys whose record every name server has. */
function publishedKeys(
  domain: MailDomain,
  records: readonly SeenRecord[],
  relays: readonly SmtpRelay[],
  keys: readonly OwnKey[],
): ReadonlySet<string> {
  const seen = new Set(
    records.flatMap(({ record, seen: { state } }) => (state === 'Published' ? [recordId(record)] : [])),
  );
  return new Set(
    keys
      .filter((key) =>
        recordsOf(domain, relays, [key]).some((record) => record.purpose === 'Dkim' && seen.has(recordId(record))),
      )
      .map(({ selector }) => selector),
  );
}

function secretOf({ metadata: { namespace } }: MailDomain, selector: string, keys: readonly DkimKey[]) {
  const name = keys.find((key) => key.selector === selector)?.secretName;
  if (name === undefined) throw new RangeError(`no key ${selector}`);
  return { namespace, name };
}

/** Records are told only for a domain that is accepted: those of a rival would break the holder's mail. */
function toPublish(
  domain: MailDomain,
  relays: readonly SmtpRelay[],
  [made, own]: readonly [readonly LivingKey[], readonly OwnLiving[]],
  records: readonly SeenRecord[],
): Pick<NonNullable<MailDomain['status']>, 'dnsRecords' | 'dkim'> {
  const retiredForMs = retireAfterMs(domain, relays);
  return {
    dnsRecords: records.map(statusRecord),
    dkim: {
      keys: [
        ...made.map((key) => statusKey(key, retiredForMs)),
        ...own.map(({ selector, algorithm, state }) => ({ selector, algorithm, state })),
      ],
    },
  };
}

function domainProgrammed(
  accepted: Judgement,
  domain: MailDomain,
  keys: readonly OwnKey[],
  views: readonly RelayView[],
): Judgement {
  if (accepted.status !== 'True') {
    return { type: 'Programmed', status: 'False', reason: 'NotAccepted', message: 'Relays do not send as it.' };
  }
  const entry = domainDocument(domain, keys);
  return entryProgrammed(views, (group) => findDomain(group, entry), domain.status?.conditions);
}

const keyFrom = ({ metadata: { namespace, name } }: MailDomain): ObjectKey => ({ namespace, name });

const domainsOfRelay = (relay: ObjectKey, objects: Objects): ObjectKey[] =>
  objects
    .list('MailDomain')
    .filter(({ metadata, spec }) =>
      relayKeys(metadata.namespace, spec.relayRefs).some((referred) => isSameKey(referred, relay)),
    )
    .map(keyFrom);

/** Who may gain or lose when a MailDomain changes. One that is gone may have held any domain. */
function rivals(key: ObjectKey, objects: Objects): ObjectKey[] {
  const changed = objects.get('MailDomain', key);
  return objects
    .list('MailDomain')
    .filter((other) => (changed ? domainOf(other) === domainOf(changed) : !wasAccepted(other)))
    .map(keyFrom);
}
