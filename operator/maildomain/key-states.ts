/** What becomes of the keys of a domain: what is stored and what the status knows, put together, and then decided. */
import { durationMs } from '../../crds/duration.ts';
import type { MailDomain, MailDomainStatus } from '../../crds/maildomain.ts';
import type { SmtpRelay } from '../../crds/smtprelay.ts';
import type { OperatorEvent } from '../backend.ts';
import { timestamp } from '../runtime/conditions.ts';
import { type DkimKey, type DkimKeys, knownSlots, ROTATE } from './dkim-keys.ts';
import { type Algorithm, type Key, type LivingKey, planRotation, type Rotation } from './rotation.ts';

type StatusKey = NonNullable<MailDomainStatus['dkim']>['keys'][number];

/** A day more than mail waits: how long it may take to arrive after it left (RFC 6376 5.2). */
const ON_ITS_WAY_MS = 24 * 3_600_000;

/** How long a retired key stays published: what was asked for, and never less than mail may be on its way. */
export function retireAfterMs({ spec }: MailDomain, relays: readonly SmtpRelay[]): number {
  const waits = relays.map((relay) => durationMs(relay.spec.delivery.retry.expireAfter) + ON_ITS_WAY_MS);
  return Math.max(durationMs(spec.dkim.rotation.retireAfter), ...waits);
}

/**
 * @param isPublished whether a key was seen at every name server
 * @param replaced for these algorithms there are keys of the user's own
 */
export function decideKeys(
  domain: MailDomain,
  keys: DkimKeys,
  relays: readonly SmtpRelay[],
  isPublished: (key: DkimKey) => boolean,
  replaced: ReadonlySet<Algorithm>,
  nowMs: number,
): Rotation {
  const { dkim, dns } = domain.spec;
  const known = new Set(knownSlots(domain).map(({ selector }) => selector));
  return planRotation(
    {
      algorithms: dkim.algorithms.filter((algorithm) => !replaced.has(algorithm)),
      prefix: dkim.selectorPrefix,
      everyMs: dkim.rotation.every === undefined ? undefined : durationMs(dkim.rotation.every),
      publishForMs: durationMs(dkim.rotation.publishFor),
      retireAfterMs: retireAfterMs(domain, relays),
      verification: dns.verification,
      request: domain.metadata.annotations?.[ROTATE],
      keys: keys.ready.map((key) => withState(domain, key, isPublished(key), nowMs)),
      lost: keys.absent.filter(({ selector }) => known.has(selector)),
      blocked: [...keys.damaged, ...keys.conflicts.filter(({ selector }) => known.has(selector))],
    },
    nowMs,
  );
}

function withState(domain: MailDomain, key: DkimKey, published: boolean, nowMs: number): Key {
  const { selector, algorithm, number, request } = key;
  const known = statusOf(domain, key);
  return {
    selector,
    algorithm,
    number,
    createdMs: key.createdMs ?? time(known?.created) ?? nowMs,
    ...(request !== undefined && { request }),
    published,
    ...(known && { state: known.state }),
    ...(known?.activated !== undefined && { activatedMs: Date.parse(known.activated) }),
    ...(known?.retired !== undefined && { retiredMs: Date.parse(known.retired) }),
  };
}

/** What the status says of this key. One that was deleted by hand and made anew has the same name and is another. */
function statusOf({ status }: MailDomain, key: DkimKey): StatusKey | undefined {
  const known = status?.dkim?.keys.find(({ selector }) => selector === key.selector);
  const isAnother =
    key.createdMs !== undefined && known?.created !== undefined && time(known.created) !== key.createdMs;
  return isAnother ? undefined : known;
}

const time = (text: string | undefined): number | undefined => (text === undefined ? undefined : Date.parse(text));

/** The keys that sign, as the status says: what relays are told. */
export const signingKeys = (domain: MailDomain, { ready }: DkimKeys): readonly DkimKey[] =>
  ready.filter((key) => statusOf(domain, key)?.state === 'Active');

export const statusKey = (key: LivingKey, retiredForMs: number): StatusKey => ({
  selector: key.selector,
  algorithm: key.algorithm,
  state: key.state,
  created: timestamp(key.createdMs),
  ...(key.activatedMs !== undefined && { activated: timestamp(key.activatedMs) }),
  ...(key.state === 'Retiring' &&
    key.retiredMs !== undefined && {
      retired: timestamp(key.retiredMs),
      removedAfter: timestamp(key.retiredMs + retiredForMs),
    }),
});

/** An event for each step in the life of a key. */
export function keyEvents(
  { status }: MailDomain,
  keys: readonly Pick<LivingKey, 'selector' | 'state'>[],
  remove: Rotation['remove'],
): Pick<OperatorEvent, 'type' | 'reason' | 'message'>[] {
  const before = new Map(status?.dkim?.keys.map(({ selector, state }) => [selector, state]));
  const steps = keys.flatMap(({ selector, state }) => {
    if (before.get(selector) === state) return [];
    if (state === 'Active') return [normal('DkimKeyActive', `Mail is signed with ${selector} from now on.`)];
    if (state === 'Publishing') return [];
    return [normal('DkimKeyRetiring', `${selector} signs no more; leave its record published for mail on its way.`)];
  });
  const gone = remove.map(({ selector }) =>
    normal('DkimKeyRemoved', `Deleted the key ${selector}: its record may go from DNS.`),
  );
  return [...steps, ...gone];
}

const normal = (reason: string, message: string) => ({ type: 'Normal' as const, reason, message });
