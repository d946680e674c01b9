/**
 * Asks replicas how they are, by their admin API: over the network, under TLS that is verified by the relay's own CA, by
 * the token of those who may look. Only so many are asked at a time.
 */
import { Agent, get } from 'node:https';
import { ADMIN_PORT } from './children/identity.ts';
import { type ReplicaReport, replicaReport } from './replica-report.ts';

/** Where a replica is, and how both sides know each other. */
export interface ReplicaAddress {
  readonly ip: string;
  /** The certificate must be for this name. */
  readonly serverName: string;
  /** PEM: the only CA that it may be of. */
  readonly ca: string;
  readonly token: string;
}

export interface ReplicaClient {
  /** @throws {Error} when the replica does not answer, or not as it should */
  status(address: ReplicaAddress, signal: AbortSignal): Promise<ReplicaReport>;
  /** Resolves once its config is another than the one of this hash, and after some seconds in any case. */
  configChange(address: ReplicaAddress, not: string, signal: AbortSignal): Promise<void>;
}

/** Part of the admin API (relay/admin/tokens.ts). */
const TOKEN_HEADER = 'X-Chasqui-Token';

const ASKED_AT_ONCE = 64;
const TIMEOUT_MS = 5_000;
const WAIT_SECONDS = 5;
const ANSWER_LIMIT_BYTES = 1024 * 1024;

/** @param port for tests, where replicas share an address */
export function replicaClient(port = ADMIN_PORT): ReplicaClient {
  const agent = new Agent({ keepAlive: true, maxTotalSockets: ASKED_AT_ONCE, maxFreeSockets: 8 });
  const ask = (address: ReplicaAddress, path: string, timeoutMs: number, signal: AbortSignal): Promise<string> => {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const { ip: host, serverName: servername, ca, token } = address;
    const options = {
      ...{ host, port, path, servername, ca, agent },
      headers: { [TOKEN_HEADER]: token },
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    };
    get(options, (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > ANSWER_LIMIT_BYTES) response.destroy(new Error('its answer is too long'));
        else chunks.push(chunk);
      });
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 200) resolve(Buffer.concat(chunks).toString('utf8'));
        else reject(new Error(`it answers ${response.statusCode}`));
      });
    }).on('error', reject);
    return promise;
  };
  return {
    status: async (address, signal) => replicaReport(await ask(address, '/v1/status', TIMEOUT_MS, signal)),
    configChange: async (address, not, signal) => {
      const path = `/v1/config?not=${not}&wait=${WAIT_SECONDS}s`;
      await ask(address, path, WAIT_SECONDS * 1_000 + TIMEOUT_MS, signal);
    },
  };
}
