/** AUTH within one session (RFC 4954): the lines of an exchange, what they are answered, and failures that add up. */
import type { Authenticator, AuthResult } from './authenticator.ts';
import { clientNetwork } from './networks.ts';
import { USER } from './policies.ts';
import { judge, type Rejection } from './policy.ts';
import * as replies from './replies.ts';
import { type Credentials, type Exchange, MECHANISMS } from './sasl.ts';
import type { SessionFacts } from './session.ts';

/** challenge: for 334, the client goes on. user: who it is from now on. */
export type AuthAnswer = { readonly challenge: string } | { readonly user: string } | Rejection;

export interface AuthenticationOptions {
  readonly authenticator: Authenticator;
  /** Resolves after so many milliseconds. */
  readonly delay: (ms: number) => Promise<void>;
  /** Told of each password that was looked at. */
  readonly onResult: (mechanism: string, result: 'accepted' | 'rejected') => void;
}

const MOST_FAILURES = 5;

export class Authentication {
  readonly #options: AuthenticationOptions;
  #exchange: { readonly mechanism: string; readonly next: Exchange } | undefined;
  #failures = 0;

  constructor(options: AuthenticationOptions) {
    this.#options = options;
  }

  /** The next line of the client belongs to it. */
  get inProgress(): boolean {
    return this.#exchange !== undefined;
  }

  /** The line that came could not be read. */
  breakOff(): void {
    this.#exchange = undefined;
  }

  begin(argument: string, session: SessionFacts): AuthAnswer | Promise<AuthAnswer> {
    const [name = '', initial, ...rest] = argument.split(/ +/);
    const mechanism = name.toUpperCase();
    const exchange = MECHANISMS.get(mechanism);
    if (exchange === undefined) return replies.UNKNOWN_MECHANISM;
    if (rest.length > 0) return replies.BAD_ARGUMENT;
    this.#exchange = { mechanism, next: exchange() };
    // RFC 4954 4: "=" is an initial response of no bytes.
    return this.step(initial === '=' ? '' : initial, session);
  }

  /** Takes a line of the exchange that is in progress; undefined where AUTH came without an initial response. */
  step(response: string | undefined, session: SessionFacts): AuthAnswer | Promise<AuthAnswer> {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    if (response === '*' || exchange === undefined) return replies.AUTH_CANCELLED;
    const step = exchange.next(response);
    if ('challenge' in step) {
      this.#exchange = exchange;
      return step;
    }
    if ('credentials' in step) return this.#check(exchange.mechanism, step.credentials, session);
    return step.failed === 'malformed' ? replies.AUTH_MALFORMED : this.#failed(exchange.mechanism, 'rejected');
  }

  async #check(mechanism: string, credentials: Credentials, session: SessionFacts): Promise<AuthAnswer> {
    const { authenticator, delay, onResult } = this.#options;
    const client = clientNetwork(session.clientAddress);
    const user = credentials.username;
    const result = await authenticator.check(session.config.users, { client, ...credentials });
    if (result === 'rejected' || result === 'limited') await delay(authenticator.delayMs(client));
    if (result !== 'accepted') return this.#failed(mechanism, result);
    // Told only to who knows the password.
    const verdict = judge(USER, { ...session, user });
    onResult(mechanism, verdict ? 'rejected' : 'accepted');
    return verdict ?? { user };
  }

  #failed(mechanism: string, result: Exclude<AuthResult, 'accepted'>): Rejection {
    this.#options.onResult(mechanism, 'rejected');
    if (result === 'busy') return replies.AUTH_BUSY;
    this.#failures += 1;
    if (this.#failures >= MOST_FAILURES) return replies.TOO_MANY_AUTH_FAILURES;
    return result === 'limited' ? replies.AUTH_LIMITED : replies.WRONG_CREDENTIALS;
  }
}
