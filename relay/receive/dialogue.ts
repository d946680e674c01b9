/**
 * The SMTP dialogue of one session (RFC 5321, RFC 6409): what each command does in which state, and what it is
 * answered. Lines, sockets and TLS are the connection's; who may do what is the policies'.
 */
import type { ListenerSettings } from '../config/documents.ts';
import type { SessionEvent } from '../observe/events.ts';
import { SpoolUnavailable } from '../spool/spool.ts';
import { parsePathAddress } from './address.ts';
import { type AuthAnswer, Authentication } from './authentication.ts';
import type { Authenticator } from './authenticator.ts';
import type { Channel, Conversation } from './channel.ts';
import { type PathArgument, parsePathArgument } from './command.ts';
import type { Crowd, Member } from './crowd.ts';
import { IncomingMessage } from './message.ts';
import { clientNetwork, exemptingNetwork } from './networks.ts';
import { AUTH, BAD_RECIPIENT, BAD_SENDER, COMMAND, CONNECT, MAIL, RCPT, RCPT_DOMAIN, RCPT_QUOTA } from './policies.ts';
import { judge, type Rejection } from './policy.ts';
import type { UsedUp } from './quotas.ts';
import type { Leaving, ReceiverOptions } from './receiver.ts';
import * as replies from './replies.ts';
import { MECHANISMS } from './sasl.ts';
import type { SessionFacts } from './session.ts';

export interface DialogueOptions extends ReceiverOptions {
  /** Name of the listener. */
  readonly listener: string;
  readonly authenticator: Authenticator;
  readonly crowd: Crowd;
  /** Those of all sessions that have begun and not ended, by MAIL and the answer to the final dot. */
  readonly transactions: Set<object>;
  /** The process stops: no session goes on. */
  readonly leaving: () => Leaving;
}

type Stage = Extract<SessionEvent, { event: 'rejected' }>['stage'];

interface OpenTransaction {
  readonly mailFrom: string;
  readonly smtputf8: boolean;
  readonly recipients: Set<string>;
}

/** Between two messages; a client that only guesses is sent away. */
const ERRORS = 10;
/** RFC 5321 4.5.3.1.2 has 255 for a domain. */
const LONGEST_HELLO = 255;
/**
 * A browser that a web page sent here speaks first, and would go on with what the page wants said. A proxy that is not
 * known here speaks for somebody whom we would take for it.
 */
const OTHER_PROTOCOL = /^(?:CONNECT|DELETE|GET|HEAD|OPTIONS|PATCH|POST|PROXY|PUT|TRACE)$/;
/** U+FFFD stands where the line was not UTF-8. */
const NO_TEXT = /[\p{Cc}\u{fffd}]/u;

const NO_PATH: PathArgument = { path: '', parameters: new Map() };

export class Dialogue implements Conversation {
  readonly #options: DialogueOptions;
  readonly #channel: Channel;
  /** Where the session counts, once it was let in. */
  #member: Member | undefined;
  #facts: SessionFacts | undefined;
  #listener: ListenerSettings | undefined;
  #helo = '';
  #extended = false;
  #user: string | undefined;
  readonly #authentication: Authentication;
  #transaction: OpenTransaction | undefined;
  #message: IncomingMessage | undefined;
  readonly #taken = { messages: 0, recipients: 0 };
  #errors = 0;

