/** What a session is answered, and what is told of it: each refusal is counted and logged. */
import type { Observer, SessionEvent } from '../observe/events.ts';
import type { Channel } from './channel.ts';
import type { Rejection } from './policy.ts';
import * as replies from './replies.ts';
import type { Session } from './session.ts';

type Stage = Extract<SessionEvent, { event: 'rejected' }>['stage'];

/** Between two messages; a client that only guesses is sent away. */
const ERRORS = 10;

export class Answers {
  readonly #channel: Channel;
  readonly #session: Session;
  readonly #observer: Observer;
  readonly #listener: string;
  #errors = 0;

  constructor(channel: Channel, session: Session, observer: Observer, listener: string) {
    this.#channel = channel;
    this.#session = session;
    this.#observer = observer;
    this.#listener = listener;
  }

  accept(code: number, enhanced: string, text: string): undefined {
    this.#channel.reply(code, `${enhanced} ${text}`);
    return undefined;
  }

  refuse(stage: Stage, rejection: Rejection, about: { mailFrom?: string; recipient?: string } = {}): undefined {
    const { code, enhanced, text, reason } = rejection;
    const line = enhanced === '' ? text : `${enhanced} ${text}`;
    const { user } = this.#session;
    this.#observer.session({
      event: 'rejected',
      listener: this.#listener,
      stage,
      reason,
      reply: `${code} ${line}`,
      client: this.#channel.clientAddress,
      ...(user === undefined ? {} : { user }),
      ...about,
    });
    this.#channel.reply(code, line);
    // RFC 5321 3.8: 421 says that the connection ends.
    if (code === 421) this.#channel.close();
    return undefined;
  }

  /** For what a client does only by mistake or in bad faith. */
  countError(rejection: Rejection): undefined {
    this.#errors += 1;
    return this.refuse('command', this.#errors > ERRORS ? replies.TOO_MANY_ERRORS : rejection);
  }

  /** For what no mail client does: the next error is the last. */
  lastError(rejection: Rejection): undefined {
    this.#errors = ERRORS;
    return this.countError(rejection);
  }

  /** A message was taken: errors count anew. */
  forgive(): void {
    this.#errors = 0;
  }

  /** A fault of ours: the client may try again, and the operator has to know. */
  failed(error: unknown): undefined {
    const problem = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#observer.log('error', 'a command failed', { problem });
    return this.refuse('command', replies.INTERNAL_ERROR);
  }
}
