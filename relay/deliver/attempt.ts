/**
 * One attempt of a delivery: its recipients are routed by the config in force, and each group is offered to the hosts of
 * its next hop, in order, until one answers for the message.
 */
import path from 'node:path';
import type { ConfigSource } from '../config/config.ts';
import type { Recipient } from '../spool/envelope.ts';
import { HostFailure, type Judgement, judgeFailure, judgeReply } from './classify.ts';
import type { TransactionResult } from './connection.ts';
import type { Lease } from './destination-limit.ts';
import type { DestinationLimits } from './destination-limits.ts';
import { type Dns, DnsFailure } from './dns.ts';
import type { Held } from './in-hand.ts';
import type { Leases } from './leases.ts';
import type { Message, Outgoing } from './message.ts';
import { findMx } from './mx.ts';
import type { Pool } from './pool.ts';
import { groupByNextHop, type NextHop } from './router.ts';
import type { Target } from './tcp.ts';
import type { Timeouts } from './timeouts.ts';
import { MX_TLS, type TlsMode } from './tls-policy.ts';
import { planTransactions } from './transaction.ts';

export interface AttemptContext {
  readonly config: ConfigSource;
  readonly dns: Dns;
  readonly pool: Pool;
  /** In [0, 1). */
  readonly random: () => number;
  /** True: no transaction may begin any more. */
  readonly halted: () => boolean;
  readonly timeouts: Pick<Timeouts, 'attempt'>;
  readonly limits: DestinationLimits;
  /** Folder with a folder for each Secret that the config refers to. */
  readonly references: string;
}

/** Recipients without an entry were not answered for: the attempt was cut short by us. */
export type Judgements = Map<Recipient, Judgement>;

/** Connections tried for one group: hosts that time out one after another must not hold a message for an hour. */
const MAX_TRIES = 6;
/** Hosts looked at for one group, and addresses of each before the next: anybody can name a thousand in DNS. */
const MAX_HOSTS = 10;
const FIRST_ADDRESSES = 3;

/** A host with the way to reach it. */
interface Candidate {
  readonly host: string;
  readonly port: number;
  readonly mode: TlsMode;
  /** Folder of the credentials that it asks for. */
  readonly credentials?: string;
  readonly addresses: () => Promise<readonly string[]>;
}

/**
 * @throws {SpoolDamage} when the content turns out damaged; nothing was delivered then to those without a judgement
 * @throws {NoRoom} when a limit has no room; no judgement was made then
 */
export async function attempt(
  context: AttemptContext,
  { delivery: { destination, recipients }, message }: Held,
  judgements: Judgements,
  leases: Leases,
): Promise<void> {
  const outgoing = await message.outgoing();
  const endsAt = performance.now() + context.timeouts.attempt;
  const leftMs = (): number => Math.max(0, endsAt - performance.now());
  const { delivery } = context.config.current().settings;
  for (const { hop, items } of groupByNextHop(delivery, recipients)) {
    if (context.halted()) return;
    await attemptHop(context, hop, {
      ...{ destination, message, outgoing, recipients: items, judgements, leases, leftMs },
      ...('domain' in hop && { domain: hop.domain }),
    });
  }
}

interface Way extends Pick<Candidate, 'mode' | 'credentials'> {
  readonly target: Target;
}

interface Group {
  readonly destination: string;
  /** Whose MX is asked. */
  readonly domain?: string;
  readonly leases: Leases;
  readonly message: Message;
  readonly outgoing: Outgoing;
  readonly recipients: readonly Recipient[];
  readonly judgements: Judgements;
  /** Of the time for the whole attempt. */
  readonly leftMs: () => number;
}

async function attemptHop(context: AttemptContext, hop: NextHop, group: Group): Promise<void> {
  const candidates = await candidatesOf(context, hop);
  const judgement = 'state' in candidates ? candidates : await offerInTurn(context, candidates, group);
  if (!judgement || context.halted()) return;
  for (const recipient of group.recipients) {
    if (!group.judgements.has(recipient)) group.judgements.set(recipient, judgement);
  }
}

/** Hosts in the order in which they are tried, and what it means when none of them has an address. */
type Candidates = { readonly hosts: readonly Candidate[]; readonly unreachable: () => Judgement };

async function candidatesOf(context: AttemptContext, hop: NextHop): Promise<Candidates | Judgement> {
  const { config, dns, random, references } = context;
  const { settings } = config.current();
  if ('smarthosts' in hop) {
    const hosts = hop.smarthosts.map(({ host, port, tls, credentials }) => ({
      ...{ host, port, mode: tls },
      ...(credentials !== undefined && { credentials: path.join(references, credentials) }),
      addresses: () => dns.systemAddresses(host),
    }));
    // A smarthost without an address is a fault of ours or of its network, never a reason to bounce.
    const names = (): string => hosts.map(({ host }) => host).join(', ');
    return { hosts, unreachable: () => judgeFailure(new HostFailure('dns', names(), 'no address')) };
  }
  const answer = await findMx(dns, hop.domain, settings.hostname, random);
  if ('reply' in answer) return judgeReply(answer.reply);
  const { port } = settings.delivery.direct;
  return {
    hosts: answer.hosts.map(({ host, addresses }) => ({ host, port, mode: MX_TLS, addresses })),
    unreachable: () => judgeReply(answer.unreachable),
  };
}

