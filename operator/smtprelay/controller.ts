/** SmtpRelay: judges the spec, keeps CA and certificate, and gives the replicas the config they run by. */
import { durationMs } from '../../crds/duration.ts';
import type { MailDomain } from '../../crds/maildomain.ts';
import type { ObjectKey } from '../../crds/resource.ts';
import type { SmtpRelay } from '../../crds/smtprelay.ts';
import type { SmtpUser } from '../../crds/smtpuser.ts';
import { type DomainDocument, INDEX, type IndexDocument, type UserDocument } from '../../relay/config/documents.ts';
import type { PeerPlaces, Reference, RelayGroup, RelayReplica, Secret } from '../backend.ts';
import { domainWorld } from '../maildomain/controller.ts';
import { activeSlots, domainDocument, judgeKeys, type StoredKey } from '../maildomain/dkim-keys.ts';
import { signingKeys } from '../maildomain/key-states.ts';
import { judgeOwnKeys, type OwnReference, observeOwnKeys, signingOwnKeys } from '../maildomain/own-keys.ts';
import { type DomainWorld, isAccepted } from '../maildomain/policies.ts';
import { isSameKey, relayKey, relayKeys } from '../references.ts';
import { type Judgement, setConditions, timestamp } from '../runtime/conditions.ts';
import type { Clock, Controller, Plan, World } from '../runtime/plan.ts';
import { verifierName } from '../smtpuser/names.ts';
import { judgeUser } from '../smtpuser/policies.ts';
import { userDocument } from '../smtpuser/user-document.ts';
import { readVerifiers } from '../smtpuser/verifier.ts';
import { caCertificateOf, caSecretName, certificateSecretName, planCertificates } from './certificates.ts';
import { draining, queueHealthy, relayReady, replicaStatus } from './conditions.ts';
import { type ConfiguredCertificate, configuredCertificate, configuredSecret } from './configured-certificate.ts';
import { departedDomains, departedIn } from './departed.ts';
import { judgeRelay } from './policies.ts';
import { relayProgrammed } from './programmed.ts';
import { hashOf, type RelayGroupInput, relayGroup } from './relay-group.ts';

/** How long a notice of what expired may be queued in its turn. */
const BOUNCED_MS = 24 * 3_600_000;

/** How often it is asked whether the queues are empty of what left. */
const DEPARTED_LOOK_MS = 5_000;

export interface ObservedRelay {
  readonly relay: SmtpRelay;
  readonly world: DomainWorld;
  /** MailDomains that refer to it, accepted or not, each with what stands where the keys are that sign. */
  readonly domains: readonly {
    readonly domain: MailDomain;
    readonly storedKeys: readonly StoredKey[];
    readonly ownKeys: readonly OwnReference[];
  }[];
  /** SmtpUsers that refer to it, accepted or not. */
  readonly users: readonly { readonly user: SmtpUser; readonly verifier: Secret | undefined }[];
  readonly ca: Secret | undefined;
  readonly certificate: Secret | undefined;
  /** What stands where spec.tls.certificate points, where that is a Secret of a user's own. */
  readonly configured?: Reference | undefined;
  readonly serviceNames: readonly string[];
  readonly replicas: readonly RelayReplica[];
  /** See Relays. */
  readonly applied: ReadonlyMap<string, string>;
  /** Of the config that was applied last; see Relays. Only asked where it matters. */
  readonly isEmpty: boolean;
  /** Where the replicas find each other. */
  readonly peers: PeerPlaces;
  /** See Relays. */
  readonly selector?: string | undefined;
  /** See Backend. */
  readonly bindPort: (port: number) => number;
}

