/** Sends mail into a replica over SMTP, over sessions that go on: as fast as it is taken. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';

const SESSIONS = 20;
const CONTENT = `From: app@bench.test\r\nSubject: new\r\n\r\n${'all work and no play\r\n'.repeat(180)}.\r\n`;

/** @returns messages a second, from the first command to the last 250 */
export async function submit(port: number, messages: number): Promise<number> {
  const began = performance.now();
  let left = messages;
  let number = 0;
  await Promise.all(
    Array.from({ length: SESSIONS }, async () => {
      const session = await Session.open(port);
      while (left > 0) {
        left -= 1;
        number += 1;
        await session.send(`someone@n${number % 1000}.bench.test`);
      }
      await session.quit();
    }),
  );
  return messages / ((performance.now() - began) / 1000);
}

/** A client's session, in clear. */
export class Session {
  readonly #socket: Socket;
  #text = '';

  private constructor(socket: Socket) {
    this.#socket = socket.setEncoding('latin1').setNoDelay();
  }

  static async open(port: number, localAddress = '127.0.0.1'): Promise<Session> {
    const socket = connect({ port, host: '127.0.0.1', localAddress });
    await once(socket, 'connect');
    const session = new Session(socket);
    await session.#replies(1);
    socket.write('EHLO client.bench.test\r\n');
    await session.#replies(1);
    return session;
  }

  /** Resolves with the 250. */
  async send(to: string): Promise<void> {
    this.#socket.write(`MAIL FROM:<app@example.test>\r\nRCPT TO:<${to}>\r\nDATA\r\n`);
    await this.#replies(3);
    this.#socket.write(CONTENT.replace('app@bench.test', 'app@example.test'));
    await this.#replies(1);
  }

  async quit(): Promise<void> {
    this.#socket.removeAllListeners('data');
    this.#socket.end('QUIT\r\n');
    await text(this.#socket);
  }

  /** Waits for so many replies. @throws {Error} when one of them is a refusal */
  async #replies(count: number): Promise<void> {
    for (let missing = count; missing > 0; ) {
      const end = this.#text.indexOf('\r\n');
      if (end < 0) {
        const [chunk] = await once(this.#socket, 'data');
        this.#text += String(chunk);
        continue;
      }
      const line = this.#text.slice(0, end);
      this.#text = this.#text.slice(end + 2);
      if (/^[45]/.test(line)) throw new Error(`the relay says ${line}`);
      if (line[3] !== '-') missing -= 1;
    }
  }
}