/** @returns undefined once a host has answered for the message, else what its recipients are told */
async function offerInTurn(
  context: AttemptContext,
  { hosts, unreachable }: Candidates,
  group: Group,
): Promise<Judgement | undefined> {
  let failure: HostFailure | undefined;
  let tries = 0;
  for await (const way of ways(hosts, context.pool)) {
    if (tries === MAX_TRIES || context.halted()) break;
    if (group.leftMs() === 0) {
      failure ??= new HostFailure('session', hosts[0]?.host ?? '', 'no time left for it');
      break;
    }
    if (!(way instanceof HostFailure)) tries += 1;
    const outcome = way instanceof HostFailure ? way : await offer(context, way, group);
    if (!outcome) return undefined;
    failure = outcome;
  }
  return failure ? judgeFailure(failure) : unreachable();
}

/** Each address of each host in order, those that were down a short while ago last; or why a host has none now. */
async function* ways(hosts: readonly Candidate[], pool: Pool): AsyncGenerator<Way | HostFailure> {
  const last: Way[] = [];
  const further: Way[] = [];
  for (const { host, port, addresses, ...how } of hosts.slice(0, MAX_HOSTS)) {
    const found = await resolve(host, addresses);
    if (found instanceof HostFailure) yield found;
    for (const [index, address] of found instanceof HostFailure ? [] : found.entries()) {
      const way = { target: { host, address, port }, ...how };
      if (pool.isDown(way.target)) last.push(way);
      else if (index < FIRST_ADDRESSES) yield way;
      else further.push(way);
    }
  }
  yield* further;
  yield* last;
}

/** Empty: it has none, and the resolver is sure. */
async function resolve(host: string, addresses: Candidate['addresses']): Promise<readonly string[] | HostFailure> {
  try {
    return await addresses();
  } catch (error) {
    if (!(error instanceof DnsFailure)) throw error;
    return error.kind === 'temporary' ? new HostFailure('dns', host, error.message) : [];
  }
}

/** @returns undefined when the host has answered, else why it could not */
async function offer(context: AttemptContext, way: Way, group: Group): Promise<HostFailure | undefined> {
  const { limits, halted } = context;
  const { destination, domain, leases, judgements } = group;
  const bound = limits.of(way.target.host, domain);
  limits.learn(destination, bound);
  const lease = bound && (await leases.enter(bound, judgements.size > 0));
  const over: Over = { ...way, ...(lease && { lease }) };
  try {
    let result = await transact(context, over, group);
    // It may have been closed while it was idle, which says nothing about the host.
    if (result.failure && result.reused && !halted()) result = await transact(context, over, group, true);
    // A connection may carry so many messages only.
    while (result.more && !halted()) result = await transact(context, over, group, true);
    return result.failure;
  } catch (error) {
    if (error instanceof HostFailure) return error;
    throw error;
  }
}

interface Over extends Way {
  readonly lease?: Lease;
}

interface Transacted {
  /** Of a connection on which nothing was answered. */
  readonly failure?: HostFailure;
  /** The connection had carried messages before. */
  readonly reused: boolean;
  /** There is more to be said than may be said over this connection. */
  readonly more: boolean;
}

/** @param fresh over a new connection */
async function transact(
  { pool, config, halted }: AttemptContext,
  { target, mode, credentials, lease }: Over,
  { message, outgoing, recipients, judgements, leftMs }: Group,
  fresh = false,
): Promise<Transacted> {
  const bound = lease?.limit;
  const { hostname } = config.current().settings;
  const { connection, reused } = await pool.take(target, mode, hostname, { fresh, bound, credentials });
  const done = { reused, more: false };
  try {
    const { envelope } = message;
    const utf8Header = envelope.smtputf8 && envelope.bodyType === '8BITMIME' && hasHighByte(await message.headers());
    const open = recipients.filter((recipient) => !judgements.has(recipient));
    const { refused, transactions } = planTransactions(
      { envelope, recipients: open, sizeBytes: outgoing.sizeBytes, utf8Header },
      connection.capabilities,
      connection.target.host,
    );
    for (const [recipient, reply] of refused) judgements.set(recipient, judgeReply(reply));
    for (const transaction of transactions) {
      if (halted()) return done;
      if (bound && pool.isUsedUp(connection, bound)) return { ...done, more: true };
      lease?.sent();
      const result = await connection.send({ ...transaction, content: outgoing.content }, leftMs());
      if (result.contentError !== undefined) throw result.contentError;
      if (result.untouched && result.failure) return { ...done, failure: result.failure };
      // Cut by us: what was not answered stays as it was, and is tried again after the restart.
      judge(transaction.items, result, judgements, halted());
    }
    return done;
  } finally {
    pool.give(connection);
  }
}

function judge(items: readonly Recipient[], result: TransactionResult, judgements: Judgements, cut: boolean): void {
  for (const recipient of items) {
    const reply = result.replies.get(recipient.address);
    if (reply) judgements.set(recipient, judgeReply(reply));
    else if (result.failure && !cut) judgements.set(recipient, judgeFailure(result.failure));
  }
}

const hasHighByte = (bytes: Buffer): boolean => bytes.some((byte) => byte > 127);
