/**
 * Where the sockets of listeners come from. In a pod each is bound by the process itself. Replicas on one machine share
 * theirs: a supervisor binds them and hands them over by the IPC channel, whenever a replica asks, so that listeners
 * change, and a drained replica returns, without another process. Connections wait at the socket, not at a replica; it is
 * open for as long as anybody has a descriptor of it. docs/decisions/0003-shared-sockets.md argues why.
 */
import { Socket } from 'node:net';
import Type from 'typebox';
import Schema from 'typebox/schema';

/** What a server can listen on: an address, or a socket that is bound to one. */
export type Where = { readonly port: number; readonly host?: string } | Socket;

export interface Sockets {
  /** Others listen on them too: what this process does not take, they do. */
  readonly shared: boolean;
  /** @throws when the port cannot be had now */
  take(port: number): Promise<Where>;
  /** What was taken is closed. */
  closed(port: number): void;
}

/** @param host by default all addresses of this machine */
export const ownSockets = (host?: string): Sockets => ({
  shared: false,
  take: async (port) => ({ port, ...(host !== undefined && { host }) }),
  closed() {},
});

const Answer = Schema.Compile(
  Type.Object({ port: Type.Integer({ minimum: 1, maximum: 65_535 }), problem: Type.Optional(Type.String()) }),
);

/** The side of this process of the channel to its supervisor. */
export type Channel = Pick<NodeJS.Process, 'send' | 'on'>;

export class HandedSockets implements Sockets {
  readonly shared = true;
  readonly #channel: Channel;
  readonly #asked = new Map<number, PromiseWithResolvers<Socket>>();

  constructor(channel: Channel) {
    this.#channel = channel;
    channel.on('message', (message: unknown, handle: unknown) => this.#answered(message, handle));
    channel.on('disconnect', () => {
      for (const { reject } of this.#asked.values()) reject(new Error('the supervisor is gone'));
      this.#asked.clear();
    });
  }

  take(port: number): Promise<Socket> {
    const asked = this.#asked.get(port);
    if (asked) return asked.promise;
    const answer = Promise.withResolvers<Socket>();
    this.#asked.set(port, answer);
    this.#say('take', port);
    return answer.promise;
  }

  closed(port: number): void {
    this.#say('closed', port);
  }

  #say(socket: 'take' | 'closed', port: number): void {
    // A channel that closes is told by its own event.
    this.#channel.send?.({ socket, port }, undefined, undefined, () => undefined);
  }

  /**
   * Node takes what comes for a connection and starts to read it: whoever asked has to listen before the event loop
   * turns, in microtasks, since reading a socket that is not connected fails and closes it.
   */
  #answered(message: unknown, handle: unknown): void {
    if (!Answer.Check(message)) return;
    const { port, problem } = message;
    const asked = this.#asked.get(port);
    this.#asked.delete(port);
    if (!(handle instanceof Socket)) {
      asked?.reject(new Error(problem ?? `the supervisor handed over nothing for port ${port}`));
      return;
    }
    handle.on('error', () => undefined);
    asked?.resolve(handle);
  }
}
