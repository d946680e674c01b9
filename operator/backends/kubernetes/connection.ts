/**
 * Where the API server is and who we are there: a kubeconfig, or the service account of the pod. Connections are kept
 * and reused; each watch has one of its own, so none of them waits for another.
 */
import { KubeConfig } from '@kubernetes/client-node';
import { Agent } from 'undici';

/** Requests at the same time, watches aside. Four workers and a few Reflectors ask no more. */
const CONNECTIONS = 8;
/** Idle connections live longer than the lease's renewals are apart (ms). */
const KEEP_ALIVE_MS = 60_000;
const CONNECT_TIMEOUT_MS = 5_000;

export interface Connection {
  readonly server: URL;
  /** For requests, and for watches. */
  readonly requests: Agent;
  readonly watches: Agent;
  /** Read anew for each request: tokens are rotated. */
  credentials(): Promise<Readonly<Record<string, string>>>;
  close(): Promise<void>;
}

/** The part of request options that a KubeConfig fills in. */
interface Filled {
  headers: Record<string, string>;
  ca?: Buffer | string;
  cert?: Buffer | string;
  key?: Buffer | string;
  pfx?: Buffer | string;
  passphrase?: string;
  rejectUnauthorized?: boolean;
  servername?: string;
}

/**
 * @param file a kubeconfig; without it $KUBECONFIG, the service account of the pod or ~/.kube/config, in this order
 * @throws {Error} when there is none, or it cannot be read
 */
export async function connect(file: string | undefined): Promise<Connection> {
  const config = new KubeConfig();
  if (file !== undefined) config.loadFromFile(file);
  else if (process.env.KUBECONFIG === undefined && process.env.KUBERNETES_SERVICE_HOST !== undefined) {
    config.loadFromCluster();
  } else config.loadFromDefault();
  const cluster = config.getCurrentCluster();
  if (!cluster) throw new Error('the kubeconfig names no cluster: set its current-context');

  const { headers: _, ...tls } = await filledIn(config);
  const agent = (connections: number | null): Agent =>
    new Agent({
      connections,
      connect: { ...tls, timeout: CONNECT_TIMEOUT_MS },
      allowH2: false,
      keepAliveTimeout: KEEP_ALIVE_MS,
      pipelining: 1,
    });
  const requests = agent(CONNECTIONS);
  const watches = agent(null);
  return {
    server: new URL(cluster.server),
    requests,
    watches,
    credentials: async () => (await filledIn(config)).headers,
    close: async () => {
      await Promise.all([requests.destroy(), watches.destroy()]);
    },
  };
}

async function filledIn(config: KubeConfig): Promise<Filled> {
  const filled: Filled = { headers: {} };
  await config.applyToHTTPSOptions(filled);
  const { headers, ca, cert, key, pfx, passphrase, rejectUnauthorized, servername } = filled;
  const user = config.getCurrentUser();
  const password = user?.username ? basic(user.username, user.password ?? '') : {};
  return {
    headers: { ...headers, ...password },
    ...(ca && { ca }),
    ...(cert && { cert }),
    ...(key && { key }),
    ...(pfx && { pfx }),
    ...(passphrase && { passphrase }),
    ...(rejectUnauthorized !== undefined && { rejectUnauthorized }),
    ...(servername && { servername }),
  };
}

const basic = (user: string, password: string): Record<string, string> => ({
  Authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`,
});
