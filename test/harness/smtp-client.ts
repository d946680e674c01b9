/**
 * An SMTP client that says exactly what a test tells it to, byte for byte.
 *
 * ```ts
 * await using client = await SmtpClient.connect(port);
 * assert.equal(await client.say('NOOP'), '250 2.0.0 still here');
 * ```
 */
import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';

/** Longer than anything that a test waits for takes on a busy machine. */
const WAIT_MS = 20_000;

export class SmtpClient implements AsyncDisposable {
  /** What the server said first, where it spoke. */
  greeting = '';
  #socket: Socket | TLSSocket;
  #text = '';
  #ended = false;
  readonly #heard = new EventEmitter();
  /** Pieces in which the server's bytes arrived. */
  readonly pieces: string[] = [];

  private constructor(socket: Socket | TLSSocket) {
    this.#socket = socket;
    this.#listen(socket);
  }

  /** Connects and waits for the greeting. */
  static async connect(
    port: number,
    options: { readonly implicitTls?: boolean; readonly host?: string; readonly from?: string } = {},
  ): Promise<SmtpClient> {
    const { implicitTls = false, host = '127.0.0.1', from } = options;
    const socket = connect({ host, port, ...(from === undefined ? {} : { localAddress: from }) });
    await once(socket, 'connect');
    const client = new SmtpClient(implicitTls ? await secured(socket) : socket);
    client.greeting = await client.reply();
    return client;
  }

  get socket(): Socket | TLSSocket {
    return this.#socket;
  }

  /** Sends a line and resolves with the reply, its lines joined by \n. */
  async say(line: string): Promise<string> {
    this.send(`${line}\r\n`);
    return await this.reply();
  }

  /** Says lines in turn, each of which has to be answered with the given start. */
  async talk(...lines: readonly (readonly [say: string, expected: string])[]): Promise<void> {
    for (const [line, expected] of lines) {
      const reply = await this.say(line);
      assert.ok(reply.startsWith(expected), `${line}: ${reply} instead of ${expected}`);
    }
  }

  /**
   * Plays a dialogue, line by line: `C: LINE` is said, `S: START` is how a reply starts, `S: (end)` the end of the
   * connection. No reply may have two enhanced codes.
   */
  async play(dialogue: string): Promise<void> {
    let said = 'nothing';
    for (const line of dialogue.split('\n').map((text) => text.trimStart())) {
      if (line.startsWith('C:')) {
        said = line.slice(3);
        this.send(`${said}\r\n`);
      } else if (line === 'S: (end)') {
        assert.equal(await this.ended(), '', 'nothing more is said');
      } else if (line.startsWith('S:')) {
        const reply = await this.reply();
        const expected = line.slice(3);
        assert.ok(reply.startsWith(expected), `${said}: ${reply} instead of ${expected}`);
        assert.doesNotMatch(reply, /^\d{3} \d\.\d+\.\d+ \d\.\d+\.\d+/, 'one enhanced code only');
      }
    }
  }

  send(bytes: string | Buffer): void {
    this.#socket.write(bytes);
  }

  /** The next reply. Rejects when the connection ends before it is complete. */
  async reply(): Promise<string> {
    for (;;) {
      const match = /^(?:\d{3}-.*\r\n)*\d{3} .*\r\n/.exec(this.#text);
      if (match) {
        this.#text = this.#text.slice(match[0].length);
        return match[0].trimEnd().replaceAll('\r\n', '\n');
      }
      if (this.#ended) throw new Error(`the connection ended; left was ${JSON.stringify(this.#text)}`);
      await once(this.#heard, 'more', { signal: AbortSignal.timeout(WAIT_MS) });
    }
  }

  /** Resolves with what was still said once the server has ended the connection. */
  async ended(): Promise<string> {
    while (!this.#ended) await once(this.#heard, 'more', { signal: AbortSignal.timeout(WAIT_MS) });
    return this.#text;
  }

  /** STARTTLS, and EHLO under it. */
  async startTls(): Promise<string> {
    assert.match(await this.say('EHLO client.test'), /^250-/);
    assert.match(await this.say('STARTTLS'), /^220 2\.0\.0 /);
    this.#socket.removeAllListeners();
    this.#socket = await secured(this.#socket);
    this.#listen(this.#socket);
    return await this.say('EHLO client.test');
  }

  async authenticate(username: string, password: string): Promise<string> {
    return await this.say(`AUTH PLAIN ${base64(`\0${username}\0${password}`)}`);
  }

  /** Content, dot-stuffed here, and the line that ends it. */
  async content(text: string): Promise<string> {
    const stuffed = text.replace(/^\./gm, '..');
    this.send(Buffer.from(`${stuffed}.\r\n`, 'latin1'));
    return await this.reply();
  }

  /** Ends the connection without a word. */
  drop(): void {
    this.#socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
  }

  #listen(socket: Socket | TLSSocket): void {
    socket.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString('utf8');
      this.pieces.push(chunk.toString('utf8'));
      this.#heard.emit('more');
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#ended = true;
      this.#heard.emit('more');
    });
  }
}

export const base64 = (text: string): string => Buffer.from(text).toString('base64');

async function secured(socket: Socket): Promise<TLSSocket> {
  const secure = connectTls({ socket, rejectUnauthorized: false });
  await once(secure, 'secureConnect');
  return secure;
}
