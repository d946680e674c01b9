/**
 * A destination server for tests: speaks SMTP on a loopback port, does what its script says, and keeps every message byte
 * for byte and every line of every connection.
 *
 * ```ts
 * await using destination = await Destination.start({ react: at('rcpt', '550 5.1.1 No such user', 'bob@') });
 * ...
 * await destination.received(1);
 * ```
 */
import { EventEmitter, once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';
import { createSecureContext, TLSSocket } from 'node:tls';

/** Says nothing and keeps the connection. */
export const hang = Symbol('hang');
/** As hang, and reads nothing more: what the other side sends stays with it. */
export const stall = Symbol('stall');
/** Ends the connection without a word. */
export const drop = Symbol('drop');

/**
 * A reply (`550 5.1.1 No such user`; several lines joined by \n), or a fault; after a 421 the connection is ended.
 * `{ reply, thenDrop: true }` answers and ends the connection; `{ reply, byByte: true }` answers a byte at a time;
 * `{ endless }` repeats these bytes, a reply's or not, for as long as the other side takes them.
 */
export type Reaction =
  | string
  | typeof hang
  | typeof stall
  | typeof drop
  | { readonly reply: string; readonly thenDrop: true }
  | { readonly reply: string; readonly byByte: true }
  | { readonly endless: string; readonly everyMs?: number };

/** A moment at which the script is asked. `body`: each time bytes of a message arrive; `dot`: it is complete. */
export type Moment =
  | 'greeting'
  | 'ehlo'
  | 'starttls'
  | 'auth'
  | 'mail'
  | 'rcpt'
  | 'data'
  | 'body'
  | 'dot'
  | 'rset'
  | 'quit';

export interface Step {
  readonly at: Moment;
  /** What followed the verb; '' where nothing does. */
  readonly argument: string;
  readonly connection: ConnectionRecord;
  /** The envelope so far. */
  readonly envelope: { readonly from: string; readonly to: readonly string[] };
}

/** undefined lets the server be kind. */
export type Script = (step: Step) => Reaction | undefined | Promise<Reaction | undefined>;

/** The reaction at one moment, always; with `containing` only where the argument has that text. */
export const at =
  (moment: Moment, reaction: Reaction, containing = ''): Script =>
  (step) =>
    step.at === moment && step.argument.includes(containing) ? reaction : undefined;

/** The reaction the first `times` times, kindness after. */
export function first(times: number, script: Script): Script {
  let left = times;
  return async (step) => {
    const reaction = left > 0 ? await script(step) : undefined;
    if (reaction !== undefined) left -= 1;
    return reaction;
  };
}

export interface ReceivedMessage {
  /** Without brackets. */
  readonly from: string;
  readonly to: readonly string[];
  /** Parameters of MAIL and of each RCPT, as sent: `SIZE=12 BODY=8BITMIME`. */
  readonly mailParameters: string;
  readonly rcptParameters: readonly string[];
  /** Content byte for byte, dots unstuffed, the last CRLF included. */
  readonly data: Buffer;
  readonly tls: boolean;
  readonly connection: ConnectionRecord;
}

export interface ConnectionRecord {
  /** 1 for the first. */
  readonly number: number;
  /** Command lines as they came, without message content. */
  readonly lines: readonly string[];
  readonly tls: boolean;
  readonly closed: boolean;
}

export interface DestinationOptions {
  readonly host?: string;
  /** 0, the default, takes a free one. */
  readonly port?: number;
  /** Name in greeting and EHLO reply. */
  readonly name?: string;
  /** EHLO keywords; STARTTLS is added where there is a certificate. */
  readonly extensions?: readonly string[];
  /** PEM. With it STARTTLS is offered. */
  readonly certificate?: { readonly cert: string; readonly key: string };
  /** Drops what comes in one piece with a command, whatever it offers. */
  readonly forgetful?: boolean;
  /** Takes mail only of who says these, and offers AUTH by these mechanisms, under TLS only where there is a certificate. */
  readonly login?: { readonly username: string; readonly password: string; readonly mechanisms: string };
  readonly react?: Script;
}

const EXTENSIONS = ['PIPELINING', 'SIZE 104857600', '8BITMIME', 'SMTPUTF8', 'ENHANCEDSTATUSCODES', 'DSN'];
const END_OF_DATA = Buffer.from('\r\n.\r\n');
const DOT_LINE = Buffer.from('.\r\n');
const CRLF = Buffer.from('\r\n');

export class Destination implements AsyncDisposable {
  /** Delivered messages: those whose final dot was answered 2xx. */
  readonly messages: ReceivedMessage[] = [];
  readonly connections: ConnectionRecord[] = [];
  /** What the server does; may be changed at any time. */
  react: Script;
  readonly options: DestinationOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #changed = new EventEmitter().setMaxListeners(0);

  private constructor(options: DestinationOptions) {
    this.options = options;
    this.react = options.react ?? (() => undefined);
    this.#server = createServer({ noDelay: true }, (socket) => this.#accept(socket));
  }

  static async start(options: DestinationOptions = {}): Promise<Destination> {
    const destination = new Destination(options);
    destination.#server.listen(options.port ?? 0, options.host ?? '127.0.0.1');
    await once(destination.#server, 'listening');
    return destination;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the destination does not listen');
    return address.port;
  }

  /** Connections open now. */
  get open(): number {
    return this.connections.filter(({ closed }) => !closed).length;
  }

  /** Resolves once `condition` holds; it is asked again whenever something happened here. */
  async until(condition: () => boolean, timeoutMs = 20_000): Promise<void> {
    const signal = AbortSignal.timeout(timeoutMs);
    while (!condition()) await once(this.#changed, 'change', { signal });
  }

  /** Resolves with the messages once there are at least `count`. */
  async received(count: number, timeoutMs?: number): Promise<readonly ReceivedMessage[]> {
    await this.until(() => this.messages.length >= count, timeoutMs);
    return this.messages;
  }

  /** Stops listening and cuts every connection. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    if (!this.#server.listening) return;
    this.#server.close();
    await once(this.#server, 'close');
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    const session = new Session(this, socket, this.connections.length + 1, () => this.#changed.emit('change'));
    this.connections.push(session);
    socket.on('close', () => this.#sockets.delete(socket));
    session.begin();
  }
}

class Session implements ConnectionRecord {
  readonly number: number;
  readonly lines: string[] = [];
  tls = false;
  closed = false;
  readonly #destination: Destination;
  readonly #changed: () => void;
  #socket: Socket;
  #input: Buffer = Buffer.alloc(0);
  #busy = false;
  #hanging = false;
  /** Body is read until the dot. */
  #inData = false;
  /** Bytes of #input in which there is no end of the message. */
  #searched = 0;
  #inTransaction = false;
  #authenticated = false;
  /** What AUTH LOGIN was told so far. */
  #told: string[] | undefined;
  #from = '';
  #mailParameters = '';
  #to: string[] = [];
  #rcptParameters: string[] = [];

  constructor(destination: Destination, socket: Socket, number: number, changed: () => void) {
    this.#destination = destination;
    this.#socket = socket;
    this.number = number;
    this.#changed = changed;
    this.#watch(socket);
    socket.on('close', () => {
      this.closed = true;
      changed();
    });
  }

  begin(): void {
    void this.#turn(async () => {
      await this.#answer('greeting', '', `220 ${this.#name} ESMTP`);
    });
  }

  get #name(): string {
    return this.#destination.options.name ?? 'dest.test';
  }

  #watch(socket: Socket): void {
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk: Buffer) => {
      this.#input = Buffer.concat([this.#input, chunk]);
      this.#advance();
    });
  }

  /** One thing at a time, in order: what arrives meanwhile waits in #input. */
  async #turn(work: () => Promise<void>): Promise<void> {
    this.#busy = true;
    try {
      await work();
    } finally {
      this.#busy = false;
      this.#changed();
    }
    this.#advance();
  }

  #advance(): void {
    if (this.#busy || this.#hanging || this.closed || this.#socket.destroyed) return;
    if (this.#inData) {
      if (this.#input.length > this.#searched) void this.#turn(() => this.#body());
      return;
    }
    const end = this.#input.indexOf(CRLF);
    if (end < 0) return;
    const line = this.#input.toString('utf8', 0, end);
    this.#input = this.#destination.options.forgetful ? Buffer.alloc(0) : this.#input.subarray(end + 2);
    this.lines.push(line);
    void this.#turn(() => this.#command(line));
  }

  async #command(line: string): Promise<void> {
    if (this.#told) return this.#tell(line);
    const [, verb = '', argument = ''] = /^(\S*)\s*(.*)$/s.exec(line) ?? [];
    switch (verb.toUpperCase()) {
      case 'EHLO':
        return void (await this.#answer('ehlo', argument, this.#capabilities()));
      case 'HELO':
        return void (await this.#answer('ehlo', argument, `250 ${this.#name}`));
      case 'STARTTLS':
        return this.#startTls();
      case 'AUTH':
        return this.#auth(argument);
      case 'MAIL':
        return this.#mail(argument);
      case 'RCPT':
        return this.#rcpt(argument);
      case 'DATA':
        this.#inData = isPositive(
          await this.#answer('data', '', this.#to.length > 0 ? '354 Go ahead' : '503 5.5.1 No valid recipients'),
        );
        return;
      case 'RSET':
        this.#reset();
        return void (await this.#answer('rset', '', '250 2.0.0 Flushed'));
      case 'QUIT':
        if (isPositive(await this.#answer('quit', '', '221 2.0.0 Bye'))) this.#socket.end();
        return;
      default:
        return this.#write('500 5.5.2 What?');
    }
  }

  #capabilities(): string {
    const { extensions = EXTENSIONS, certificate, login } = this.#destination.options;
    const auth = login && (this.tls || !certificate) ? [`AUTH ${login.mechanisms}`] : [];
    const keywords = [...extensions, ...(certificate && !this.tls ? ['STARTTLS'] : []), ...auth];
    return [this.#name, ...keywords].map((text, i) => `250${i < keywords.length ? '-' : ' '}${text}`).join('\n');
  }

  async #startTls(): Promise<void> {
    const { certificate } = this.#destination.options;
    if (!certificate) return this.#write('502 5.5.1 Not offered');
    if (!isPositive(await this.#answer('starttls', '', '220 2.0.0 Ready'))) return;
    this.#socket.removeAllListeners('data');
    const secured = new TLSSocket(this.#socket, { isServer: true, secureContext: createSecureContext(certificate) });
    this.#input = Buffer.alloc(0);
    this.#socket = secured;
    secured.on('secure', () => {
      this.tls = true;
    });
    this.#watch(secured);
  }

  /** RFC 4954, RFC 4616; LOGIN asks for one after the other. */
  async #auth(argument: string): Promise<void> {
    const [, mechanism = '', response = ''] = /^(\S+)\s*(.*)$/.exec(argument) ?? [];
    if (mechanism === 'LOGIN') {
      this.#told = [];
      return this.#write('334 VXNlcm5hbWU6');
    }
    const [, username, password] = Buffer.from(response, 'base64').toString('utf8').split('\0');
    return this.#judge(username, password);
  }

  async #tell(line: string): Promise<void> {
    const [username, password] = [...(this.#told ?? []), Buffer.from(line, 'base64').toString('utf8')];
    this.#told = password === undefined && username !== undefined ? [username] : undefined;
    if (this.#told) return this.#write('334 UGFzc3dvcmQ6');
    return this.#judge(username, password);
  }

  async #judge(username: string | undefined, password: string | undefined): Promise<void> {
    const { login } = this.#destination.options;
    const isRight = login?.username === username && login?.password === password;
    const said = isRight ? '235 2.7.0 Welcome' : '535 5.7.8 Credentials invalid';
    this.#authenticated = isPositive(await this.#answer('auth', username ?? '', said));
  }

  async #mail(argument: string): Promise<void> {
    if (this.#destination.options.login && !this.#authenticated)
      return this.#write('530 5.7.0 Authentication required');
    if (this.#inTransaction) return this.#write('503 5.5.1 Nested MAIL');
    const [, from = '', parameters = ''] = /^FROM:<([^>]*)>\s*(.*)$/i.exec(argument) ?? [];
    if (!isPositive(await this.#answer('mail', argument, '250 2.1.0 OK'))) return;
    this.#inTransaction = true;
    this.#from = from;
    this.#mailParameters = parameters;
  }

  async #rcpt(argument: string): Promise<void> {
    if (!this.#inTransaction) return this.#write('503 5.5.1 MAIL first');
    const [, to = '', parameters = ''] = /^TO:<([^>]*)>\s*(.*)$/i.exec(argument) ?? [];
    if (!isPositive(await this.#answer('rcpt', argument, '250 2.1.5 OK'))) return;
    this.#to.push(to);
    this.#rcptParameters.push(parameters);
  }

  async #body(): Promise<void> {
    const reaction = await this.#destination.react(this.#step('body', ''));
    if (reaction !== undefined) return this.#do(reaction);
    const dot = this.#dotThatEnds();
    if (dot === undefined) {
      this.#searched = this.#input.length;
      return;
    }
    this.#inData = false;
    this.#searched = 0;
    const message: ReceivedMessage = {
      from: this.#from,
      to: this.#to,
      mailParameters: this.#mailParameters,
      rcptParameters: this.#rcptParameters,
      data: unstuffed(this.#input.subarray(0, dot)),
      tls: this.tls,
      connection: this,
    };
    this.#input = this.#input.subarray(dot + DOT_LINE.length);
    if (isPositive(await this.#answer('dot', '', '250 2.0.0 Taken'))) this.#destination.messages.push(message);
    this.#reset();
  }

  /** Where the dot of the end stands: on a line of its own. */
  #dotThatEnds(): number | undefined {
    // The CRLF that ends the DATA command begins the end of an empty message (RFC 5321 4.1.1.4).
    if (this.#input.subarray(0, DOT_LINE.length).equals(DOT_LINE)) return 0;
    const end = this.#input.indexOf(END_OF_DATA, Math.max(0, this.#searched - END_OF_DATA.length));
    return end < 0 ? undefined : end + CRLF.length;
  }

  #reset(): void {
    this.#inTransaction = false;
    this.#from = '';
    this.#mailParameters = '';
    this.#to = [];
    this.#rcptParameters = [];
  }

  #step(moment: Moment, argument: string): Step {
    return { at: moment, argument, connection: this, envelope: { from: this.#from, to: this.#to } };
  }

  async #answer(moment: Moment, argument: string, kind: string): Promise<Reaction> {
    const reaction = (await this.#destination.react(this.#step(moment, argument))) ?? kind;
    await this.#do(reaction);
    return reaction;
  }

  async #do(reaction: Reaction): Promise<void> {
    if (reaction === hang || reaction === stall) {
      this.#hanging = true;
      if (reaction === stall) this.#socket.pause();
    } else if (reaction === drop) this.#socket.destroy();
    else if (typeof reaction === 'string') {
      this.#write(reaction);
      if (reaction.startsWith('421')) this.#socket.end();
    } else if ('endless' in reaction) {
      this.#hanging = true;
      await this.#goOn(reaction.endless, reaction.everyMs);
    } else if ('byByte' in reaction) {
      for (const character of `${reaction.reply.replaceAll('\n', '\r\n')}\r\n`) {
        if (this.#socket.destroyed) return;
        this.#socket.write(character);
        await nextTurn();
      }
    } else {
      this.#write(reaction.reply);
      this.#socket.end();
    }
  }

  async #goOn(text: string, everyMs = 0): Promise<void> {
    while (!this.#socket.destroyed) {
      if (!this.#socket.write(text)) {
        // An error is the end too, and is followed by close.
        await Promise.race([once(this.#socket, 'drain'), once(this.#socket, 'close')]).catch(() => undefined);
      }
      await pause(everyMs, undefined, { ref: everyMs === 0 });
    }
  }

  #write(reply: string): void {
    if (!this.#socket.destroyed) this.#socket.write(`${reply.replaceAll('\n', '\r\n')}\r\n`);
  }
}

const isPositive = (reaction: Reaction): boolean =>
  /^[23]/.test(
    typeof reaction === 'string' ? reaction : typeof reaction === 'object' && 'reply' in reaction ? reaction.reply : '',
  );

/** RFC 5321 4.5.2. */
function unstuffed(data: Buffer): Buffer {
  const parts: Buffer[] = [];
  let from = data[0] === 0x2e ? 1 : 0;
  for (let dot = data.indexOf('\r\n.'); dot >= 0; dot = data.indexOf('\r\n.', dot + 2)) {
    parts.push(data.subarray(from, dot + 2));
    from = dot + 3;
  }
  return Buffer.concat([...parts, data.subarray(from)]);
}
