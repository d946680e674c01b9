/**
 * One SMTP connection to a host, and messages sent over it. What the commands of a transaction are answered stands per
 * recipient, whatever happened after them; and a message whose content could not be read to its end never gets its final
 * dot. Our own, since each write to a socket costs as much as all else that is done for a small message: commands leave
 * in one (RFC 2920), content and its final dot in another.
 */
import type { Reply } from '../spool/envelope.ts';
import { authenticate, type Exchange } from './authenticate.ts';
import { type Capabilities, capabilitiesOf } from './capabilities.ts';
import { type FailureStage, HostFailure } from './classify.ts';
import type { Credentials } from './credentials.ts';
import { codeOf, outOfStep, parseReply } from './reply.ts';
import { openSocket, type Target } from './tcp.ts';
import type { Timeouts } from './timeouts.ts';
import type { TlsPlan } from './tls-policy.ts';
import { Wire } from './wire.ts';

export interface ConnectOptions {
  /** What we say in EHLO. */
  readonly hostname: string;
  readonly tls: TlsPlan;
  /** What the host wants to know who we are; only told under TLS. */
  readonly credentials?: (() => Promise<Credentials>) | undefined;
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

/** @throws {HostFailure} */
export async function connect(target: Target, options: ConnectOptions): Promise<Connection> {
  const { hostname, tls, credentials, timeouts, signal } = options;
  const wire = new Wire(await openSocket(target, { timeoutMs: timeouts.connect, signal }));
  const deadline = setTimeout(() => wire.destroy('no session in time'), timeouts.greeting);
  const onAbort = (): void => wire.destroy('delivery is stopping');
  signal.addEventListener('abort', onAbort);
  let stage: FailureStage = 'greeting';
  let version: string | undefined;
  try {
    await expect(wire, target, 220);
    let capabilities = await hello(wire, target, hostname);
    const secure = tls.starttls === 'always' || (tls.starttls === 'if offered' && capabilities.starttls);
    if (secure) {
      stage = 'tls';
      wire.write('STARTTLS');
      await expect(wire, target, 220);
      version = await wire.startTls(target.host.startsWith('[') ? target.address : target.host, tls.verify);
      stage = 'greeting';
      // RFC 3207 4.2: what was offered in clear counts no more.
      capabilities = await hello(wire, target, hostname);
    }
    if (credentials) {
      stage = 'auth';
      if (!secure) throw new Error('credentials are not sent without TLS');
      const exchange: Exchange = async (line, code) => {
        wire.write(line);
        await expect(wire, target, code);
      };
      await authenticate(exchange, capabilities.auth, await credentials());
    }
    return new Connection(wire, target, { capabilities, timeouts, ...(version !== undefined && { tls: version }) });
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
  wire.write(`EHLO ${hostname}`);
  const reply = await wire.reply();
  const code = codeOf(reply);
  if (code === 250) return capabilitiesOf(reply);
  if (code === 421) throw new Refusal(parseReply(reply, target.host));
  wire.write(`HELO ${hostname}`);
  return capabilitiesOf(await expect(wire, target, 250));
}

async function expect(wire: Wire, { host }: Target, code: number): Promise<string> {
  const reply = await wire.reply();
  if (codeOf(reply) === code) return reply;
  throw new Refusal(parseReply(reply, host));
}

/** What ends a session though it was answered: 421, no to a command that it cannot go on without, or nonsense. */
class Refusal extends Error {
  readonly reply: Reply;

  constructor(reply: Reply) {
    super([reply.code, reply.enhanced, reply.text].filter((part) => part !== undefined && part !== '').join(' '));
    this.reply = reply;
  }
}

/** Reading the content threw: its cause. */
class ContentError extends Error {}

export class Connection {
  readonly capabilities: Capabilities;
  /** Its version, as OpenSSL names it: TLSv1.3; undefined: in clear. */
  readonly tls: string | undefined;
  readonly target: Target;
  /** Transactions begun. */
  transactions = 0;
  readonly #wire: Wire;
  readonly #timeouts: Timeouts;
  #quitting = false;

  constructor(
    wire: Wire,
    target: Target,
    session: { readonly capabilities: Capabilities; readonly tls?: string; readonly timeouts: Timeouts },
  ) {
    this.#wire = wire;
    this.#timeouts = session.timeouts;
    this.target = target;
    this.tls = session.tls;
    this.capabilities = session.capabilities;
    wire.setTimeout(session.timeouts.command);
    wire.idle = true;
  }

  /** False once it is closed, or closing: no transaction may begin. */
  get usable(): boolean {
    return !this.#quitting && this.#wire.ended === undefined;
  }

  /**
   * One at a time. Never rejects.
   *
   * @param withinMs what is left of the attempt
   */
  async send(transaction: Transaction, withinMs = this.#timeouts.attempt): Promise<TransactionResult> {
    const wire = this.#wire;
    const replies = new Map<string, Reply>();
    const progress = { touched: false };
    this.transactions += 1;
    wire.idle = false;
    const deadline = setTimeout(() => wire.destroy('no end in time'), withinMs);
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

  /** Says QUIT and closes, within a bounded time; resolves when it is closed. */
  async quit(): Promise<void> {
    if (!this.usable) return;
    this.#quitting = true;
    await this.#wire.quit(QUIT_MS);
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
    if (pipelining) this.#wire.write(mail, ...rcpt, 'DATA');
    const ask = (command: string): Promise<Answer> => {
      if (!pipelining) this.#wire.write(command);
      return this.#answer(command === 'DATA' ? 3 : 2);
    };

    // 421 to MAIL is about the connection (idle for too long, enough messages), not about the message.
    const sender = await ask(mail);
    progress.touched = true;
    if (sender.refused) {
      this.#note(replies, recipients, sender);
      // What was pipelined behind it is answered all the same. Those answers (503) mean nothing.
      if (pipelining) await this.#skip(recipients.length);
      return;
    }
    for (const [index, recipient] of recipients.entries()) {
      const answer = await ask(rcpt[index] ?? '');
      if (answer.refused) this.#note(replies, [recipient], answer);
    }
    const open = recipients.filter(({ address }) => !replies.has(address));
    if (open.length === 0) {
      if (pipelining) await this.#skip(0);
      return this.#reset();
    }
    const data = await ask('DATA');
    if (data.refused) {
      this.#note(replies, open, data);
      return this.#reset();
    }
    const whole = await this.#write(content);
    const end = await this.#answer(2);
    // A no may come before the end (552 to a message that is too large). A yes to half a message is none.
    if (!whole && !end.refused) throw new Refusal(outOfStep(end.text, this.target.host));
    this.#note(replies, open, end);
    if (!whole) this.destroy();
    this.#wire.setTimeout(this.#timeouts.command);
  }

  /**
   * The next reply: a yes of this class (RFC 5321 4.2.1), or a no.
   *
   * @throws {Refusal} for 421, and for what is no answer to the command: the server is out of step, and what it says next
   * could be taken for an answer to something else
   */
  async #answer(positive: 2 | 3): Promise<Answer> {
    const { host } = this.target;
    const text = await this.#wire.reply();
    const code = codeOf(text);
    if (code === undefined || code === 421) throw new Refusal(parseReply(text, host));
    const refused = code >= 400;
    if (!refused && (positive === 3 ? code !== 354 : code >= 300)) throw new Refusal(outOfStep(text, host));
    return { refused, text };
  }

  /** Reads the answers to so many recipients and to DATA, none of whom takes the message. */
  async #skip(recipients: number): Promise<void> {
    for (let i = 0; i < recipients; i += 1) await this.#answer(2);
    // RFC 2920 3.1: a server that wants content now is given none.
    if ((await this.#answer(3)).refused) return;
    this.#wire.write('.');
    await this.#answer(2);
  }

  /**
   * Refused between MAIL and the dot, the transaction stays open on the server, and a second MAIL would be an error
   * (RFC 5321 4.1.4).
   */
  async #reset(): Promise<void> {
    this.#wire.write('RSET');
    if ((await this.#answer(2)).refused) this.destroy();
  }

  /** @returns whether the message was sent to its end */
  async #write(content: Transaction['content']): Promise<boolean> {
    try {
      if (Buffer.isBuffer(content)) return this.#wire.writeContent(content);
      return await this.#wire.streamContent(content());
    } catch (cause) {
      throw new ContentError('the content cannot be read', { cause });
    } finally {
      this.#wire.setTimeout(this.#timeouts.finalDot);
    }
  }

  #note(replies: Map<string, Reply>, recipients: Transaction['recipients'], { text }: Answer): void {
    const reply = parseReply(text, this.target.host);
    for (const { address } of recipients) replies.set(address, reply);
  }
}

interface Answer {
  /** 4yz or 5yz. */
  readonly refused: boolean;
  readonly text: string;
}

const withParameters = (command: string, parameters: readonly string[]): string =>
  parameters.length > 0 ? `${command} ${parameters.join(' ')}` : command;
