/**
 * One SMTP connection to a host, and messages sent over it. The only file that knows nodemailer, whose SMTPConnection
 * speaks the protocol (pipelined: RFC 2920). What it leaves to its user is done here: TCP connections with a timeout of
 * their own, parameters per recipient, replies per recipient whatever happened after them, and the rule that a message
 * whose content could not be read to its end never gets its final dot.
 */
import { isIP } from 'node:net';
import { Readable } from 'node:stream';
import type { NodemailerError } from 'nodemailer/lib/errors';
import SMTPConnection, { type SMTPConnectionEnvelope, type SMTPEnvelope } from 'nodemailer/lib/smtp-connection';
import type { Reply } from '../spool/envelope.ts';
import { type Capabilities, capabilitiesOf } from './capabilities.ts';
import { HostFailure } from './classify.ts';
import { parseReply } from './reply.ts';
import { openSocket, type Target } from './tcp.ts';
import type { TlsPlan } from './tls-policy.ts';

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

/** Bytes of a reply: more is no reply. */
const MAX_REPLY = 64 * 1024;
const QUIT_MS = 2_000;

/** @throws {HostFailure} */
export async function connect(target: Target, options: ConnectOptions): Promise<Connection> {
  const { timeouts, signal } = options;
  const socket = await openSocket(target, { timeoutMs: timeouts.connect, signal });
  const session = new Session({
    connection: socket,
    host: isIP(target.host) || target.host.startsWith('[') ? target.address : target.host,
    port: target.port,
    secure: false,
    name: options.hostname,
    ignoreTLS: options.tls.starttls === 'never',
    requireTLS: options.tls.starttls === 'always',
    tls: { rejectUnauthorized: options.tls.verify },
    connectionTimeout: timeouts.greeting,
    greetingTimeout: timeouts.greeting,
    socketTimeout: timeouts.command,
    // Every orderly end says QUIT first; what is closed without it is given up, and must not linger.
    socketCloseTimeout: 0,
    maxResponseSize: MAX_REPLY,
  });
  const { promise, resolve, reject } = Promise.withResolvers<Connection>();
  const failed = (error: Error): void => {
    session.close();
    const stage = session.securing ? 'tls' : 'greeting';
    reject(new HostFailure(stage, target.host, reasonOf(error), replyOf(error, target.host)));
  };
  const onAbort = (): void => failed(new Error('delivery is stopping'));
  signal.addEventListener('abort', onAbort);
  if (signal.aborted) onAbort();
  session.on('error', failed);
  session.connect((error) => {
    if (error) failed(error);
    else resolve(new Connection(session, target, timeouts));
  });
  return promise.finally(() => signal.removeEventListener('abort', onAbort));
}

export class Connection {
  readonly capabilities: Capabilities;
  readonly secure: boolean;
  readonly target: Target;
  /** Transactions begun. */
  transactions = 0;
  readonly #session: Session;
  readonly #timeouts: Timeouts;
  #ended = false;
  #settle: ((error: NodemailerError) => void) | undefined;

  constructor(session: Session, target: Target, timeouts: Timeouts) {
    this.#session = session;
    this.#timeouts = timeouts;
    this.target = target;
    this.secure = session.secure;
    this.capabilities = capabilitiesOf(session.lastServerResponse || '');
    session.on('error', (error: Error) => {
      this.#ended = true;
      this.#settle?.(error);
    });
    session.on('end', () => {
      this.#ended = true;
      // After a 421 nodemailer closes first and then says why: let that be heard.
      queueMicrotask(() => this.#settle?.(new Error('connection closed')));
    });
  }

  /** False once it is closed, or closing: no transaction may begin. */
  get usable(): boolean {
    return !this.#ended && !this.#session.destroyed;
  }

  /** One at a time. Never rejects. */
  async send(transaction: Transaction): Promise<TransactionResult> {
    const session = this.#session;
    this.transactions += 1;
    session.transaction = transaction;
    session.lastServerResponse = false;
    // nodemailer notes in this object what became of each recipient, also where it then reports an error only.
    const envelope: SMTPEnvelope & Partial<SMTPConnectionEnvelope> = {
      from: transaction.mailFrom,
      to: transaction.recipients.map(({ address }) => address),
    };
    let contentError: unknown;
    const { promise, resolve } = Promise.withResolvers<{ error?: NodemailerError; response?: string }>();
    this.#settle = (error) => resolve({ error });
    const deadline = setTimeout(() => this.destroy(), this.#timeouts.transaction);

    const content = this.#contentOf(transaction, (error) => {
      contentError = error;
      this.destroy();
    });
    session.send(envelope, content, (error, info) => {
      resolve(error ? { error } : { response: info?.response ?? '' });
    });
    const { error, response } = await promise;
    clearTimeout(deadline);
    this.#settle = undefined;
    this.#setTimeout(this.#timeouts.command);
    const silent = session.lastServerResponse === false;

    if (contentError !== undefined) return { replies: new Map(), untouched: false, contentError };
    // Refused between MAIL and the dot, the transaction stays open on the server, and a second MAIL would be an error
    // (RFC 5321 4.1.4).
    if (this.usable && (error?.command === 'RCPT TO' || error?.command === 'DATA')) await this.#reset();
    return this.#resultOf(transaction, { refusals: envelope.rejectedErrors ?? [], error, response, silent });
  }

