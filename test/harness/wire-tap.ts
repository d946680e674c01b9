/** A destination that is as simple as can be and keeps what it is sent as it is on the wire, dots stuffed and all. */
import { EventEmitter, once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';

const END_OF_DATA = '\r\n.\r\n';
/** The CRLF of the DATA command begins the end of an empty message (RFC 5321 4.1.1.4). */
const BEFORE = '\r\n';

export class WireTap implements AsyncDisposable {
  /** From the reply to DATA to the end of data, this included; latin1. */
  readonly messages: string[] = [];
  /** Whatever was no content, line by line. */
  readonly commands: string[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #changed = new EventEmitter().setMaxListeners(0);

  private constructor() {
    this.#server = createServer({ noDelay: true }, (socket) => this.#serve(socket));
  }

  static async start(): Promise<WireTap> {
    const tap = new WireTap();
    tap.#server.listen(0, '127.0.0.1');
    await once(tap.#server, 'listening');
    return tap;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the tap does not listen');
    return address.port;
  }

  async received(count: number): Promise<readonly string[]> {
    const signal = AbortSignal.timeout(20_000);
    while (this.messages.length < count) await once(this.#changed, 'message', { signal });
    return this.messages;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.write('220 tap.test\r\n');
    let input = '';
    let inData = false;
    socket.on('data', (chunk: Buffer) => {
      input += chunk.toString('latin1');
      for (let length = lengthOf(input, inData); length > 0; length = lengthOf(input, inData)) {
        const part = input.slice(0, length);
        input = input.slice(length);
        if (inData) this.#take(part, socket);
        else this.#answer(part.slice(0, -2), socket);
        inData = part === 'DATA\r\n' && !inData;
      }
    });
  }

  #take(message: string, socket: Socket): void {
    this.messages.push(message);
    socket.write('250 2.0.0 Taken\r\n');
    this.#changed.emit('message');
  }

  #answer(command: string, socket: Socket): void {
    this.commands.push(command);
    if (command === 'QUIT') socket.end('221 Bye\r\n');
    else if (command === 'DATA') socket.write('354 Go ahead\r\n');
    else socket.write(command.startsWith('EHLO') ? EHLO : '250 OK\r\n');
  }
}

/** Of the message or command that the input begins with; 0 where it is not complete. */
function lengthOf(input: string, inData: boolean): number {
  if (!inData) return input.includes('\r\n') ? input.indexOf('\r\n') + 2 : 0;
  const end = `${BEFORE}${input}`.indexOf(END_OF_DATA);
  return end < 0 ? 0 : end - BEFORE.length + END_OF_DATA.length;
}

const EHLO = '250-tap.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n';

/** How the most lenient server would count the messages: each of CRLF, CR and LF is a line end, and NUL is dropped. */
export const endsOf = (wire: string): number =>
  wire
    .replaceAll('\0', '')
    .split(/\r\n|\r|\n/)
    .filter((line) => line === '.').length;

export const BARE_LINE_END = /\r(?!\n)|(?<!\r)\n/;
