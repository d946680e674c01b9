/**
 * A thousand domains that take mail at once, and one or a thousand that may not: each with an MX of its own in a name server of the
 * benchmark. The good ones lead to one server, the bad one to another address, at the same port.
 */
import { EventEmitter, once } from 'node:events';
import { SELF_SIGNED } from '../../harness/certificate.ts';
import { Destination, type Script } from '../../harness/destination.ts';
import { MockDns } from '../../harness/dns.ts';

export const GOOD_DOMAINS: readonly string[] = Array.from({ length: 1_000 }, (_, index) => `d${index}.bench.test`);
export const BAD_DOMAIN = 'bad.bench.test';
/** As bad as the bad one. */
export const MANY_BAD_DOMAINS: readonly string[] = Array.from({ length: 1_000 }, (_, index) => `b${index}.bench.test`);
/** Good too, and not one of the thousand. */
export const QUIET_DOMAIN = 'quiet.bench.test';
const GOOD_ADDRESS = '127.0.0.1';
const BAD_ADDRESS = '127.0.0.2';

/** What the bad domain does: nothing but refuse connections, or what the script says. */
export type Behaviour = 'refuses' | Script;

export class Neighbourhood implements AsyncDisposable {
  readonly #dns: MockDns;
  readonly #servers: readonly Destination[];
  /** When mail arrived, by its recipient (performance.now). */
  readonly #arrivals = new Map<string, number>();
  readonly #arrived = new EventEmitter().setMaxListeners(0);

  private constructor(dns: MockDns, servers: readonly Destination[]) {
    this.#dns = dns;
    this.#servers = servers;
  }

  static async start(bad: Behaviour): Promise<Neighbourhood> {
    const dns = await MockDns.start();
    const lead = (domain: string, data: string) =>
      dns.add(
        { type: 'MX', name: domain, data: { preference: 10, exchange: `mx.${domain}` } },
        { type: 'A', name: `mx.${domain}`, data },
      );
    for (const domain of [...GOOD_DOMAINS, QUIET_DOMAIN]) lead(domain, GOOD_ADDRESS);
    for (const domain of [...MANY_BAD_DOMAINS, BAD_DOMAIN]) lead(domain, BAD_ADDRESS);
    const servers = [await Destination.start({ host: GOOD_ADDRESS })];
    const neighbourhood = new Neighbourhood(dns, servers);
    if (bad !== 'refuses') {
      const { port } = neighbourhood;
      servers.push(await Destination.start({ host: BAD_ADDRESS, port, certificate: SELF_SIGNED, react: bad }));
    }
    for (const server of servers) neighbourhood.#watch(server);
    return neighbourhood;
  }

  get port(): number {
    return this.#servers[0]?.port ?? 0;
  }

  /** What to put in force in the relay, so that it delivers here. */
  get delivery() {
    return { routes: [], direct: { resolvers: [this.#dns.address], port: this.port } };
  }

  arrivalOf(recipient: string): number | undefined {
    return this.#arrivals.get(recipient);
  }

  /** @returns undefined when it has not arrived within the time */
  async arrival(recipient: string, withinMs: number): Promise<number | undefined> {
    const signal = AbortSignal.timeout(withinMs);
    while (!this.#arrivals.has(recipient) && !signal.aborted) {
      await once(this.#arrived, recipient, { signal }).catch(() => undefined);
    }
    return this.#arrivals.get(recipient);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of [...this.#servers, this.#dns]) await server[Symbol.asyncDispose]();
  }

  #watch(server: Destination): void {
    const { react } = server;
    server.react = async (step) => {
      const reaction = await react(step);
      if (step.at !== 'dot' || reaction !== undefined) return reaction;
      const [recipient = ''] = step.envelope.to;
      this.#arrivals.set(recipient, performance.now());
      this.#arrived.emit(recipient);
      return undefined;
    };
  }
}
