/**
 * The life of the DKIM keys of a domain, as a pure decision: which are to be made, which sign, which stay published for
 * mail on its way, which may go.
 *
 * A key is Publishing from when it is made, Active once receivers can see it, and Retiring from when its successor
 * signs. All of it follows from what is there: whatever step a crash interrupts, the same decision comes out again.
 */
import type { MailDomainSpec, MailDomainStatus } from '../../crds/maildomain.ts';

export type Algorithm = MailDomainSpec['dkim']['algorithms'][number];
export type KeyState = NonNullable<MailDomainStatus['dkim']>['keys'][number]['state'];

/** A key that has a Secret. Times are ms since 1970. */
export interface Key {
  readonly selector: string;
  readonly algorithm: Algorithm;
  /** Counts the keys of an algorithm: the highest is the newest. */
  readonly number: number;
  readonly createdMs: number;
  /** What the annotation that asks for a rotation said when it was made. */
  readonly request?: string;
  /** As the status has it; undefined: the status does not know the key. */
  readonly state?: KeyState;
  readonly activatedMs?: number;
  readonly retiredMs?: number;
  /** Whether its record was seen at every name server. */
  readonly published: boolean;
}

export interface RotationInput {
  readonly algorithms: readonly Algorithm[];
  readonly prefix: string;
  readonly everyMs: number | undefined;
  readonly publishForMs: number;
  /** At least as long as mail that an earlier key signed may be on its way. */
  readonly retireAfterMs: number;
  readonly verification: MailDomainSpec['dns']['verification'];
  /** What the annotation that asks for a rotation says. */
  readonly request: string | undefined;
  readonly keys: readonly Key[];
  /** Keys of the status whose Secret is gone. */
  readonly lost: readonly Place[];
  /** Places of keys that cannot be used, and that nothing else may take. */
  readonly blocked: readonly Place[];
}

export type Place = Pick<Key, 'algorithm' | 'number'>;

export interface LivingKey extends Key {
  readonly state: KeyState;
}

export interface Rotation {
  /** In the order of their numbers. */
  readonly keys: readonly LivingKey[];
  /** Keys that have to be made. */
  readonly make: readonly Place[];
  /** Keys whose time is over. */
  readonly remove: readonly Key[];
  /** When time alone changes something (ms since 1970). */
  readonly nextMs?: number;
}

const LETTER: Readonly<Record<Algorithm, string>> = { RSA2048: 'r', Ed25519: 'e' };

/** RSA before Ed25519: every receiver knows RSA, some nothing else. */
export const ALGORITHMS: readonly Algorithm[] = ['RSA2048', 'Ed25519'];

export const selectorOf = (prefix: string, algorithm: Algorithm, number: number): string =>
  `${prefix}-${LETTER[algorithm]}${number}`;

