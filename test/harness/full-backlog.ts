/** A port whose queue of connections is full: the kernel drops what else knocks, as a firewall does. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** Node accepts whatever comes, so it is Python that does not. */
const LISTEN = `
import socket, sys
server = socket.socket()
server.bind(('127.0.0.1', 0))
server.listen(0)
print(server.getsockname()[1], flush=True)
sys.stdin.read()
`;
const FILL = 4;

export class FullBacklog implements AsyncDisposable {
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #sockets: readonly Socket[];

  private constructor(port: number, child: ChildProcess) {
    this.port = port;
    this.#child = child;
    this.#sockets = Array.from({ length: FILL }, () => connect(port, '127.0.0.1').on('error', () => {}));
  }

  static async start(): Promise<FullBacklog> {
    const child = spawn('python3', ['-c', LISTEN], { stdio: ['pipe', 'pipe', 'inherit'] });
    const [line] = await once(child.stdout, 'data', { signal: AbortSignal.timeout(20_000) });
    return new FullBacklog(Number(String(line)), child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    const ended = once(this.#child, 'exit');
    this.#child.stdin?.end();
    await ended;
  }
}
