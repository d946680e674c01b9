/**
 * Where the admin API is served: on a unix socket, for whoever may open it; and where it is asked for, on a port of its
 * own, under TLS and with tokens.
 */
import { createServer } from 'node:https';
import type { ConfigSource, RelayConfig } from '../config/config.ts';
import type { Observer } from '../observe/events.ts';
import { HTTP_LIMITS, listenHttp, serveHttp } from '../observe/http.ts';
import { dispatcher } from './dispatch.ts';
import type { Caller, Route } from './route.ts';
import { type TokenFiles, Tokens } from './tokens.ts';

export interface NetworkFace {
  readonly host: string;
  readonly port: number;
  readonly tokens: TokenFiles;
}

export interface FacesOptions {
  readonly socket: string;
  readonly network?: NetworkFace;
  readonly routes: readonly Route[];
  readonly config: ConfigSource;
  readonly log: Observer['log'];
}

interface Serving {
  close(): Promise<void>;
}

/** A message that is handed over may take long as a whole; that its bytes go on coming is seen to by its route. */
const ADMIN_LIMITS = { ...HTTP_LIMITS, requestTimeout: 0 };

const ON_SOCKET: Caller = { role: 'operate', name: 'socket' };

/** @throws when an address is taken */
export async function serveAdmin({ socket, network, routes, config, log }: FacesOptions): Promise<Serving> {
  const problem = (error: unknown) => log('error', 'an HTTP request failed', { problem: String(error) });
  // The mode of the socket lets in the user who runs the relay, who could as well do anything to its spool.
  const here = dispatcher({ routes, authenticate: async () => ON_SOCKET, problem });
  const faces = [await serveHttp({ path: socket }, here, problem, ADMIN_LIMITS)];
  if (network) faces.push(await serveTls(network, routes, config, log, problem));
  return {
    close: async () => {
      await Promise.all(faces.map((face) => face.close()));
    },
  };
}

async function serveTls(
  { host, port, tokens: files }: NetworkFace,
  routes: readonly Route[],
  config: ConfigSource,
  log: Observer['log'],
  problem: (error: unknown) => void,
): Promise<Serving> {
  const tokens = new Tokens(files, log);
  const listener = dispatcher({ routes, authenticate: (request) => tokens.authenticate(request), problem });
  const server = createServer({ ...ADMIN_LIMITS, ...secureContext(config.current()) }, listener);
  const unsubscribe = config.onChange((next) => {
    try {
      server.setSecureContext(secureContext(next));
    } catch (error) {
      log('error', 'the admin API goes on with its former certificate', { problem: String(error) });
    }
  });
  // A handshake that fails is the client's matter.
  server.on('tlsClientError', () => {});
  const serving = await listenHttp(server, { host, port }, problem);
  return {
    close: () => {
      unsubscribe();
      return serving.close();
    },
  };
}

const secureContext = ({ certificates, settings }: RelayConfig) => ({
  cert: certificates.default.chain,
  key: certificates.default.key,
  minVersion: settings.tls.minVersion,
});
