/**
 * The source's side of a hand-over: while this replica drains, it moves what waits here to replicas that stay, and what
 * was marked it brings to its end, whether it drains or not. What an attempt is being made for stays until that is over;
 * what waits in memory for a destination is left to it as long as there is anything else to move.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConfigSource } from '../config/config.ts';
import type { Deliverer } from '../deliver/deliverer.ts';
import type { Observer } from '../observe/events.ts';
import type { Marked, Movable } from '../spool/move.ts';
import type { Spool } from '../spool/spool.ts';
import { Peers } from './client.ts';
import { encode } from './protocol.ts';
import type { OnStep } from './steps.ts';
import { PeerUnreachable, type Transport } from './transport.ts';

export interface SourceOptions {
  readonly ordinal: number;
  readonly config: ConfigSource;
  readonly spool: Pick<Spool, 'spoolId' | 'moves' | 'stats'>;
  readonly deliverer: Pick<Deliverer, 'reserve' | 'gone' | 'letGo'>;
  readonly observer: Observer;
  readonly transport: Transport;
  readonly onStep: OnStep;
}

/** Messages of one batch for one peer: few fsyncs a message, and little memory. */
const BATCH = 64;
const PAGE = 512;
/** While there is something to move and nothing could be. */
const LOOK_AGAIN_MS = 500;
/** While all that is left is to tell a peer what it need not remember. */
const TELL_AGAIN_MS = 5_000;
const FOREVER_MS = 2 ** 31 - 1;

interface Peer {
  readonly ordinal: number;
  readonly spool: string;
  readonly takes: boolean;
}

export class Source {
  readonly #options: SourceOptions;
  readonly #end = new AbortController();
  readonly #peers: Peers;
  readonly #unsubscribe: () => void;
  /** By spool: what the peer was told last. */
  readonly #told = new Map<string, number>();
  /** Some peer may not know yet what is finished. */
  #untold = true;
  #answering: ReadonlySet<string> = new Set();
  #wake = new AbortController();
  #running: Promise<void> | undefined;
  #problem: string | undefined;
  #complaint: string | undefined;
  /** Where the next look at the queue begins. */
  #afterId = 0;
  #take = false;

  constructor(options: SourceOptions) {
    this.#options = options;
    this.#peers = new Peers(options.transport, this.#end.signal);
    this.#unsubscribe = options.config.onChange(() => this.#wake.abort());
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Why something that is to be moved is not; undefined when all goes well, or nothing is to be moved. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Breaks off what is under way, at whatever step; the next start goes on from there. */
  async stop(): Promise<void> {
    this.#end.abort();
    this.#wake.abort();
    this.#unsubscribe();
    await this.#running;
    this.#peers.close();
  }

  /** Ids of spools of other replicas that answered when they were last asked. */
  get answering(): ReadonlySet<string> {
    return this.#answering;
  }

  get #draining(): boolean {
    return this.#options.ordinal >= this.#options.config.current().replicas;
  }

