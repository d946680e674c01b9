/** The destination of all mail of the benchmark: takes every message at once and keeps none of them. */
import { EventEmitter, once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';

export class Sink implements AsyncDisposable {
  /** Messages taken. */
  taken = 0;
  /** It accepts connections and says nothing. */
  silent = false;
  /** Emits `taken`. */
  readonly changed = new EventEmitter();
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor() {
    this.#server = createServer({ noDelay: true }, (socket) => this.#serve(socket));
  }

  static async start(): Promise<Sink> {
    const sink = new Sink();
    sink.#server.listen(0, '127.0.0.1', 1024);
    await once(sink.#server, 'listening');
    return sink;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the sink does not listen');
    return address.port;
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
    if (this.silent) return;
    let text = '';
    let inData = false;
    socket.write('220 sink.bench.test ESMTP\r\n');
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      text += chunk;
      let replies = '';
      for (;;) {
        const end = text.indexOf(inData ? '\r\n.\r\n' : '\r\n');
        if (end < 0) break;
        if (inData) {
          text = text.slice(end + 5);
          inData = false;
          this.taken += 1;
          this.changed.emit('taken');
          replies += '250 2.0.0 Taken\r\n';
          continue;
        }
        const verb = text.slice(0, 4).toUpperCase();
        text = text.slice(end + 2);
        inData = verb === 'DATA';
        replies += REPLIES.get(verb) ?? '250 2.0.0 OK\r\n';
      }
      if (replies !== '') socket.write(replies);
      if (replies.endsWith('Bye\r\n')) socket.end();
    });
  }
}

const REPLIES: ReadonlyMap<string, string> = new Map([
  [
    'EHLO',
    '250-sink.bench.test\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n',
  ],
  ['DATA', '354 Go ahead\r\n'],
  ['QUIT', '221 2.0.0 Bye\r\n'],
]);