  #resultOf(transaction: Transaction, { refusals, error, response, silent }: Answers): TransactionResult {
    const { host } = this.target;
    const answer = error ? replyOf(error, host) : parseReply(response ?? '', host);
    const lost = error !== undefined && (answer === undefined || error.command === 'CONN');
    // 421 to MAIL is about the connection (idle for too long, enough messages), not about the message.
    const untouched = silent || (error?.command === MAIL && answer?.code === 421);
    if (untouched) return { replies: new Map(), failure: failureOf(host, error, answer), untouched };

    const replies = new Map<string, Reply>();
    // Once MAIL is refused, 503s are all that the recipients pipelined behind it can get: they mean nothing.
    for (const refusal of error?.command === MAIL ? [] : refusals) {
      const reply = replyOf(refusal, host);
      if (refusal.recipient && reply) replies.set(refusal.recipient, reply);
    }
    const unanswered = transaction.recipients.filter(({ address }) => !replies.has(address));
    if (unanswered.length > 0 && lost) return { replies, failure: failureOf(host, error, answer), untouched };
    for (const { address } of unanswered) if (answer) replies.set(address, answer);
    return { replies, untouched };
  }

  async #reset(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<Error | undefined>();
    this.#settle = resolve;
    this.#session.reset((error) => resolve(error ?? undefined));
    if (await promise) this.destroy();
    this.#settle = undefined;
  }

  /** Says QUIT and closes, within a bounded time. */
  quit(): void {
    if (!this.usable) return;
    this.#ended = true;
    this.#setTimeout(QUIT_MS);
    this.#session.quit();
  }

  /** Closes at once. A transaction under way ends without an answer. */
  destroy(): void {
    this.#ended = true;
    this.#session.close();
    this.#settle?.(new Error('closed by us'));
  }

  #contentOf({ content }: Transaction, failed: (error: unknown) => void): Buffer | Readable {
    if (Buffer.isBuffer(content)) {
      // It is written as soon as DATA is taken, and nothing tells us: the longer time holds from here.
      this.#setTimeout(this.#timeouts.finalDot);
      return content;
    }
    const stream = Readable.from(content(), { objectMode: false });
    stream.once('error', failed);
    stream.once('end', () => this.#setTimeout(this.#timeouts.finalDot));
    return stream;
  }

  #setTimeout(ms: number): void {
    const socket = this.#session._socket;
    if (socket) socket.setTimeout(ms);
  }
}

/** What nodemailer tells of a transaction. */
interface Answers {
  /** Of single recipients. */
  readonly refusals: readonly NodemailerError[];
  readonly error: NodemailerError | undefined;
  /** To the final dot. */
  readonly response: string | undefined;
  /** The server said nothing at all. */
  readonly silent: boolean;
}

/** SMTPConnection with the parameters of MAIL and RCPT that the transaction names, for each recipient its own. */
class Session extends SMTPConnection {
  transaction: Transaction | undefined;
  #recipient = 0;
  #starttls = false;

  /** STARTTLS was said and TLS does not stand yet. */
  get securing(): boolean {
    return this.#starttls && !this.secure;
  }

  /** Every command goes through here; nodemailer's pinned version calls it so. */
  _sendCommand(command: string, logged?: string): void {
    if (command === 'STARTTLS') this.#starttls = true;
    Reflect.apply(sendCommand, this, [this.#withParameters(command), logged]);
  }

  #withParameters(command: string): string {
    if (command.startsWith('MAIL FROM:')) {
      this.#recipient = 0;
      // Parameters that nodemailer adds by itself (SMTPUTF8 for some addresses) give way to those of the transaction.
      return join(command.slice(0, command.indexOf('>') + 1), this.transaction?.mailParameters);
    }
    if (!command.startsWith('RCPT TO:')) return command;
    const recipient = this.transaction?.recipients[this.#recipient];
    this.#recipient += 1;
    return join(command, recipient?.parameters);
  }
}

const join = (command: string, parameters: readonly string[] = []): string =>
  parameters.length > 0 ? `${command} ${parameters.join(' ')}` : command;

function inherited(name: string): CallableFunction {
  const method: unknown = Reflect.get(SMTPConnection.prototype, name);
  if (typeof method !== 'function') throw new Error(`nodemailer's SMTPConnection has no ${name}`);
  return method;
}
const sendCommand = inherited('_sendCommand');

const MAIL = 'MAIL FROM';

const replyOf = (error: NodemailerError, host: string): Reply | undefined =>
  error.response ? parseReply(error.response, host) : undefined;

const failureOf = (host: string, error: Error | undefined, reply: Reply | undefined): HostFailure =>
  new HostFailure('session', host, reasonOf(error), reply);

const reasonOf = (error: Error | undefined): string => error?.message || 'no reason given';
