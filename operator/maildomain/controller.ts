/** MailDomain: judges who holds a domain, makes its DKIM keys, and says which records to publish. */
import type { MailDomain, MailDomainStatus } from '../../crds/maildomain.ts';
import type { ObjectKey } from '../../crds/resource.ts';
import type { SmtpRelay } from '../../crds/smtprelay.ts';
import type { Objects, Secret } from '../backend.ts';
import { dnsRecords } from '../dns/records.ts';
import { secretConflict } from '../runtime/apply-plan.ts';
import { type Judgement, readyFrom, setConditions } from '../runtime/conditions.ts';
import type { Clock, Controller, Plan } from '../runtime/plan.ts';
import { entryProgrammed, type RelayView } from '../smtprelay/programmed.ts';
import { findDomain } from '../smtprelay/relay-group.ts';
import { type DkimKeys, domainDocument, judgeKeys, keyRecipe, keySlots } from './dkim-keys.ts';
import { type DomainWorld, domainHolders, domainOf, judgeDomain, wasAccepted } from './policies.ts';

/** Most records that fit the status. */
const MOST_RECORDS = 64;

export interface ObservedDomain {
  readonly domain: MailDomain;
  readonly world: DomainWorld;
  /** The relays it refers to, as far as they exist. */
  readonly relays: readonly SmtpRelay[];
  readonly views: readonly RelayView[];
  /** What stands under the names of its key slots. */
  readonly keySecrets: readonly (Secret | undefined)[];
}

/** What the policies ask of the world. */
export function domainWorld(objects: Pick<Objects, 'get' | 'list'>): DomainWorld {
  const relayExists = (relay: ObjectKey): boolean => objects.get('SmtpRelay', relay) !== undefined;
  return { relayExists, holders: domainHolders(objects.list('MailDomain'), relayExists) };
}

export const mailDomainController: Controller<'MailDomain', ObservedDomain> = {
  kind: 'MailDomain',

  async observe(key, { objects, secrets, relays, groups }) {
    const domain = objects.get('MailDomain', key);
    if (!domain) return undefined;
    const refs = domain.spec.relayRefs.map(({ name }) => ({ namespace: key.namespace, name }));
    return {
      domain,
      world: domainWorld(objects),
      relays: refs.map((ref) => objects.get('SmtpRelay', ref)).filter((relay) => relay !== undefined),
      views: refs.map((ref) => ({ name: ref.name, replicas: relays.observe(ref), groups: groups(ref) })),
      keySecrets: await Promise.all(keySlots(domain).map(({ secretName }) => secrets.get(key.namespace, secretName))),
    };
  },

  plan: planDomain,

  affectedBy(kind, key, objects) {
    if (kind === 'SmtpRelay') return domainsOfRelay(key, objects);
    if (kind === 'MailDomain') return [key, ...rivals(key, objects)];
    return [];
  },
};

export function planDomain(observed: ObservedDomain, clock: Clock): Plan<'MailDomain'> {
  const { domain, world, relays, views, keySecrets } = observed;
  const accepted = judgeDomain(domain, world);
  const keys = judgeKeys(domain, keySecrets);
  // A domain that is not ours to send as gets no keys; those it has are kept.
  const create = accepted.status === 'True' ? keys.missing.map((slot) => keyRecipe(domain, slot)) : [];
  const dkim = dkimReady(accepted, domain, keys);
  const programmed = domainProgrammed(accepted, domain, keys, views);
  const conditions = setConditions(
    domain,
    [accepted, dkim, DNS_VERIFIED, programmed, ...spfIncomplete(observed), readyFrom([accepted, dkim, programmed])],
    clock,
  );
  return {
    create,
    secretCondition: 'DkimReady',
    status: {
      observedGeneration: domain.metadata.generation,
      conditions,
      ...(accepted.status === 'True' && publication(domain, relays, keys)),
    },
    events: create.map(({ annotations }) => ({
      type: 'Normal',
      reason: 'DkimKeyCreated',
      message: `Made a DKIM key: ${annotations.algorithm}, selector ${annotations.selector}.`,
    })),
  };
}

