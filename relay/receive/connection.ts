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
const AUTH = 'auth ';

/** Ours start with an enhanced status code already. */
const ENHANCED = /^[245]\.\d{1,3}\.\d{1,3} /;

/** smtp-server's replies whose code or class is not what RFC 4954 says. */
const REPLACED: ReadonlyMap<number, string> = new Map([[538, '5.7.11 encryption required, issue STARTTLS first']]);

const DOT = 0x2e;
const LINE_WITH_DOT = Buffer.from('\n.');
const END = Buffer.from('\r\n.\r\n');
/** What may be the start of END at the end of a chunk. */
const HELD_BACK = END.length - 1;

/** Bounds what is held of a command line, and takes stuffed dots out of DATA without a turn of the loop for each. */
class CommandStream extends SMTPStream {
  /** Called when the end of a skipped line has come, with the first bytes of that line. */
  onskipped: (start: string) => void = () => {};
  #skipped: string | undefined;

  override _write(chunk: Buffer, encoding: BufferEncoding | 'buffer', next: (error?: Error | null) => void): void {
    const line = this.#skipped;
    if (line === undefined) {
      super._write(chunk, encoding, (error) => {
        this.#bound();
        next(error);
      });
      return;
    }
    const end = chunk.indexOf(LF);
    if (end < 0) {
      next();
      return;
    }
    this.#skipped = undefined;
    this.onskipped(line);
    this._write(chunk.subarray(end + 1), encoding, next);
  }

  #bound(): void {
    if (this._dataMode || this._remainder.length <= LONGEST_HELD) return;
    this.#skipped = this._remainder.slice(0, AUTH.length);
    this._remainder = '';
  }

  /** As its original, which waits for setImmediate at each stuffed dot: 1 MB/s for a message of such lines. */
  override _feedDataStream(chunk: Buffer, done: (error?: Error | null) => void): void {
    const data = this._lastBytes ? Buffer.concat([this._lastBytes, chunk]) : chunk;
    this._lastBytes = false;
    if (this._atDataStart && data.subarray(0, 3).equals(END.subarray(2))) {
      this._endDataMode(false, data.subarray(3), done);
      return;
    }
    let from = 0;
    if (this._atDataStart && data[0] === DOT && data[1] === DOT) {
      from = 1;
      this._atDataStart = false;
    }
    const pieces: Buffer[] = [];
    for (let lf = data.indexOf(LINE_WITH_DOT, from + 1); lf >= 0; lf = data.indexOf(LINE_WITH_DOT, lf + 1)) {
      const dot = lf + 1;
      if (dot >= data.length - 2) break;
      // The line end belongs to what a dot was taken from; two bytes of this line are needed before it.
      if (dot - 2 < from) continue;
      if (data.subarray(dot - 2, dot + 3).equals(END)) {
        pieces.push(data.subarray(from, dot));
        const content = joined(pieces);
        this._countDataBytes(content.length);
        this._endDataMode(content, data.subarray(dot + 3), done);
        return;
      }
      if (data[dot + 1] !== DOT) continue;
      pieces.push(data.subarray(from, dot));
      from = dot + 1;
    }
    const held = Math.max(from, data.length - HELD_BACK);
    this._lastBytes = data.subarray(held);
    if (held > from) pieces.push(data.subarray(from, held));
    this.#emit(joined(pieces), done);
  }

  #emit(content: Buffer, done: (error?: Error | null) => void): void {
    const stream = this._dataStream;
    this._countDataBytes(content.length);
    if (content.length === 0 || !stream?.writable || stream.write(content) || stream.destroyed) {
      done();
      return;
    }
    // A stream that is destroyed never drains, it only closes.
    const go = (): void => {
      stream.removeListener('drain', go);
      stream.removeListener('close', go);
      done();
    };
    stream.once('drain', go);
    stream.once('close', go);
  }
}

const joined = (pieces: readonly Buffer[]): Buffer =>
  pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces);

class RelayConnection extends SMTPConnection {
  #greeting = false;

  override init(): void {
    this._setListeners(() => this.connectionReady());
  }

  override _createParser(): SMTPStream {
    const parser = new CommandStream({ maxCommandLength: Number.POSITIVE_INFINITY });
    parser.oncommand = (command: Buffer, callback?: () => void) => this._onCommand(command, callback);
    parser.onskipped = (start) => this.#refuseLine(this.#isAuth(start));
    parser.on('error', () => this.close());
    return parser;
  }

  override _onCommand(command: Buffer, callback?: () => void): void {
    const auth = this.#isAuth(command.toString('latin1', 0, AUTH.length));
    if (command.length + 2 > (auth ? LONGEST_AUTH : LONGEST_COMMAND)) {
      this.#refuseLine(auth);
      callback?.();
      return;
    }
    super._onCommand(command, callback);
  }

  #isAuth(start: string): boolean {
    return this._nextHandler !== false || start.toLowerCase() === AUTH;
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
  hideENHANCEDSTATUSCODES: false,
  heloResponse: '%s',
};
