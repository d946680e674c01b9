/** What the relays of a cluster share: the API, copies of what is in it, and what the operator was told. */

import type { ObjectKey } from '../../../crds/resource.ts';
import type { SmtpRelay } from '../../../crds/smtprelay.ts';
import type { Events } from '../../backend.ts';
import type { KubernetesApi } from './api.ts';
import type { Copies } from './copies.ts';
import type { ReplicaClient } from './replica-client.ts';

export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface Cluster {
  readonly api: KubernetesApi;
  readonly copies: Pick<Copies, 'get' | 'of' | 'wrote'>;
  readonly relay: (key: ObjectKey) => SmtpRelay | undefined;
  readonly client: ReplicaClient;
  readonly events: Events;
  /** Image of relays that name none. */
  readonly image: string;
  /** Where the operator runs, if in this cluster. */
  readonly operatorNamespace: string | undefined;
  /** A name that the certificate of the relay's own CA is for. */
  readonly serverName: (key: ObjectKey) => string;
  readonly log: Log;
  /** Milliseconds since 1970. */
  readonly nowMs: () => number;
}