export const smtpRelayController: Controller<'SmtpRelay', ObservedRelay> = {
  kind: 'SmtpRelay',

  async observe(key, world) {
    const { objects, secrets, relays, serviceNames, bindPort } = world;
    const relay = objects.get('SmtpRelay', key);
    if (!relay) return undefined;
    const applied = relays.applied(key);
    return {
      relay,
      world: domainWorld(world),
      domains: await observeDomains(key, world),
      users: await observeUsers(key, world),
      ca: await secrets.get(key.namespace, caSecretName(key.name)),
      certificate: await secrets.get(key.namespace, certificateSecretName(key.name)),
      configured: await observeConfigured(relay, world),
      serviceNames: serviceNames(key),
      replicas: relays.observe(key),
      applied,
      isEmpty: departedIn(applied).length > 0 && relays.isEmpty(key, hashOf(applied.get(INDEX) ?? '')),
      peers: relays.peers(key),
      selector: relays.selector?.(key),
      bindPort,
    };
  },

  plan: planRelay,

  affectedBy(kind, key, objects) {
    if (kind === 'SmtpRelay') return [key];
    // A domain or user that is gone, or refers elsewhere now, does not tell where it was attached before; and a domain
    // may be one that users of another namespace send as.
    return objects
      .list('SmtpRelay')
      .filter(({ metadata, spec }) => metadata.namespace === key.namespace || spec.allowedNamespaces.from !== 'Same')
      .map(({ metadata: { namespace, name } }) => ({ namespace, name }));
  },

  async forget({ namespace, name }, secrets) {
    for (const secret of await secrets.ownedBy(namespace, { kind: 'SmtpRelay', name })) {
      await secrets.delete(namespace, secret.name);
    }
  },
};

async function observeConfigured(
  relay: SmtpRelay,
  { secrets, issuesCertificates }: Pick<World, 'secrets' | 'issuesCertificates'>,
): Promise<Reference | undefined> {
  const name = configuredSecret(relay);
  if (name === undefined) return undefined;
  const { issuerRef } = relay.spec.tls.certificate;
  if (issuerRef && !issuesCertificates) {
    return { problem: 'There is no cert-manager on one machine: name a Secret in spec.tls.certificate.secretRef.' };
  }
  const found = await secrets.reference(relay.metadata.namespace, name);
  if (!(issuerRef && 'problem' in found)) return found;
  const message = `cert-manager has not made Secret ${name} yet: see whether it is installed, and what Certificate ${relay.metadata.name} says.`;
  return { problem: message };
}

const observeDomains = (key: ObjectKey, { objects, secrets }: World): Promise<ObservedRelay['domains']> =>
  Promise.all(
    objects
      .list('MailDomain')
      .filter(({ metadata, spec }) =>
        relayKeys(metadata.namespace, spec.relayRefs).some((relay) => isSameKey(relay, key)),
      )
      .map(async (domain) => ({
        domain,
        ownKeys: await observeOwnKeys(domain, secrets),
        storedKeys: await Promise.all(
          activeSlots(domain).map(async (slot) => ({
            slot,
            secret: await secrets.get(domain.metadata.namespace, slot.secretName),
          })),
        ),
      })),
  );

const observeUsers = (key: ObjectKey, { objects, secrets }: World): Promise<ObservedRelay['users']> =>
  Promise.all(
    objects
      .list('SmtpUser')
      .filter(({ metadata, spec }) => isSameKey(relayKey(metadata.namespace, spec.relayRef), key))
      .map(async (user) => ({ user, verifier: await secrets.get(user.metadata.namespace, verifierName(user)) })),
  );

export function planRelay(observed: ObservedRelay, clock: Clock): Plan<'SmtpRelay'> {
  if (observed.relay.metadata.deletionTimestamp !== undefined) return planRemoval(observed, clock);
  const { relay, replicas, serviceNames, peers: places, bindPort, selector } = observed;
  const names = [...new Set([relay.spec.hostname.toLowerCase(), ...serviceNames])];
  const { judgement, serve, notAfterMs, againMs, ...secrets } = planCertificates({ ...observed, names }, clock());
  const configured = configuredCertificate(
    { relay, reference: observed.configured, applied: observed.applied },
    clock(),
  );
  const certificateReady = withConfigured(judgement, configured);
  const accepted = judgeRelay(relay, { bindPort, ...('port' in places && { adminPort: places.port }) });
  const peers = peersOf(places, caCertificateOf(relay, observed.ca));
  const domains = domainsInForce(observed);
  const users = usersInForce(observed);
  // Without it the backend leaves in force what was applied last.
  const group =
    accepted.status === 'True' && serve
      ? withDeparted(
          {
            ...{ relay, certificate: serve, domains, users, bindPort },
            ...(peers && { peers }),
            ...(configured.serve && { namedCertificates: [configured.serve] }),
          },
          observed,
          clock,
        )
      : undefined;

  const validUntilMs = configured.notAfterMs ?? notAfterMs;
  const needed = [accepted, certificateReady, relayProgrammed(group, replicas, relay.status?.conditions)];
  const conditions = [
    ...needed,
    queueHealthy(replicas),
    draining(replicas),
    relayReady(needed, replicas, relay.spec.replicas),
  ];
  return {
    ...secrets,
    finalizer: true,
    secretCondition: certificateReady.type,
    ...(group && { relay: group }),
    ...again(
      againMs,
      configured.notAfterMs === undefined ? undefined : configured.notAfterMs - clock(),
      group && departedIn(group.documents).length > 0 ? DEPARTED_LOOK_MS : undefined,
    ),
    status: {
      observedGeneration: relay.metadata.generation,
      conditions: setConditions(relay, conditions, clock),
      ...replicaStatus(replicas, relay.status),
      ...(selector !== undefined && { selector }),
      attachedDomains: domains.length,
      attachedUsers: users.length,
      ...(validUntilMs !== undefined && { certificate: { notAfter: timestamp(validUntilMs) } }),
    },
  };
}