/** The number in a selector of ours. */
export function numberOf(selector: string, algorithm: Algorithm): number | undefined {
  const digits = new RegExp(`-${LETTER[algorithm]}([1-9][0-9]{0,8})$`).exec(selector)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

export function planRotation(input: RotationInput, nowMs: number): Rotation {
  const parts = ALGORITHMS.map((algorithm) => {
    const keys = input.keys.filter((key) => key.algorithm === algorithm).toSorted((a, b) => a.number - b.number);
    return input.algorithms.includes(algorithm) ? rotate(algorithm, keys, input, nowMs) : retireAll(keys, input, nowMs);
  });
  const times = parts.flatMap(({ nextMs }) => (nextMs === undefined ? [] : [nextMs]));
  return {
    keys: parts.flatMap(({ keys }) => keys),
    make: parts.flatMap(({ make }) => make),
    remove: parts.flatMap(({ remove }) => remove),
    ...(times.length > 0 && { nextMs: Math.min(...times) }),
  };
}

function rotate(algorithm: Algorithm, keys: readonly Key[], input: RotationInput, nowMs: number): Rotation {
  const numbers = [...keys, ...input.lost, ...input.blocked]
    .filter((place) => place.algorithm === algorithm)
    .map(({ number }) => number);
  const top = Math.max(0, ...numbers);
  if (top === 0) return { keys: [], make: [{ algorithm, number: 1 }], remove: [] };
  let living: readonly LivingKey[] = keys.map((key) => nowLiving(key, top));
  // The oldest first, so that of several unknown ones the newest that may sign is the one that does.
  for (const { number, state } of living) {
    const key = living.find((each) => each.number === number);
    if (state === 'Publishing' && key && maySign(key, living, input, nowMs)) living = activated(living, number, nowMs);
  }
  const current = living.find(({ number }) => number === top);
  const isLost = input.lost.some((place) => place.algorithm === algorithm && place.number === top);
  const make: Place[] = [];
  // In its own place: a cache that lags behind must not lead to a second key.
  if (isLost) make.push({ algorithm, number: top });
  else if (current && isDue(current, input, nowMs)) make.push({ algorithm, number: top + 1 });
  const { keys: left, remove, nextMs } = withoutExpired(living, input, nowMs);
  const times = [nextMs, current && nextStep(current, input)].filter((time) => time !== undefined && time > nowMs);
  return { keys: left, make, remove, ...(times.length > 0 && { nextMs: Math.min(...times.map(Number)) }) };
}

/** @param top number of the newest key */
function nowLiving({ retiredMs, ...key }: Key, top: number): LivingKey {
  // One that was taken off the list and is wanted again has to show that it is still published.
  const state = key.number === top && key.state === 'Retiring' ? 'Publishing' : (key.state ?? 'Publishing');
  return { ...key, state, ...(state === 'Retiring' && retiredMs !== undefined && { retiredMs }) };
}

function maySign(key: LivingKey, all: readonly LivingKey[], input: RotationInput, nowMs: number): boolean {
  if (key.published) return true;
  if (input.verification === 'Required') return false;
  // The first key signs at once: unsigned mail would be no better than mail whose key is not seen yet.
  const first = all.every(({ state }) => state !== 'Active');
  return first || nowMs >= key.createdMs + input.publishForMs;
}

/** The key signs; those before it sign no more. */
const activated = (keys: readonly LivingKey[], number: number, nowMs: number): readonly LivingKey[] =>
  keys.map((key) => {
    if (key.number === number) return { ...key, state: 'Active', activatedMs: nowMs };
    return key.number < number && key.state !== 'Retiring' ? { ...key, state: 'Retiring', retiredMs: nowMs } : key;
  });

function isDue(key: LivingKey, input: RotationInput, nowMs: number): boolean {
  if (key.state !== 'Active') return false;
  if (input.request !== undefined && key.request !== input.request) return true;
  if (key.selector !== selectorOf(input.prefix, key.algorithm, key.number)) return true;
  return input.everyMs !== undefined && nowMs >= since(key) + input.everyMs;
}

const since = ({ activatedMs, createdMs }: Key): number => activatedMs ?? createdMs;

function nextStep(key: LivingKey, { everyMs, publishForMs, verification }: RotationInput): number | undefined {
  if (key.state === 'Active') return everyMs === undefined ? undefined : since(key) + everyMs;
  return verification === 'Required' ? undefined : key.createdMs + publishForMs;
}

/** RFC 6376 5.2: what a key signed must be verifiable until it has arrived. */
function withoutExpired(keys: readonly LivingKey[], { retireAfterMs }: RotationInput, nowMs: number): Rotation {
  const end = (key: LivingKey): number => (key.retiredMs ?? nowMs) + retireAfterMs;
  const retiring = keys.filter(({ state }) => state === 'Retiring');
  const remove = retiring.filter((key) => end(key) <= nowMs);
  const left = retiring.filter((key) => end(key) > nowMs).map(end);
  return {
    keys: keys.filter((key) => !remove.includes(key)),
    make: [],
    remove,
    ...(left.length > 0 && { nextMs: Math.min(...left) }),
  };
}

/** An algorithm that is taken off the list signs no more; put back within the time, it needs no new record. */
function retireAll(keys: readonly Key[], input: RotationInput, nowMs: number): Rotation {
  const retired = keys.map((key): LivingKey => ({ ...key, state: 'Retiring', retiredMs: key.retiredMs ?? nowMs }));
  return withoutExpired(retired, input, nowMs);
}
