/** One message from DATA to the spool: 250 follows only once commit has resolved. */
import { domainOf } from '../deliver/router.ts';
import type { Envelope } from '../spool/envelope.ts';
import { type Accepted, type Intake, type NewDelivery, SpoolUnavailable } from '../spool/spool.ts';
import { type ContentFacts, ContentReader } from './content.ts';
import type { Rejection } from './policy.ts';
import type { ReceiverOptions } from './receiver.ts';
import { INTERNAL_ERROR, spoolRejection } from './replies.ts';
import type { SessionFacts } from './session.ts';

/** What MAIL and RCPT agreed on. */
export interface Transaction {
  /** '' is the null sender; as it goes on. */
  readonly mailFrom: string;
  readonly smtputf8: boolean;
  /** As they go on, each once: the local part as given, the domain as lower-case A-labels. */
  readonly recipients: ReadonlySet<string>;
}

export type MessageOptions = Pick<ReceiverOptions, 'spool' | 'observer' | 'quotas' | 'router' | 'onAccepted' | 'now'>;

export class IncomingMessage {
  readonly #options: MessageOptions;
  readonly #session: SessionFacts;
  readonly #transaction: Transaction;
  readonly #intake: Intake;
  readonly #reader: ContentReader;
  #ended = false;

  /** @throws {SpoolUnavailable} */
  constructor(options: MessageOptions, session: SessionFacts, transaction: Transaction) {
    this.#options = options;
    this.#session = session;
    this.#transaction = transaction;
    const intake = options.spool.open();
    this.#intake = intake;
    this.#reader = new ContentReader({
      queueId: intake.queueId,
      session,
      smtputf8: transaction.smtputf8,
      nowMs: options.now(),
      write: (chunk) => intake.write(chunk),
    });
  }

  /** It is refused, and the client goes on sending all the same. */
  get isEndless(): boolean {
    return this.#reader.isEndless;
  }

  /** Takes content without dot-stuffing; a promise asks to wait. */
  push(chunk: Buffer): Promise<void> | undefined {
    return this.#reader.push(chunk);
  }

  /** All of it has come. Resolves with the message, durable by then, or with why it is refused. */
  async end(): Promise<Accepted | Rejection> {
    this.#ended = true;
    const content = this.#reader.end();
    if ('code' in content) {
      await this.#intake.abort();
      return content;
    }
    const { observer, quotas, onAccepted } = this.#options;
    const { queueId } = this.#intake;
    const recipients = [...this.#transaction.recipients];
    const envelope = this.#envelope(content);
    const user = this.#session.user === undefined ? undefined : this.#session.config.users.get(this.#session.user);
    const usage = user && quotas.usage(user, recipients.length);
    let accepted: Accepted;
    try {
      accepted = await this.#intake.commit(envelope, this.#deliveries(recipients), usage);
    } catch (error) {
      const unavailable = error instanceof SpoolUnavailable;
      const problem = unavailable ? error.message : String(error);
      observer.log('error', 'a message was not taken', { queueId, problem });
      return unavailable ? spoolRejection(error) : INTERNAL_ERROR;
    }
    this.#afterCommit(() => usage && quotas.count(usage));
    this.#afterCommit(() => observer.message({ event: 'received', queueId, envelope, recipients }));
    this.#afterCommit(() => onAccepted(accepted));
    return accepted;
  }

  /** The message is ours whatever fails now: a client that is told so sends it again, and it would arrive twice. */
  #afterCommit(step: () => void): void {
    try {
      step();
    } catch (error) {
      const problem = error instanceof Error ? (error.stack ?? error.message) : String(error);
      const { queueId } = this.#intake;
      this.#options.observer.log('error', 'a message was taken, and a step behind that failed', { queueId, problem });
    }
  }

  /** The client went away: nothing is kept of a message that is not complete. */
  abort(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#intake.abort().catch((error: unknown) => {
      this.#options.observer.log('error', 'cannot drop an incomplete message', { problem: String(error) });
    });
  }

  /** One delivery for each destination. */
  #deliveries(recipients: readonly string[]): readonly NewDelivery[] {
    const { router } = this.#options;
    const groups = Map.groupBy(recipients, (address) => router.destinationOf(domainOf(address)));
    return [...groups].map(([destination, addresses]) => ({
      destination,
      recipients: addresses.map((address) => ({ address, state: 'queued' as const })),
    }));
  }

  #envelope(content: ContentFacts): Envelope {
    const { listener, clientAddress, helo, tls, user, network } = this.#session;
    return {
      version: 1,
      mailFrom: this.#transaction.mailFrom,
      smtputf8: this.#transaction.smtputf8,
      ...content,
      arrivedMs: this.#options.now(),
      // A user counts as itself wherever it comes from.
      ...(user === undefined ? (network === undefined ? {} : { network }) : { user }),
      listener: listener.name,
      client: { address: clientAddress, helo, ...(tls === undefined ? {} : { tls }) },
    };
  }
}
