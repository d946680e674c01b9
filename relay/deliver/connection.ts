/**
 * One SMTP connection to a host, and messages sent over it. What the commands of a transaction are answered stands per
 * recipient, whatever happened after them; and a message whose content could not be read to its end never gets its final
 * dot. Our own, since each write to a socket costs as much as all else that is done for a small message: commands leave
 * in one (RFC 2920), content and its final dot in another.
 */
import type { Reply } from '../spool/envelope.ts';
import { type Capabilities, capabilitiesOf } from './capabilities.ts';
import { type FailureStage, HostFailure } from './classify.ts';
import { parseReply } from './reply.ts';
import { openSocket, type Target } from './tcp.ts';
import type { TlsPlan } from './tls-policy.ts';
import { Wire } from './wire.ts';

/** Milliseconds. RFC 5321 4.5.3.2 asks for 5 minutes for most replies; it says why not less for the final dot. */
export interface Timeouts {
  readonly connect: number;
  /** From the connection to the end of EHLO, STARTTLS included. */
  readonly greeting: number;
  /** Without progress, before the content is sent and while it is. */
  readonly command: number;
  /** RFC 5321 4.5.3.2.6: giving up while the server works on the message makes it arrive twice (RFC 1047). */
  readonly finalDot: number;
  /** A transaction as a whole: a server that goes on and on, a byte at a time, ends here. */
  readonly transaction: number;
}

export const TIMEOUTS: Timeouts = {
  connect: 30_000,
  greeting: 60_000,
  command: 5 * 60_000,
  finalDot: 10 * 60_000,
  transaction: 2 * 3_600_000,
};

export interface ConnectOptions {
  /** What we say in EHLO. */
  readonly hostname: string;
  readonly tls: TlsPlan;
  readonly timeouts: Timeouts;
  /** Aborted: no connection is opened any more. */
  readonly signal: AbortSignal;
}

/** What one transaction sends. */
export interface Transaction {
  readonly mailFrom: string;
  /** Parameters of MAIL, such as `SIZE=12`. */
  readonly mailParameters: readonly string[];
  readonly recipients: readonly { readonly address: string; readonly parameters: readonly string[] }[];
  /** With CRLF line ends, dots not stuffed. */
  readonly content: Buffer | (() => AsyncIterable<Buffer>);
}

/** How a transaction ended. */
export interface TransactionResult {
  /** What was said about each recipient, by address; what is missing here was never answered. */
  readonly replies: ReadonlyMap<string, Reply>;
  /** Why some are missing. */
  readonly failure?: HostFailure;
  /** The failure came before anything was answered: over another connection the same may be tried at once. */
  readonly untouched: boolean;
  /** What reading the content threw; nothing was delivered then. */
  readonly contentError?: unknown;
}

const QUIT_MS = 2_000;
const CRLF = '\r\n';

/** @throws {HostFailure} */
export async function connect(target: Target, options: ConnectOptions): Promise<Connection> {
  const { hostname, tls, timeouts, signal } = options;
  const wire = new Wire(await openSocket(target, { timeoutMs: timeouts.connect, signal }));
  const deadline = setTimeout(() => wire.destroy('no session in time'), timeouts.greeting);
  const onAbort = (): void => wire.destroy('delivery is stopping');
  signal.addEventListener('abort', onAbort);
  let stage: FailureStage = 'greeting';
  try {
    await expect(wire, target, '220');
    let capabilities = await hello(wire, target, hostname);
    const secure = tls.starttls === 'always' || (tls.starttls === 'if offered' && capabilities.starttls);
    if (secure) {
      stage = 'tls';
      wire.write(`STARTTLS${CRLF}`);
      await expect(wire, target, '220');
      await wire.startTls(target.host.startsWith('[') ? target.address : target.host, tls.verify);
      stage = 'greeting';
      // RFC 3207 4.2: what was offered in clear counts no more.
      capabilities = await hello(wire, target, hostname);
    }
    return new Connection(wire, target, { capabilities, secure, timeouts });
  } catch (error) {
    wire.destroy('closed by us');
    const reply = error instanceof Refusal ? error.reply : undefined;
    throw new HostFailure(stage, target.host, error instanceof Error ? error.message : String(error), reply);
  } finally {
    clearTimeout(deadline);
    signal.removeEventListener('abort', onAbort);
  }
}

/** RFC 5321 3.2: HELO for a server that does not know EHLO. */
async function hello(wire: Wire, target: Target, hostname: string): Promise<Capabilities> {
  wire.write(`EHLO ${hostname}${CRLF}`);
  const reply = await wire.reply();
  if (reply.startsWith('250')) return capabilitiesOf(reply);
  if (reply.startsWith('421')) throw new Refusal(reply, target.host);
  wire.write(`HELO ${hostname}${CRLF}`);
  return capabilitiesOf(await expect(wire, target, '250'));
}

async function expect(wire: Wire, { host }: Target, code: string): Promise<string> {
  const reply = await wire.reply();
  if (reply.startsWith(code)) return reply;
  throw new Refusal(reply, host);
}

/** What ends a session though it was answered: 421, or no to a command that it cannot go on without. */
class Refusal extends Error {
  readonly reply: Reply;

  constructor(text: string, host: string) {
    super(text.replaceAll('\n', ' '));
    this.reply = parseReply(text, host);
  }
}

/** Reading the content threw: its cause. */
class ContentError extends Error {}

export class Connection {
  readonly capabilities: Capabilities;
  readonly secure: boolean;
  readonly target: Target;
  /** Transactions begun. */
  transactions = 0;
  readonly #wire: Wire;
  readonly #timeouts: Timeouts;
  #quitting = false;

