/** MAIL, RCPT and DATA (RFC 5321 3.3): what a message is agreed on, until it is taken or the client thinks better of it. */
import { SpoolUnavailable } from '../spool/spool.ts';
import { parsePathAddress } from './address.ts';
import type { Answers } from './answers.ts';
import type { Channel } from './channel.ts';
import { type PathArgument, parsePathArgument } from './command.ts';
import { IncomingMessage } from './message.ts';
import { BAD_RECIPIENT, BAD_SENDER, MAIL, RCPT, RCPT_DOMAIN, RCPT_QUOTA } from './policies.ts';
import { judge } from './policy.ts';
import type { UsedUp } from './quotas.ts';
import * as replies from './replies.ts';
import type { Session, SessionOptions } from './session.ts';

export interface TransactionsOptions extends SessionOptions {
  /** Those of all sessions that have begun and not ended, by MAIL and the answer to the final dot. */
  readonly transactions: Set<object>;
}

interface OpenTransaction {
  readonly mailFrom: string;
  readonly smtputf8: boolean;
  readonly recipients: Set<string>;
}

const NO_PATH: PathArgument = { path: '', parameters: new Map() };

export class Transactions {
  readonly #options: TransactionsOptions;
  readonly #channel: Channel;
  readonly #session: Session;
  readonly #answers: Answers;
  #open: OpenTransaction | undefined;
  #message: IncomingMessage | undefined;
  readonly #taken = { messages: 0, recipients: 0 };

  constructor(options: TransactionsOptions, channel: Channel, session: Session, answers: Answers) {
    this.#options = options;
    this.#channel = channel;
    this.#session = session;
    this.#answers = answers;
  }

  mail(argument: string): undefined {
    const parsed = parsePathArgument('FROM', argument);
    const { path, parameters } = typeof parsed === 'string' ? NO_PATH : parsed;
    const verdict = judge(MAIL, {
      session: this.#session.facts(),
      taken: this.#taken,
      hindrance: this.#options.spool.health().hindrance?.kind,
      path,
      parameters,
    });
    if (verdict) return this.#answers.refuse('mail', verdict, { mailFrom: path });
    if (this.#open) return this.#answers.refuse('mail', replies.NESTED_MAIL);
    if (typeof parsed === 'string') {
      return this.#answers.refuse('mail', parsed === 'bad_path' ? BAD_SENDER : replies.BAD_ARGUMENT);
    }
    const transaction = {
      mailFrom: parsePathAddress(path)?.text ?? '',
      smtputf8: parameters.has('SMTPUTF8'),
      recipients: new Set<string>(),
    };
    this.#set(transaction);
    this.#options.transactions.add(transaction);
    return this.#answers.accept(250, '2.1.0', 'sender ok');
  }

  rcpt(argument: string): Promise<void> | undefined {
    const transaction = this.#open;
    if (transaction === undefined) return this.#answers.refuse('rcpt', replies.MAIL_FIRST);
    const parsed = parsePathArgument('TO', argument);
    if (typeof parsed === 'string') {
      return this.#answers.refuse('rcpt', parsed === 'bad_path' ? BAD_RECIPIENT : replies.BAD_ARGUMENT);
    }
    const { mailFrom, smtputf8, recipients } = transaction;
    const address = parsePathAddress(parsed.path);
    const about = { mailFrom, recipient: address?.text ?? parsed.path };
    // One that is there already takes no more room.
    const again = address !== undefined && recipients.has(address.text) ? 1 : 0;
    const verdict = judge(RCPT, {
      session: this.#session.facts(),
      taken: { ...this.#taken, recipients: this.#taken.recipients - again },
      ...parsed,
      smtputf8,
      recipients: recipients.size - again,
    });
    if (verdict || address === undefined) return this.#answers.refuse('rcpt', verdict ?? BAD_RECIPIENT, about);
    const accept = () => {
      // The client left while the DNS was asked: nothing is granted to what has ended.
      if (this.#open !== transaction) return undefined;
      const usedUp = recipients.has(address.text) ? undefined : this.#takeFromQuota();
      const verdict = judge(RCPT_QUOTA, { usedUp });
      if (verdict) return this.#answers.refuse('rcpt', verdict, about);
      if (!recipients.has(address.text)) this.#taken.recipients += 1;
      recipients.add(address.text);
      return this.#answers.accept(250, '2.1.5', 'recipient ok');
    };
    if (!this.#isDirect(address.domain)) return accept();
    return this.#options.nullMx(address.domain).then((nullMx) => {
      const verdict = judge(RCPT_DOMAIN, { nullMx });
      return verdict ? this.#answers.refuse('rcpt', verdict, about) : accept();
    });
  }

  data(argument: string): undefined {
    if (argument !== '') return this.#answers.refuse('data', replies.BAD_ARGUMENT);
    const transaction = this.#open;
    if (transaction === undefined) return this.#answers.refuse('data', replies.MAIL_FIRST);
    if (transaction.recipients.size === 0) return this.#answers.refuse('data', replies.RCPT_FIRST);
    let message: IncomingMessage;
    try {
      message = new IncomingMessage(this.#options, this.#session.facts(), transaction);
    } catch (error) {
      if (!(error instanceof SpoolUnavailable)) throw error;
      return this.#answers.refuse('data', replies.spoolRejection(error));
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
    this.#set(undefined);
    try {
      const result = await message.end();
      if ('code' in result) return this.#answers.refuse('data', result, { mailFrom: transaction.mailFrom });
      this.#answers.forgive();
      this.#taken.messages += 1;
      return this.#answers.accept(250, '2.6.0', `queued as ${result.queueId}`);
    } catch (error) {
      return this.#answers.failed(error);
    } finally {
      this.#giveBack(transaction);
    }
  }

  #endless(message: IncomingMessage): void {
    message.abort();
    this.#message = undefined;
    this.#answers.refuse('data', replies.ENDLESS_MESSAGE);
  }

  /** Room for a recipient in the quota of the user, or the limit that has none. */
  #takeFromQuota(): UsedUp | undefined {
    if (this.#session.user === undefined) return undefined;
    const { users, replicas } = this.#session.facts().config;
    return this.#options.quotas.take(this.#session.user, users.get(this.#session.user)?.quota, replicas);
  }

  /** RSET, and whatever counts as it. */
  reset(): void {
    if (this.#open) this.#giveBack(this.#open);
    this.#set(undefined);
  }

  /** The connection is gone. */
  closed(): void {
    this.#message?.abort();
    this.#message = undefined;
    this.reset();
  }

  #set(transaction: OpenTransaction | undefined): void {
    this.#open = transaction;
    this.#session.inTransaction = transaction !== undefined;
  }

  /** What was granted to it; of a message that was taken, the spool has counted the recipients. */
  #giveBack(transaction: OpenTransaction): void {
    this.#options.transactions.delete(transaction);
    if (this.#session.user !== undefined)
      this.#options.quotas.giveBack(this.#session.user, transaction.recipients.size);
  }

  /** Whether mail goes to the MX of the domain: its destination is the domain itself then (deliver/router). */
  #isDirect(domain: string): boolean {
    return !domain.startsWith('[') && this.#options.router.destinationOf(domain) === domain;
  }
}
