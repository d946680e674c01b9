/**
 * How a peer is reached: where replicas share a machine by a unix socket, which only they may open; over the network
 * by TLS with a certificate of the relay's own CA, and a token that all replicas are started with.
 */
import { lookup as systemLookup } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { type ClientRequest, Agent as HttpAgent, request as httpRequest, type RequestOptions } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { LookupFunction } from 'node:net';
import { TOKEN_HEADER } from '../admin/tokens.ts';
import type { ConfigSource } from '../config/config.ts';

/** It did not answer, or not as it should: what it was asked to do may have been done. */
export class PeerUnreachable extends Error {
  override readonly name = 'PeerUnreachable';
}

/** Begins a request; its errors are told to whoever listens by then. */
export type Begin = (
  options: Omit<RequestOptions, 'headers'> & { readonly headers: Readonly<Record<string, string | number>> },
) => ClientRequest;

export interface Transport {
  /** @throws {PeerUnreachable} when it is not known where or how to ask */
  to(ordinal: number): Promise<Begin>;
  close(): void;
}

export interface TransportOptions {
  readonly config: Pick<ConfigSource, 'current'>;
  /** File of the token by which a peer over the network lets this replica in. */
  readonly tokenFile?: string;
  /** By default as programs of this machine see a host. */
  readonly lookup?: LookupFunction;
}

const AGENT = { keepAlive: true, maxSockets: 8 };

/** Asks the config for each request: an edit is followed at once. */
export function createTransport({ config, tokenFile, lookup = sharedLookup() }: TransportOptions): Transport {
  const local = new HttpAgent(AGENT);
  const network = new HttpsAgent(AGENT);
  return {
    async to(ordinal) {
      const { socket, host, port, ca } = config.current().peers ?? {};
      const of = (pattern: string): string => pattern.replaceAll('{ordinal}', String(ordinal));
      if (socket !== undefined) {
        return (options) => httpRequest({ ...options, agent: local, socketPath: of(socket) });
      }
      if (host === undefined || port === undefined || ca === undefined) {
        const named = config.current().peers !== undefined;
        throw new PeerUnreachable(
          named ? 'the config names peers in a form of a later version' : 'the config names no peers',
        );
      }
      const secret = await token(tokenFile);
      // Nobody but this CA is trusted, whatever the system trusts, and the name is checked too.
      const trust = { ca, minVersion: 'TLSv1.3' as const, rejectUnauthorized: true };
      return (options) => {
        const headers = { ...options.headers, [TOKEN_HEADER]: secret };
        return httpsRequest({ ...options, ...trust, agent: network, host: of(host), port, lookup, headers });
      };
    },
    close() {
      local.destroy();
      network.destroy();
    },
  };
}

/** Read each time, as the peer does: a token that was changed is in force at once. */
async function token(file: string | undefined): Promise<string> {
  if (file === undefined) throw new PeerUnreachable('peers are reached by a token, and this replica was given none');
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (error) {
    throw new PeerUnreachable(`the token for peers cannot be read: ${String(error)}`);
  }
}

/**
 * A lookup that nobody answers cannot be ended, and holds one of few threads: who asks for the same host meanwhile waits
 * for the same answer. None is kept, since a pod that comes back has another address.
 */
function sharedLookup(): LookupFunction {
  const asked = new Map<string, ReturnType<typeof addressesOf>>();
  return (host, options, callback) => {
    const answer = asked.get(host) ?? addressesOf(host).finally(() => asked.delete(host));
    asked.set(host, answer);
    answer.then(
      (addresses) => {
        if (options.all) callback(null, addresses);
        else callback(null, addresses[0]?.address ?? '', addresses[0]?.family);
      },
      (error: unknown) => callback(error instanceof Error ? error : new Error(String(error)), []),
    );
  };
}

const addressesOf = (host: string) => systemLookup(host, { all: true });
