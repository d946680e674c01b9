/**
 * A name server for tests: answers over UDP and TCP on one loopback port from records in memory, and can fail as name
 * servers do.
 *
 * ```ts
 * await using dns = await MockDns.start();
 * dns.add({ type: 'MX', name: 'dest.test', data: { preference: 10, exchange: 'mx.dest.test' } });
 * dns.add({ type: 'A', name: 'mx.dest.test', data: '127.0.0.1' });
 * ```
 */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import {
  type Answer,
  AUTHORITATIVE_ANSWER,
  decode,
  encode,
  type Packet,
  type Question,
  RECURSION_AVAILABLE,
  RECURSION_DESIRED,
  streamEncode,
  TRUNCATED_RESPONSE,
} from 'dns-packet';

const SERVFAIL = 2;
const NXDOMAIN = 3;
/** What fits a UDP answer without EDNS (RFC 1035 4.2.1). */
const UDP_BYTES = 512;

/** A function answers the query (its bytes, and as it reads) with bytes as they are, or not at all. */
export type DnsFault =
  | 'servfail'
  | 'silent'
  | ((bytes: Buffer, query: Packet, over: 'udp' | 'tcp') => Buffer | undefined);

export class MockDns implements AsyncDisposable {
  /** Every question asked, `TYPE NAME`. */
  readonly questions: string[] = [];
  /** By owner name, in lower case. */
  readonly #records = new Map<string, Answer[]>();
  readonly #faults = new Map<string, DnsFault>();
  readonly #udp: UdpSocket;
  readonly #tcp: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(udp: UdpSocket, tcp: Server) {
    this.#udp = udp;
    this.#tcp = tcp;
    udp.on('message', (bytes, from) => {
      const answer = this.#answer(bytes, 'udp');
      if (!answer) return;
      if (Buffer.isBuffer(answer)) return udp.send(answer, from.port, from.address);
      const whole = encode(answer);
      udp.send(whole.length > UDP_BYTES ? encode(truncated(answer)) : whole, from.port, from.address);
    });
    tcp.on('connection', (socket) => this.#serve(socket));
  }

  /** On a port that is free for both UDP and TCP. */
  static async start(): Promise<MockDns> {
    for (;;) {
      const tcp = createServer().listen(0, '127.0.0.1');
      await once(tcp, 'listening');
      const udp = createSocket('udp4');
      try {
        udp.bind(portOf(tcp), '127.0.0.1');
        await once(udp, 'listening');
        return new MockDns(udp, tcp);
      } catch {
        udp.close();
        tcp.close();
      }
    }
  }

  /** HOST:PORT, as `delivery.direct.resolvers` takes it. */
  get address(): string {
    return `127.0.0.1:${portOf(this.#tcp)}`;
  }

  add(...records: readonly Answer[]): this {
    for (const record of records) {
      const own = this.#records.get(record.name.toLowerCase());
      if (own) own.push(record);
      else this.#records.set(record.name.toLowerCase(), [record]);
    }
    return this;
  }

  /** Takes all records of a name away; it does not exist then. */
  remove(name: string): this {
    this.#records.delete(name.toLowerCase());
    return this;
  }

  /** RFC 7505. */
  addNullMx(name: string): this {
    return this.add({ type: 'MX', name, data: { preference: 0, exchange: '.' } });
  }

  /** Questions for a name fail from now on: with SERVFAIL, without any answer, or with these bytes. undefined ends it. */
  fail(name: string, fault: DnsFault | undefined): this {
    if (fault) this.#faults.set(name.toLowerCase(), fault);
    else this.#faults.delete(name.toLowerCase());
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#udp.close();
    this.#tcp.close();
    await once(this.#tcp, 'close');
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    let input: Buffer = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      input = Buffer.concat([input, chunk]);
      // RFC 1035 4.2.2: two bytes of length come first.
      while (input.length >= 2 && input.length >= 2 + input.readUInt16BE(0)) {
        const end = 2 + input.readUInt16BE(0);
        const answer = this.#answer(input.subarray(2, end), 'tcp');
        input = input.subarray(end);
        if (answer) socket.write(Buffer.isBuffer(answer) ? framed(answer) : streamEncode(answer));
      }
    });
  }

  /** undefined: no answer at all. */
  #answer(bytes: Buffer, over: 'udp' | 'tcp'): Packet | Buffer | undefined {
    const query = decode(bytes);
    const question = query.questions?.[0];
    if (!question) return undefined;
    this.questions.push(`${question.type} ${question.name}`);
    const fault = this.#faults.get(question.name.toLowerCase());
    if (fault === 'silent') return undefined;
    if (typeof fault === 'function') return fault(bytes, query, over);
    const answers = fault ? [] : this.#lookUp(question);
    const exists = this.#records.has(question.name.toLowerCase());
    const rcode = fault ? SERVFAIL : exists ? 0 : NXDOMAIN;
    return {
      type: 'response',
      id: query.id ?? 0,
      flags: AUTHORITATIVE_ANSWER | RECURSION_AVAILABLE | ((query.flags ?? 0) & RECURSION_DESIRED) | rcode,
      questions: [question],
      answers,
    };
  }

  /** Records of the name and type, aliases followed as a resolver does. */
  #lookUp({ name, type }: Question): readonly Answer[] {
    const found: Answer[] = [];
    let current = name;
    for (let hops = 0; hops < 8; hops += 1) {
      const own = this.#records.get(current.toLowerCase()) ?? [];
      found.push(...own.filter((record) => record.type === type));
      const alias = own.find((record) => record.type === 'CNAME');
      if (alias?.type !== 'CNAME' || type === 'CNAME') break;
      found.push(alias);
      current = alias.data;
    }
    return found;
  }
}

/** RFC 1035 4.2.2. */
function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}

const truncated = (packet: Packet): Packet => ({
  ...packet,
  flags: (packet.flags ?? 0) | TRUNCATED_RESPONSE,
  answers: [],
});

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the name server does not listen');
  return address.port;
}
