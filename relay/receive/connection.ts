/**
 * Bends smtp-server to what a relay needs; the only file that knows its inside. Pinned to one version for that reason.
 *
 * What differs from it: no wait before the greeting, AUTH offered under TLS only, one enhanced status code in each
 * reply, over-long lines answered instead of the session cut, and none of its joke commands.
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { SMTPConnection } from 'smtp-server/lib/smtp-connection.js';
import { SMTPStream } from 'smtp-server/lib/smtp-stream.js';

/** RFC 5321 4.5.3.1.4 asks for 512 octets and more for extensions. */
const LONGEST_COMMAND = 2_048;
/** RFC 4954 4. */
const LONGEST_AUTH = 12_288;
/** What is held of a line whose end has not come; beyond it the line is skipped unread. */
const LONGEST_HELD = 64 * 1024;
const LF = 0x0a;

/** Ours start with an enhanced status code already. */
const ENHANCED = /^[245]\.\d{1,3}\.\d{1,3} /;

/** smtp-server's replies whose code or class is not what RFC 4954 says. */
const REPLACED: ReadonlyMap<number, string> = new Map([[538, '5.7.11 encryption required, issue STARTTLS first']]);

/** Skips the rest of a line that is too long to hold, then goes on. */
class CommandStream extends SMTPStream {
  /** Called when the end of a skipped line has come. */
  onskipped: () => void = () => {};
  #skipping = false;

  // Without an error the stream goes on with what follows.
  override _commandTooLong(): Error {
    this._remainder = '';
    this.#skipping = true;
    return undefined as unknown as Error;
  }

  override _write(chunk: Buffer, encoding: BufferEncoding | 'buffer', next: (error?: Error | null) => void): void {
    if (!this.#skipping) {
      super._write(chunk, encoding, next);
      return;
    }
    const end = chunk.indexOf(LF);
    if (end < 0) {
      next();
      return;
    }
    this.#skipping = false;
    this.onskipped();
    super._write(chunk.subarray(end + 1), encoding, next);
  }
}

class RelayConnection extends SMTPConnection {
  #greeting = false;

  override init(): void {
    this._setListeners(() => this.connectionReady());
  }

  override _createParser(): SMTPStream {
    const parser = new CommandStream({ maxCommandLength: LONGEST_HELD });
    parser.oncommand = (command: Buffer, callback?: () => void) => this._onCommand(command, callback);
    parser.onskipped = () => this.#refuseLine(true);
    parser.on('error', () => this.close());
    return parser;
  }

  override _onCommand(command: Buffer, callback?: () => void): void {
    const auth = this._nextHandler !== false || /^auth /i.test(command.subarray(0, 5).toString('latin1'));
    if (command.length + 2 > (auth ? LONGEST_AUTH : LONGEST_COMMAND)) {
      this.#refuseLine(auth);
      callback?.();
      return;
    }
    super._onCommand(command, callback);
  }

  #refuseLine(auth: boolean): void {
    this._nextHandler = false;
    this.send(500, auth ? '5.5.6 authentication line too long' : '5.5.2 command line too long');
  }

  override handler_EHLO(command: Buffer, callback: () => void): void {
    // RFC 4954 4: AUTH is not offered where a password would pass in clear.
    this.#greeting = !this.secure;
    super.handler_EHLO(command, callback);
    this.#greeting = false;
  }

  override _isSupported(command: string): boolean {
    return !(this.#greeting && command === 'AUTH') && super._isSupported(command);
  }

  override send(code: number, data?: string | string[] | null, context?: string | false): void {
    const text = REPLACED.get(code) ?? data;
    super.send(code, text, typeof text === 'string' && ENHANCED.test(text) ? false : context);
  }

  /** Ends the session with 421 unless a message is in hand. */
  closeWhenIdle(text: string): void {
    if (!this._dataStream && !this._handlerPending) this.send(421, text);
  }
}

export class RelayServer extends SMTPServer {
  readonly #sessions = new Set<RelayConnection>();

  override connect(socket: Socket | TLSSocket): void {
    const connection = new RelayConnection(this, socket);
    this.connections.add(connection);
    this.#sessions.add(connection);
    socket.once('close', () => this.#sessions.delete(connection));
    connection.on('error', () => {});
    connection.init();
  }

  closeIdle(text: string): void {
    for (const session of this.#sessions) session.closeWhenIdle(text);
  }

  get sessions(): number {
    return this.connections.size;
  }

  /** Cuts what is left. */
  cut(): void {
    for (const session of this.#sessions) session._socket.destroy();
  }
}

export type RelayServerOptions = SMTPServerOptions;

/** What every listener has in common. */
export const BASE_OPTIONS: RelayServerOptions = {
  logger: false,
  disableReverseLookup: true,
  // Policies judge who may send, with better words; smtp-server only runs the SASL dialogue.
  authOptional: true,
  authMethods: ['PLAIN', 'LOGIN'],
  disabledCommands: ['WIZ', 'SHELL', 'KILL', 'XCLIENT', 'XFORWARD'],
  hideREQUIRETLS: true,
  heloResponse: '%s',
};