  constructor(
    wire: Wire,
    target: Target,
    session: { readonly capabilities: Capabilities; readonly secure: boolean; readonly timeouts: Timeouts },
  ) {
    this.#wire = wire;
    this.#timeouts = session.timeouts;
    this.target = target;
    this.secure = session.secure;
    this.capabilities = session.capabilities;
    wire.setTimeout(session.timeouts.command);
    wire.idle = true;
  }

  /** False once it is closed, or closing: no transaction may begin. */
  get usable(): boolean {
    return !this.#quitting && this.#wire.ended === undefined;
  }

  /** One at a time. Never rejects. */
  async send(transaction: Transaction): Promise<TransactionResult> {
    const wire = this.#wire;
    const replies = new Map<string, Reply>();
    const progress = { touched: false };
    this.transactions += 1;
    wire.idle = false;
    const deadline = setTimeout(() => wire.destroy('no end in time'), this.#timeouts.transaction);
    try {
      await this.#transact(transaction, replies, progress);
      wire.idle = true;
      if (wire.hasMore) wire.destroy('it said more than it was asked');
      return { replies, untouched: false };
    } catch (error) {
      wire.destroy('closed by us');
      if (error instanceof ContentError) return { replies: new Map(), untouched: false, contentError: error.cause };
      const untouched = !progress.touched;
      if (transaction.recipients.every(({ address }) => replies.has(address))) return { replies, untouched };
      const reply = error instanceof Refusal ? error.reply : undefined;
      const reason = error instanceof Error ? error.message : String(error);
      return { replies, failure: new HostFailure('session', this.target.host, reason, reply), untouched };
    } finally {
      clearTimeout(deadline);
    }
  }

  /** Says QUIT and closes, within a bounded time. */
  quit(): void {
    if (!this.usable) return;
    this.#quitting = true;
    this.#wire.quit(QUIT_MS);
  }

  /** Closes at once. A transaction under way ends without an answer. */
  destroy(): void {
    this.#wire.destroy('closed by us');
  }

  /** Notes replies as they come, so that those before a failure stand. */
  async #transact(
    { mailFrom, mailParameters, recipients, content }: Transaction,
    replies: Map<string, Reply>,
    progress: { touched: boolean },
  ): Promise<void> {
    const { pipelining } = this.capabilities;
    const mail = withParameters(`MAIL FROM:<${mailFrom}>`, mailParameters);
    const rcpt = recipients.map(({ address, parameters }) => withParameters(`RCPT TO:<${address}>`, parameters));
    if (pipelining) this.#wire.write(`${[mail, ...rcpt, 'DATA'].join(CRLF)}${CRLF}`);
    const ask = (command: string): Promise<string> => {
      if (!pipelining) this.#wire.write(command + CRLF);
      return this.#reply();
    };

    // 421 to MAIL is about the connection (idle for too long, enough messages), not about the message.
    const sender = await ask(mail);
    progress.touched = true;
    if (!isPositive(sender)) {
      this.#note(replies, recipients, sender);
      // What was pipelined behind it is answered all the same. Those answers (503) mean nothing.
      if (pipelining) await this.#skip(recipients.length);
      return;
    }
    for (const [index, recipient] of recipients.entries()) {
      const reply = await ask(rcpt[index] ?? '');
      if (!isPositive(reply)) this.#note(replies, [recipient], reply);
    }
    const open = recipients.filter(({ address }) => !replies.has(address));
    if (open.length === 0) {
      if (pipelining) await this.#skip(0);
      return this.#reset();
    }
    const data = await ask('DATA');
    if (!data.startsWith('354')) {
      // 2xx would pass for a delivery of which nothing was sent.
      this.#note(replies, open, isPositive(data) ? `451 4.5.0 DATA was answered ${data}` : data);
      return this.#reset();
    }
    await this.#write(content);
    this.#note(replies, open, await this.#reply());
    this.#wire.setTimeout(this.#timeouts.command);
  }

  async #reply(): Promise<string> {
    const reply = await this.#wire.reply();
    if (reply.startsWith('421')) throw new Refusal(reply, this.target.host);
    return reply;
  }

  /** Reads the answers to so many recipients and to DATA, none of whom takes the message. */
  async #skip(recipients: number): Promise<void> {
    for (let i = 0; i < recipients; i += 1) await this.#reply();
    // RFC 2920 3.1: a server that wants content now is given none.
    if (!(await this.#reply()).startsWith('354')) return;
    this.#wire.write(`.${CRLF}`);
    await this.#reply();
  }

  /**
   * Refused between MAIL and the dot, the transaction stays open on the server, and a second MAIL would be an error
   * (RFC 5321 4.1.4).
   */
  async #reset(): Promise<void> {
    this.#wire.write(`RSET${CRLF}`);
    if (!isPositive(await this.#reply())) this.destroy();
  }

  async #write(content: Transaction['content']): Promise<void> {
    if (Buffer.isBuffer(content)) this.#wire.writeContent(content);
    else {
      try {
        await this.#wire.streamContent(content());
      } catch (cause) {
        throw new ContentError('the content cannot be read', { cause });
      }
    }
    this.#wire.setTimeout(this.#timeouts.finalDot);
  }

  #note(replies: Map<string, Reply>, recipients: Transaction['recipients'], text: string): void {
    const reply = parseReply(text, this.target.host);
    for (const { address } of recipients) replies.set(address, reply);
  }
}

const isPositive = (reply: string): boolean => reply.startsWith('2');

const withParameters = (command: string, parameters: readonly string[]): string =>
  parameters.length > 0 ? `${command} ${parameters.join(' ')}` : command;
