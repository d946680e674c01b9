/**
 * The SMTP dialogue of one session (RFC 5321, RFC 6409): what each command does in which state, and what it is
 * answered. Lines, sockets and TLS are the connection's; who may do what is the policies'.
 */
import { Answers } from './answers.ts';
import { type AuthAnswer, Authentication } from './authentication.ts';
import type { Authenticator } from './authenticator.ts';
import type { Channel, Conversation } from './channel.ts';
import type { Crowd, Member } from './crowd.ts';
import { clientNetwork } from './networks.ts';
import { AUTH, COMMAND, CONNECT } from './policies.ts';
import { judge, type Rejection } from './policy.ts';
import * as replies from './replies.ts';
import { MECHANISMS } from './sasl.ts';
import { Session } from './session.ts';
import { Transactions, type TransactionsOptions } from './transactions.ts';

export interface DialogueOptions extends TransactionsOptions {
  readonly authenticator: Authenticator;
  readonly crowd: Crowd;
}

/** RFC 5321 4.5.3.1.2 has 255 for a domain. */
const LONGEST_HELLO = 255;
/**
 * A browser that a web page sent here speaks first, and would go on with what the page wants said. A proxy that is not
 * known here speaks for somebody whom we would take for it.
 */
const OTHER_PROTOCOL = /^(?:CONNECT|DELETE|GET|HEAD|OPTIONS|PATCH|POST|PROXY|PUT|TRACE)$/;
/** U+FFFD stands where the line was not UTF-8. */
const NO_TEXT = /[\p{Cc}\u{fffd}]/u;

export class Dialogue implements Conversation {
  readonly #options: DialogueOptions;
  readonly #channel: Channel;
  /** Where the session counts, once it was let in. */
  #member: Member | undefined;
  readonly #session: Session;
  readonly #answers: Answers;
  readonly #authentication: Authentication;
  readonly #transactions: Transactions;