/** The group of the domains in force, and of those that left and whose mail may still be queued. */
function withDeparted(input: RelayGroupInput, { relay, applied, isEmpty }: ObservedRelay, clock: Clock): RelayGroup {
  const group = relayGroup(input);
  const facts = {
    before: applied,
    next: group.documents,
    inForce: input.domains,
    isEmpty,
    longestMs: durationMs(relay.spec.delivery.retry.expireAfter) + BOUNCED_MS,
  };
  const departed = departedDomains(facts, clock());
  return departed.length === 0 ? group : relayGroup({ ...input, domains: [...input.domains, ...departed] });
}

/** At the first of these times that is to come. */
function again(...times: readonly (number | undefined)[]): Pick<Plan<'SmtpRelay'>, 'againMs'> {
  const known = times.filter((ms): ms is number => ms !== undefined && ms >= 0);
  return known.length === 0 ? {} : { againMs: Math.min(...known) };
}

/** That of the private CA is needed whatever else is served. */
function withConfigured(own: Judgement, { problem, notAfterMs }: ConfiguredCertificate): Judgement {
  if (own.status !== 'True') return own;
  if (problem) return { ...own, status: 'False', ...problem };
  return notAfterMs === undefined ? own : { ...own, message: `Valid until ${timestamp(notAfterMs)}.` };
}

/** Over the network a peer is known by its certificate. Without the CA to check it by, nobody is handed mail. */
function peersOf(places: PeerPlaces, ca: string | undefined): IndexDocument['peers'] {
  if ('socket' in places) return places;
  return ca === undefined ? undefined : { ...places, ca };
}

/** Deleted: the replicas deliver what they hold, go on by their last config, and end. The finalizer waits for that. */
function planRemoval({ relay, replicas, selector }: ObservedRelay, clock: Clock): Plan<'SmtpRelay'> {
  const leaving: Judgement = {
    type: 'Draining',
    status: 'True',
    reason: 'Deleting',
    message: `Replicas deliver what they hold, for at most ${relay.spec.deletion.drainTimeout}.`,
  };
  const ready: Judgement = {
    type: 'Ready',
    status: 'False',
    reason: 'Deleting',
    message: 'The relay is being deleted.',
  };
  return {
    removeRelay: { drainTimeoutMs: durationMs(relay.spec.deletion.drainTimeout) },
    finalizer: false,
    status: {
      observedGeneration: relay.metadata.generation,
      conditions: setConditions(relay, [queueHealthy(replicas), leaving, ready], clock),
      ...replicaStatus(replicas, relay.status),
      ...(selector !== undefined && { selector }),
    },
  };
}

const domainsInForce = ({ domains, world }: ObservedRelay): DomainDocument[] =>
  domains
    .filter(({ domain }) => isAccepted(domain, world))
    .map(({ domain, storedKeys, ownKeys }) =>
      domainDocument(domain, [
        ...signingKeys(domain, judgeKeys(domain, storedKeys)),
        ...signingOwnKeys(domain, judgeOwnKeys(domain, ownKeys)),
      ]),
    );

/** A user without a verifier is one whose credential is still being made. */
const usersInForce = ({ users, world }: ObservedRelay): UserDocument[] =>
  users
    .filter(({ user }) => judgeUser(user, world).status === 'True')
    .flatMap(({ user, verifier: secret }) => {
      const verifier = readVerifiers(user, secret);
      return verifier ? [userDocument(user, verifier)] : [];
    });