  constructor(options: DialogueOptions, channel: Channel) {
    this.#options = options;
    this.#channel = channel;
    const { observer, listener } = options;
    this.#authentication = new Authentication({
      ...options,
      onResult: (mechanism, result) => observer.session({ event: 'auth', listener, mechanism, result }),
    });
  }

  greet(): void {
    this.#options.observer.session({ event: 'session', listener: this.#options.listener });
    const { crowd } = this.#options;
    const client = clientNetwork(this.#channel.clientAddress);
    const session = this.#session();
    const judgeNow = () => judge(CONNECT, { session, connections: crowd.all, connectionsOfClient: crowd.of(client) });
    let verdict = judgeNow();
    if (verdict?.reason === 'too_many_connections' && crowd.makeRoom(performance.now())) verdict = judgeNow();
    if (verdict) {
      this.#refuse('connect', verdict);
      return;
    }
    this.#member = this.#memberOf(client);
    crowd.enter(this.#member);
    this.#channel.reply(220, `${session.config.settings.hostname} ESMTP Chasqui`);
  }

  /** Whether the next line belongs to an AUTH exchange. */
  get inAuth(): boolean {
    return this.#authentication.inProgress;
  }

  /** One line, without its CRLF. The next one may come when the promise resolves; it never rejects. */
  command(line: Buffer): Promise<void> | undefined {
    try {
      const text = line.toString('utf8');
      const waiting = this.inAuth
        ? this.#answerAuth(this.#authentication.step(text, this.#session()))
        : this.#command(text);
      return waiting?.catch((error: unknown) => this.#failed(error));
    } catch (error) {
      this.#failed(error);
      return undefined;
    }
  }

  /** A line that cannot be read; the session goes on. */
  badLine(rejection: Rejection): void {
    this.#authentication.breakOff();
    this.#countError(rejection);
  }

  /** Nothing came for idleTimeout. */
  idle(): void {
    this.#refuse('command', replies.IDLE);
  }

  /** Ends a session that has nothing in hand, when it may not go on. */
  leave(): void {
    const verdict = judge(COMMAND, this.#session());
    if (verdict) this.#refuse('command', verdict);
  }

  /** TLS is in use: what was said before counts no more (RFC 3207 4.2). */
  secured(): void {
    this.#facts = undefined;
    this.#helo = '';
    this.#endTransaction();
  }

  /** The connection is gone. */
  closed(): void {
    this.#leaveCrowd();
    this.#message?.abort();
    this.#message = undefined;
    this.#endTransaction();
  }

  #memberOf(client: string): Member {
    const isKnown = () => this.#user !== undefined || this.#session().network !== undefined;
    return {
      client,
      isKnown,
      waitedMs: () => (isKnown() ? this.#channel.waitedMs : this.#channel.ageMs),
      giveWay: () => {
        this.#leaveCrowd();
        this.#refuse('command', replies.CROWDED_OUT);
        // One that drips would take its time to leave.
        this.#channel.cut();
      },
    };
  }

  #leaveCrowd(): void {
    if (this.#member) this.#options.crowd.leave(this.#member);
    this.#member = undefined;
  }

  #command(text: string): Promise<void> | undefined {
    const space = text.indexOf(' ');
    const verb = (space < 0 ? text : text.slice(0, space)).toUpperCase();
    const argument = space < 0 ? '' : text.slice(space + 1).trim();
    const verdict = verb === 'QUIT' ? undefined : judge(COMMAND, this.#session());
    if (verdict) return this.#refuse('command', verdict);
    if (NO_TEXT.test(text)) {
      // The header of a proxy in version 2, which is no text, looks like two empty lines and this one.
      if (text === '\0') this.#errors = ERRORS;
      return this.#countError(replies.MALFORMED_LINE);
    }
    return this.#dispatch(verb, argument);
  }

  #dispatch(verb: string, argument: string): Promise<void> | undefined {
    switch (verb) {
      case 'EHLO':
      case 'HELO':
        return this.#hello(verb === 'EHLO', argument);
      case 'STARTTLS':
        return this.#startTls(argument);
      case 'AUTH':
        return this.#auth(argument);
      case 'MAIL':
        return this.#mail(argument);
      case 'RCPT':
        return this.#rcpt(argument);
      case 'DATA':
        return this.#data(argument);
      case 'RSET':
        this.#endTransaction();
        return this.#accept(250, '2.0.0', 'nothing is being sent');
      case 'NOOP':
        return this.#accept(250, '2.0.0', 'still here');
      case 'QUIT':
        this.#accept(221, '2.0.0', 'good bye');
        this.#channel.quit();
        return undefined;
      case 'VRFY':
        // RFC 5321 3.5.3: neither yes nor no, since addresses are nobody's business.
        return this.#accept(252, '2.0.0', 'send RCPT to find out');
      case 'HELP':
        return this.#accept(214, '2.0.0', 'see RFC 5321 and RFC 6409');
      case 'EXPN':
      case 'SEND':
      case 'SOML':
      case 'SAML':
      case 'TURN':
        return this.#refuse('command', replies.NOT_IMPLEMENTED);
      default:
        if (OTHER_PROTOCOL.test(verb)) this.#errors = ERRORS;
        return this.#countError(replies.UNKNOWN_COMMAND);
    }
  }

  #hello(extended: boolean, argument: string): undefined {
    if (argument === '' || argument.length > LONGEST_HELLO || argument.includes(' ')) {
      return this.#refuse('command', replies.BAD_HELLO);
    }
    this.#facts = undefined;
    this.#helo = argument;
    this.#extended = extended;
    // RFC 5321 4.1.4: as RSET.
    this.#endTransaction();
    const { hostname, limits } = this.#session().config.settings;
    this.#channel.reply(250, hostname, ...(extended ? this.#extensions(limits.messageSizeBytes) : []));
    return undefined;
  }

  /** What holds in this state of this session, and nothing else. */
  #extensions(sizeBytes: number): readonly string[] {
    const { secure } = this.#channel;
    return [
      'PIPELINING',
      '8BITMIME',
      'SMTPUTF8',
      'ENHANCEDSTATUSCODES',
      `SIZE ${sizeBytes}`,
      ...(secure ? [] : ['STARTTLS']),
      ...(secure && this.#user === undefined ? [`AUTH ${[...MECHANISMS.keys()].join(' ')}`] : []),
    ];
  }

  #startTls(argument: string): undefined {
    if (argument !== '') return this.#refuse('command', replies.BAD_ARGUMENT);
    if (this.#channel.secure) return this.#refuse('command', replies.ALREADY_UNDER_TLS);
    this.#accept(220, '2.0.0', 'ready to start TLS');
    this.#channel.startTls();
    return undefined;
  }

  #auth(argument: string): Promise<void> | undefined {
    const session = this.#session();
    const verdict = judge(AUTH, session);
    if (verdict) return this.#refuse('auth', verdict);
    // RFC 4954 4.
    if (this.#transaction) return this.#refuse('auth', replies.IN_TRANSACTION);
    return this.#answerAuth(this.#authentication.begin(argument, session));
  }

  #answerAuth(answer: AuthAnswer | Promise<AuthAnswer>): Promise<void> | undefined {
    if (answer instanceof Promise) return answer.then((settled) => this.#answerAuth(settled));
    if ('code' in answer) return this.#refuse('auth', answer);
    if ('challenge' in answer) {
      this.#channel.reply(334, answer.challenge);
      return undefined;
    }
    this.#facts = undefined;
    this.#user = answer.user;
    return this.#accept(235, '2.7.0', 'authenticated');
  }

  #mail(argument: string): undefined {
    const parsed = parsePathArgument('FROM', argument);
    const { path, parameters } = typeof parsed === 'string' ? NO_PATH : parsed;
    const verdict = judge(MAIL, {
      session: this.#session(),
      taken: this.#taken,
      hindrance: this.#options.spool.health().hindrance?.kind,
      path,
      parameters,
    });
    if (verdict) return this.#refuse('mail', verdict, { mailFrom: path });
    if (this.#transaction) return this.#refuse('mail', replies.NESTED_MAIL);
    if (typeof parsed === 'string') {
      return this.#refuse('mail', parsed === 'bad_path' ? BAD_SENDER : replies.BAD_ARGUMENT);
    }
    this.#transaction = {
      mailFrom: parsePathAddress(path)?.text ?? '',
      smtputf8: parameters.has('SMTPUTF8'),
      recipients: new Set(),
    };
    this.#options.transactions.add(this.#transaction);
    return this.#accept(250, '2.1.0', 'sender ok');
  }

  #rcpt(argument: string): Promise<void> | undefined {
    const transaction = this.#transaction;
    if (transaction === undefined) return this.#refuse('rcpt', replies.MAIL_FIRST);
    const parsed = parsePathArgument('TO', argument);
    if (typeof parsed === 'string') {
      return this.#refuse('rcpt', parsed === 'bad_path' ? BAD_RECIPIENT : replies.BAD_ARGUMENT);
    }
    const { mailFrom, smtputf8, recipients } = transaction;
    const address = parsePathAddress(parsed.path);
    const about = { mailFrom, recipient: address?.text ?? parsed.path };
    // One that is there already takes no more room.
    const again = address !== undefined && recipients.has(address.text) ? 1 : 0;
    const verdict = judge(RCPT, {
      session: this.#session(),
      taken: { ...this.#taken, recipients: this.#taken.recipients - again },
      ...parsed,
      smtputf8,
      recipients: recipients.size - again,
    });
    if (verdict || address === undefined) return this.#refuse('rcpt', verdict ?? BAD_RECIPIENT, about);
    const accept = () => {
      // The client left while the DNS was asked: nothing is granted to what has ended.
      if (this.#transaction !== transaction) return undefined;
      const usedUp = recipients.has(address.text) ? undefined : this.#takeFromQuota();
      const verdict = judge(RCPT_QUOTA, { usedUp });
      if (verdict) return this.#refuse('rcpt', verdict, about);
      if (!recipients.has(address.text)) this.#taken.recipients += 1;
      recipients.add(address.text);
      return this.#accept(250, '2.1.5', 'recipient ok');
    };
    if (!this.#isDirect(address.domain)) return accept();
    return this.#options.nullMx(address.domain).then((nullMx) => {
      const verdict = judge(RCPT_DOMAIN, { nullMx });
      return verdict ? this.#refuse('rcpt', verdict, about) : accept();
    });
  }

  /** Room for a recipient in the quota of the user, or the limit that has none. */
  #takeFromQuota(): UsedUp | undefined {
    if (this.#user === undefined) return undefined;
    const { users, replicas } = this.#session().config;
    return this.#options.quotas.take(this.#user, users.get(this.#user)?.quota, replicas);
  }

  #endTransaction(): void {
    if (this.#transaction) this.#giveBack(this.#transaction);
    this.#transaction = undefined;
  }

  /** What was granted to it; of a message that was taken, the spool has counted the recipients. */
  #giveBack(transaction: OpenTransaction): void {
    this.#options.transactions.delete(transaction);
    if (this.#user !== undefined) this.#options.quotas.giveBack(this.#user, transaction.recipients.size);
  }

  /** Whether mail goes to the MX of the domain: its destination is the domain itself then (deliver/router). */
  #isDirect(domain: string): boolean {
    return !domain.startsWith('[') && this.#options.router.destinationOf(domain) === domain;
  }

  #data(argument: string): undefined {
    if (argument !== '') return this.#refuse('data', replies.BAD_ARGUMENT);
    const transaction = this.#transaction;
    if (transaction === undefined) return this.#refuse('data', replies.MAIL_FIRST);
    if (transaction.recipients.size === 0) return this.#refuse('data', replies.RCPT_FIRST);
    let message: IncomingMessage;
    try {
      message = new IncomingMessage(this.#options, this.#session(), transaction);
    } catch (error) {
      if (!(error instanceof SpoolUnavailable)) throw error;
      return this.#refuse('data', replies.spoolRejection(error));
    }
    this.#message = message;
    this.#channel.readContent({
      push: (chunk) => {
        const waiting = message.push(chunk);
        if (message.isEndless) this.#endless(message);
        return waiting;
      },
      end: () => this.#endOfData(message, transaction),
    });
    this.#channel.reply(354, 'end data with <CR><LF>.<CR><LF>');
    return undefined;
  }

  async #endOfData(message: IncomingMessage, transaction: OpenTransaction): Promise<void> {
    // The client left while the last of it was written: it was told nothing, and nothing is kept.
    if (this.#message !== message) return;
    this.#message = undefined;
    this.#transaction = undefined;
    try {
      const result = await message.end();
      if ('code' in result) return this.#refuse('data', result, { mailFrom: transaction.mailFrom });
      this.#errors = 0;
      this.#taken.messages += 1;
      return this.#accept(250, '2.6.0', `queued as ${result.queueId}`);
    } catch (error) {
      return this.#failed(error);
    } finally {
      this.#giveBack(transaction);
    }
  }

  #endless(message: IncomingMessage): void {
    message.abort();
    this.#message = undefined;
    this.#refuse('data', replies.ENDLESS_MESSAGE);
  }

  /** A transaction that was begun comes to its end first: many clients never try again. */
  #leaving(replicas: number): SessionFacts['leaving'] {
    const { ordinal, leaving } = this.#options;
    if (leaving() === 'now') return 'stopping';
    if (this.#channel.isExpired) return 'expired';
    if (this.#transaction) return undefined;
    if (leaving() === 'after-transaction') return 'stopping';
    return ordinal >= replicas ? 'draining' : undefined;
  }

  /** The facts of this moment: the config may have changed since the last command. */
  #session(): SessionFacts {
    const { config, listener: name } = this.#options;
    const current = config.current();
    const { clientAddress, isClientKnown, secure, tls } = this.#channel;
    const leaving = this.#leaving(current.replicas);
    if (this.#facts?.config === current && this.#facts.leaving === leaving) return this.#facts;
    // A listener that is gone from the config goes on as it was, until the process is replaced.
    const listener = current.settings.listeners.find((candidate) => candidate.name === name) ?? this.#listener;
    if (listener === undefined) throw new Error(`listener ${name} is not in the config`);
    this.#listener = listener;
    const network = isClientKnown ? exemptingNetwork(listener, clientAddress) : undefined;
    this.#facts = {
      listener,
      clientAddress,
      isClientKnown,
      helo: this.#helo,
      extended: this.#extended,
      secure,
      ...(tls === undefined ? {} : { tls }),
      ...(this.#user === undefined ? {} : { user: this.#user }),
      ...(network === undefined ? {} : { network }),
      config: current,
      ...(leaving === undefined ? {} : { leaving }),
    };
    return this.#facts;
  }

  #accept(code: number, enhanced: string, text: string): undefined {
    this.#channel.reply(code, `${enhanced} ${text}`);
    return undefined;
  }

  #refuse(stage: Stage, rejection: Rejection, about: { mailFrom?: string; recipient?: string } = {}): undefined {
    const { code, enhanced, text, reason } = rejection;
    const line = enhanced === '' ? text : `${enhanced} ${text}`;
    this.#options.observer.session({
      event: 'rejected',
      listener: this.#options.listener,
      stage,
      reason,
      reply: `${code} ${line}`,
      client: this.#channel.clientAddress,
      ...(this.#user === undefined ? {} : { user: this.#user }),
      ...about,
    });
    this.#channel.reply(code, line);
    // RFC 5321 3.8: 421 says that the connection ends.
    if (code === 421) this.#channel.close();
    return undefined;
  }

  /** For what a client does only by mistake or in bad faith. */
  #countError(rejection: Rejection): undefined {
    this.#errors += 1;
    return this.#refuse('command', this.#errors > ERRORS ? replies.TOO_MANY_ERRORS : rejection);
  }

  /** A fault of ours: the client may try again, and the operator has to know. */
  #failed(error: unknown): undefined {
    const problem = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#options.observer.log('error', 'a command failed', { problem });
    return this.#refuse('command', replies.INTERNAL_ERROR);
  }
}