  async #run(): Promise<void> {
    while (!this.#end.signal.aborted) {
      this.#wake = new AbortController();
      let waitMs = LOOK_AGAIN_MS;
      try {
        waitMs = await this.#round();
      } catch (error) {
        if (this.#end.signal.aborted) return;
        this.#problem = error instanceof Error ? error.message : String(error);
      }
      this.#tell();
      this.#take = waitMs > 0;
      if (waitMs === 0) continue;
      await sleep(waitMs, undefined, { signal: this.#wake.signal, ref: false }).catch(() => undefined);
    }
  }

  /** Once for each problem, not at each look. */
  #tell(): void {
    if (this.#problem === this.#complaint) return;
    this.#complaint = this.#problem;
    const { observer } = this.#options;
    if (this.#problem === undefined) observer.log('info', 'hand-over goes on');
    else observer.log('warn', 'hand-over is held up; trying again', { problem: this.#problem });
  }

  /** Returns when to look again (ms): at once where something was moved. */
  async #round(): Promise<number> {
    const { spool } = this.#options;
    const { moving = 0, messages } = await spool.stats();
    const draining = this.#draining;
    const wanted = moving > 0 || (draining && messages > 0);
    this.#untold &&= (await spool.moves.finishedUpTo('')) > 0;
    if (!wanted && !this.#untold) {
      this.#problem = undefined;
      return draining ? LOOK_AGAIN_MS : FOREVER_MS;
    }
    const problems: string[] = [];
    const peers = await this.#ask(problems);
    this.#answering = new Set(peers.map(({ spool }) => spool));
    let moved = moving > 0 ? await this.#resume(peers, problems) : 0;
    const takers = peers.filter(({ takes }) => takes);
    if (draining && takers.length > 0) moved += await this.#moveOn(takers, problems);
    this.#untold = problems.length > 0 || moved > 0;
    for (const peer of peers) this.#untold = !(await this.#forget(peer)) || this.#untold;
    if (!this.#untold) this.#options.observer.log('info', 'hand-over is over', { peers: peers.length });
    this.#problem = wanted ? problems[0] : undefined;
    if (moved > 0) return 0;
    return wanted || draining ? LOOK_AGAIN_MS : TELL_AGAIN_MS;
  }

  /** Those that answer. Mail only ever moves to lower ordinals, so no message comes back to where it was. */
  async #ask(problems: string[]): Promise<readonly Peer[]> {
    const ordinals = Array.from({ length: this.#options.ordinal }, (_, ordinal) => ordinal);
    const asked = await Promise.all(
      ordinals.map(async (ordinal) => {
        try {
          const { spool, takes } = await this.#peers.ask(ordinal);
          return [{ ordinal, spool, takes }];
        } catch (error) {
          if (!(error instanceof PeerUnreachable)) throw error;
          problems.push(error.message);
          return [];
        }
      }),
    );
    return asked.flat();
  }

  /** Brings marked messages to their end: each with the peer of its mark and no other. */
  async #resume(peers: readonly Peer[], problems: string[]): Promise<number> {
    const { moves } = this.#options.spool;
    let moved = 0;
    let after = 0;
    for (;;) {
      const marked = await moves.marked(after, BATCH);
      const last = marked.at(-1);
      if (!last) return moved;
      after = last.sequence;
      for (const [spool, group] of Map.groupBy(marked, ({ peer }) => peer)) {
        const peer = peers.find((one) => one.spool === spool);
        if (peer) moved += await this.#handOver(peer, group, problems);
        else
          problems.unshift(
            `${group.length} messages are held: they move to spool ${spool}, which does not answer: where it is lost, see "chasqui queue recall"`,
          );
      }
    }
  }

  async #moveOn(takers: readonly Peer[], problems: string[]): Promise<number> {
    const { spool, deliverer } = this.#options;
    const page = await spool.moves.movable(this.#afterId, PAGE);
    this.#afterId = page.length < PAGE ? 0 : (page.at(-1)?.id ?? 0);
    const free: Movable[] = [];
    for (const message of page) {
      if (free.length < BATCH * takers.length && deliverer.reserve(message, this.#take)) free.push(message);
    }
    const shares = takers.map((peer, index) => ({
      peer,
      messages: free.filter((_, at) => at % takers.length === index),
    }));
    const counts = await Promise.all(
      shares.map(async ({ peer, messages }) => {
        const marked = messages.length > 0 ? await this.#mark(messages, peer.spool) : [];
        return marked.length > 0 ? this.#handOver(peer, marked, problems) : 0;
      }),
    );
    return counts.reduce((sum, count) => sum + count, 0);
  }

  async #mark(messages: readonly Movable[], peer: string): Promise<readonly Marked[]> {
    const { spool, deliverer, onStep } = this.#options;
    try {
      const marked = await spool.moves.mark(messages, peer);
      onStep('marked');
      const kept = new Set(marked.flatMap(({ deliveries }) => deliveries));
      deliverer.letGo(messages.flatMap(({ deliveries }) => deliveries).filter((id) => !kept.has(id)));
      return marked;
    } catch (error) {
      // Nothing of it is marked, or it will be found so at the next start; until then it is delivered here.
      deliverer.letGo(messages.flatMap(({ deliveries }) => deliveries));
      throw error;
    }
  }

  /** @returns the number of messages that are gone from here */
  async #handOver(peer: Peer, marked: readonly Marked[], problems: string[]): Promise<number> {
    const { spool, deliverer, observer, onStep } = this.#options;
    const offered = await Promise.all(marked.map((one) => this.#offer(peer, one, problems)));
    const done = offered.filter((one) => one !== undefined);
    if (done.length === 0) return 0;
    await spool.moves.finish(done.map(({ sequence }) => sequence));
    onStep('finished');
    for (const { deliveries, queueId } of done) {
      deliverer.gone(deliveries);
      observer.message({ event: 'moved', queueId, peer: peer.ordinal, spool: peer.spool });
    }
    return done.length;
  }

  /** undefined: the peer may not have the message. */
  async #offer(
    { ordinal, spool: peer }: Peer,
    { sequence, deliveries }: Marked,
    problems: string[],
  ): Promise<{ sequence: number; deliveries: readonly number[]; queueId: string } | undefined> {
    const { spool, onStep } = this.#options;
    try {
      const found = await spool.moves.read(sequence);
      if (!found) return undefined;
      const { queueId } = found.moving;
      const message = encode(found.moving, found.content);
      const adopted = await this.#peers.offer(ordinal, peer, message, () => onStep('sent'));
      onStep('answered');
      if (adopted === 'refused') {
        problems.unshift(
          `message ${queueId} is held: spool ${peer} was told already that its move is over, or took another message for it`,
        );
        return undefined;
      }
      return { sequence, deliveries, queueId };
    } catch (error) {
      if (this.#end.signal.aborted) throw error;
      // Whatever is wrong with one message: the others move on.
      problems.push(error instanceof Error ? error.message : String(error));
      return undefined;
    }
  }

  /** Whether the peer knows. */
  async #forget({ ordinal, spool: peer }: Peer): Promise<boolean> {
    const { spool, onStep } = this.#options;
    const upTo = await spool.moves.finishedUpTo(peer);
    if (upTo === 0 || this.#told.get(peer) === upTo) return true;
    try {
      await this.#peers.forget(ordinal, peer, spool.spoolId, upTo);
    } catch (error) {
      if (error instanceof PeerUnreachable) return false;
      throw error;
    }
    this.#told.set(peer, upTo);
    onStep('told');
    return true;
  }
}
