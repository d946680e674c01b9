/**
 * The ports of all relays of this machine. Each is bound once and never listened on here: replicas are handed the socket
 * and listen. So while a replica is replaced the port stays open and connections wait for the next one.
 *
 * Two sockets may be bound to one port as long as neither listens (SO_REUSEADDR, which libuv sets so that a port can be
 * taken again while old connections are in TIME_WAIT): who holds what among our own relays is known here.
 */
import net from 'node:net';

/** A port that cannot be had now. */
export class PortProblem extends Error {
  override readonly name = 'PortProblem';
  readonly reason: 'AddressInUse' | 'AddressNotAvailable' | 'AddressForbidden';

  constructor(reason: PortProblem['reason'], message: string) {
    super(message);
    this.reason = reason;
  }
}

export class Ports {
  readonly #addresses: readonly string[];
  readonly #held = new Map<number, { readonly socket: net.Socket; readonly holder: string }>();

  /** @param listenAddress IP address; by default all of this machine, `::` and with it IPv4, or 0.0.0.0 without IPv6 */
  constructor(listenAddress?: string) {
    this.#addresses = listenAddress === undefined ? ['::', '0.0.0.0'] : [listenAddress];
  }

  /**
   * Binds a port for the holder, or returns the socket it has.
   * @throws {PortProblem} when another program or another holder has it, or it may not be bound
   */
  bind(port: number, holder: string): net.Socket {
    const held = this.#held.get(port);
    if (held && held.holder !== holder) {
      throw new PortProblem('AddressInUse', `port ${port} is used by SmtpRelay ${held.holder}: choose another port`);
    }
    const socket = held?.socket ?? this.#open(port);
    this.#held.set(port, { socket, holder });
    return socket;
  }

  /** Closes what the holder has beyond the ports it still uses. Connections to a closed port are refused. */
  keepOnly(used: ReadonlySet<number>, holder: string): void {
    for (const [port, held] of this.#held) {
      if (held.holder !== holder || used.has(port)) continue;
      held.socket.destroy();
      this.#held.delete(port);
    }
  }

  /** As a net.Socket, which is never read here: that can be sent to other processes and kept. */
  #open(port: number): net.Socket {
    let problem: PortProblem | undefined;
    for (const host of this.#addresses) {
      try {
        return new net.Socket({ handle: new net.BoundSocket({ host, port }) });
      } catch (error) {
        problem = problemOf(error, host, port);
        // Only a machine without IPv6 is a reason to try IPv4 alone.
        if (problem.reason !== 'AddressNotAvailable') break;
      }
    }
    throw problem ?? new RangeError('no address to bind');
  }
}

function problemOf(error: unknown, host: string, port: number): PortProblem {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'EADDRINUSE':
      return new PortProblem(
        'AddressInUse',
        `port ${port} is used by another program: stop it, or choose another port`,
      );
    case 'EACCES':
    case 'EPERM':
      return new PortProblem('AddressForbidden', `port ${port} may not be bound by this user: choose one above 1023`);
    case 'EADDRNOTAVAIL':
    case 'EAFNOSUPPORT':
      return new PortProblem('AddressNotAvailable', `this machine has no address ${host} for port ${port}`);
    default:
      throw error;
  }
}