/** Records are told only for a domain that is accepted: those of a rival would break the holder's mail. */
function publication(
  { spec }: MailDomain,
  relays: readonly SmtpRelay[],
  { ready }: DkimKeys,
): Pick<MailDomainStatus, 'dnsRecords' | 'dkim'> {
  const records = dnsRecords({ domain: spec, relays: relays.map((relay) => relay.spec), keys: ready });
  return {
    dnsRecords: records.slice(0, MOST_RECORDS).map(({ type, name, value }) => ({ type, name, value })),
    dkim: { keys: ready.map(({ selector, algorithm }) => ({ selector, algorithm, state: 'Active' })) },
  };
}

function dkimReady(accepted: Judgement, { spec }: MailDomain, keys: DkimKeys): Judgement {
  const type = 'DkimReady';
  if (spec.dkim.algorithms.length === 0) {
    return { type, status: 'True', reason: 'NotSigned', message: 'spec.dkim.algorithms is empty: mail is not signed.' };
  }
  if (keys.conflicts.length > 0) return secretConflict(type, keys.conflicts);
  if (keys.damaged.length > 0) {
    const message = `Secret ${keys.damaged.join(', ')} holds no usable key: restore it, or delete it to have a new key made.`;
    return { type, status: 'False', reason: 'KeyDamaged', message };
  }
  if (keys.missing.length > 0) {
    return accepted.status === 'True'
      ? { type, status: 'False', reason: 'KeysMissing', message: 'The keys are being made.' }
      : { type, status: 'False', reason: 'NotAccepted', message: 'Keys are made once the domain is accepted.' };
  }
  return { type, status: 'True', reason: 'KeysReady', message: `Mail is signed with ${keys.ready.length} key(s).` };
}

/** Nobody looks, so nothing is known; and since that is how it is wanted, it does not keep the domain from Ready. */
const DNS_VERIFIED: Judgement = {
  type: 'DnsVerified',
  status: 'Unknown',
  reason: 'VerificationDisabled',
  message: 'spec.dns.verification is Disabled: whether the records are published is not checked.',
};

function domainProgrammed(
  accepted: Judgement,
  domain: MailDomain,
  keys: DkimKeys,
  views: readonly RelayView[],
): Judgement {
  if (accepted.status !== 'True') {
    return { type: 'Programmed', status: 'False', reason: 'NotAccepted', message: 'Relays do not send as it.' };
  }
  const entry = domainDocument(domain, keys.ready);
  return entryProgrammed(views, (group) => findDomain(group, entry), domain.status?.conditions);
}

/** Only told where it is so: with no sender known, an SPF record would forbid all mail. */
function spfIncomplete({ domain, relays }: ObservedDomain): Judgement[] {
  const known = domain.spec.spf.include.length + relays.flatMap(({ spec }) => spec.egress.addresses).length;
  if (known > 0) return [];
  const message =
    'No SPF record is proposed: set spec.egress.addresses of the SmtpRelay, or spec.spf.include of this MailDomain.';
  return [{ type: 'SpfIncomplete', status: 'True', reason: 'NoSenderKnown', message }];
}

const keyFrom = ({ metadata: { namespace, name } }: MailDomain): ObjectKey => ({ namespace, name });

const domainsOfRelay = (relay: ObjectKey, objects: Objects): ObjectKey[] =>
  objects
    .list('MailDomain')
    .filter(({ metadata, spec }) => metadata.namespace === relay.namespace && refersTo(spec.relayRefs, relay))
    .map(keyFrom);

const refersTo = (refs: readonly { readonly name: string }[], relay: ObjectKey): boolean =>
  refs.some(({ name }) => name === relay.name);

/** Who may gain or lose when a MailDomain changes. One that is gone may have held any domain. */
function rivals(key: ObjectKey, objects: Objects): ObjectKey[] {
  const changed = objects.get('MailDomain', key);
  return objects
    .list('MailDomain')
    .filter((other) => (changed ? domainOf(other) === domainOf(changed) : !wasAccepted(other)))
    .map(keyFrom);
}