  constructor(options: DialogueOptions, channel: Channel) {
    this.#options = options;
    this.#channel = channel;
    const { observer, listener } = options;
    this.#session = new Session(options, channel);
    this.#answers = new Answers(channel, this.#session, observer, listener);
    this.#authentication = new Authentication({
      ...options,
      onResult: (mechanism, result) => observer.session({ event: 'auth', listener, mechanism, result }),
    });
    this.#transactions = new Transactions(options, channel, this.#session, this.#answers);
  }

  greet(): void {
    this.#options.observer.session({ event: 'session', listener: this.#options.listener });
    const { crowd } = this.#options;
    const client = clientNetwork(this.#channel.clientAddress);
    const session = this.#session.facts();
    const judgeNow = () => judge(CONNECT, { session, connections: crowd.all, connectionsOfClient: crowd.of(client) });
    let verdict = judgeNow();
    if (verdict?.reason === 'too_many_connections' && crowd.makeRoom(performance.now())) verdict = judgeNow();
    if (verdict) {
      this.#answers.refuse('connect', verdict);
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
        ? this.#answerAuth(this.#authentication.step(text, this.#session.facts()))
        : this.#command(text);
      return waiting?.catch((error: unknown) => this.#answers.failed(error));
    } catch (error) {
      this.#answers.failed(error);
      return undefined;
    }
  }

  /** A line that cannot be read; the session goes on. */
  badLine(rejection: Rejection): void {
    this.#authentication.breakOff();
    this.#answers.countError(rejection);
  }

  /** Nothing came for idleTimeout. */
  idle(): void {
    this.#answers.refuse('command', replies.IDLE);
  }

  /** Ends a session that has nothing in hand, when it may not go on. */
  leave(): void {
    const verdict = judge(COMMAND, this.#session.facts());
    if (verdict) this.#answers.refuse('command', verdict);
  }

  /** TLS is in use: what was said before counts no more (RFC 3207 4.2). */
  secured(): void {
    this.#session.secured();
    this.#transactions.reset();
  }

  /** The connection is gone. */
  closed(): void {
    this.#leaveCrowd();
    this.#transactions.closed();
  }

  #memberOf(client: string): Member {
    const isKnown = () => this.#session.user !== undefined || this.#session.facts().network !== undefined;
    return {
      client,
      isKnown,
      waitedMs: () => (isKnown() ? this.#channel.waitedMs : this.#channel.ageMs),
      giveWay: () => {
        this.#leaveCrowd();
        this.#answers.refuse('command', replies.CROWDED_OUT);
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
    const verdict = verb === 'QUIT' ? undefined : judge(COMMAND, this.#session.facts());
    if (verdict) return this.#answers.refuse('command', verdict);
    if (NO_TEXT.test(text)) {
      // The header of a proxy in version 2, which is no text, looks like two empty lines and this one.
      return text === '\0'
        ? this.#answers.lastError(replies.MALFORMED_LINE)
        : this.#answers.countError(replies.MALFORMED_LINE);
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
        return this.#transactions.mail(argument);
      case 'RCPT':
        return this.#transactions.rcpt(argument);
      case 'DATA':
        return this.#transactions.data(argument);
      case 'RSET':
        this.#transactions.reset();
        return this.#answers.accept(250, '2.0.0', 'nothing is being sent');
      case 'NOOP':
        return this.#answers.accept(250, '2.0.0', 'still here');
      case 'QUIT':
        this.#answers.accept(221, '2.0.0', 'good bye');
        this.#channel.quit();
        return undefined;
      case 'VRFY':
        // RFC 5321 3.5.3: neither yes nor no, since addresses are nobody's business.
        return this.#answers.accept(252, '2.0.0', 'send RCPT to find out');
      case 'HELP':
        return this.#answers.accept(214, '2.0.0', 'see RFC 5321 and RFC 6409');
      case 'EXPN':
      case 'SEND':
      case 'SOML':
      case 'SAML':
      case 'TURN':
        return this.#answers.refuse('command', replies.NOT_IMPLEMENTED);
      default:
        return OTHER_PROTOCOL.test(verb)
          ? this.#answers.lastError(replies.UNKNOWN_COMMAND)
          : this.#answers.countError(replies.UNKNOWN_COMMAND);
    }
  }

  #hello(extended: boolean, argument: string): undefined {
    if (argument === '' || argument.length > LONGEST_HELLO || argument.includes(' ')) {
      return this.#answers.refuse('command', replies.BAD_HELLO);
    }
    this.#session.introduced(argument, extended);
    // RFC 5321 4.1.4: as RSET.
    this.#transactions.reset();
    const { hostname, limits } = this.#session.facts().config.settings;
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
      ...(secure && this.#session.user === undefined ? [`AUTH ${[...MECHANISMS.keys()].join(' ')}`] : []),
    ];
  }

  #startTls(argument: string): undefined {
    if (argument !== '') return this.#answers.refuse('command', replies.BAD_ARGUMENT);
    if (this.#channel.secure) return this.#answers.refuse('command', replies.ALREADY_UNDER_TLS);
    this.#answers.accept(220, '2.0.0', 'ready to start TLS');
    this.#channel.startTls();
    return undefined;
  }

  #auth(argument: string): Promise<void> | undefined {
    const session = this.#session.facts();
    const verdict = judge(AUTH, session);
    if (verdict) return this.#answers.refuse('auth', verdict);
    // RFC 4954 4.
    if (this.#session.inTransaction) return this.#answers.refuse('auth', replies.IN_TRANSACTION);
    return this.#answerAuth(this.#authentication.begin(argument, session));
  }

  #answerAuth(answer: AuthAnswer | Promise<AuthAnswer>): Promise<void> | undefined {
    if (answer instanceof Promise) return answer.then((settled) => this.#answerAuth(settled));
    if ('code' in answer) return this.#answers.refuse('auth', answer);
    if ('challenge' in answer) {
      this.#channel.reply(334, answer.challenge);
      return undefined;
    }
    this.#session.authenticated(answer.user);
    return this.#answers.accept(235, '2.7.0', 'authenticated');
  }
}
