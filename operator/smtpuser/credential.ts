/**
 * The credential of a user: the Secret that a client is given. The password is made once, and again when that is asked
 * for. Where the relay listens may change, so the Secret is written again with the password that is there.
 */
import { randomBytes } from 'node:crypto';
import type { SmtpRelay } from '../../crds/smtprelay.ts';
import type { SmtpUser } from '../../crds/smtpuser.ts';
import type { Secret } from '../backend.ts';
import { ownerOf } from '../runtime/ownership.ts';
import type { SecretRecipe } from '../runtime/plan.ts';
import { credentialName, usernameOf } from './names.ts';

export const CREDENTIAL = 'credential';

/** How a client reaches the relay. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
  readonly tls: 'implicit' | 'starttls';
  /** PEM: what the client verifies the server's certificate with. */
  readonly caCertificate: string;
}

/** Port and TLS for clients: of the first Submissions listener, else of the first Submission listener that wants TLS. */
export function endpointListener({ spec }: SmtpRelay): Pick<Endpoint, 'port' | 'tls'> | undefined {
  const implicit = spec.listeners.find(({ protocol }) => protocol === 'Submissions');
  if (implicit) return { port: implicit.port, tls: 'implicit' };
  const starttls = spec.listeners.find(({ protocol, tls }) => protocol === 'Submission' && tls === 'Required');
  return starttls && { port: starttls.port, tls: 'starttls' };
}

/**
 * 256 random bits, in characters that need no escaping in a shell, a URI or an env file. One that began with "-" would
 * be an option to programs that are given it as an argument, such as swaks.
 */
export function newPassword(): string {
  const password = randomBytes(32).toString('base64url');
  return password.startsWith('-') ? newPassword() : password;
}

/** The Secret of a client: Service Binding keys to mount, and variables for envFrom. */
export function credentialSecret(
  user: SmtpUser,
  endpoint: Endpoint,
  { password, rotation }: { readonly password: string; readonly rotation: string | undefined },
): Secret {
  const username = usernameOf(user);
  const { host, tls, caCertificate } = endpoint;
  const port = String(endpoint.port);
  const scheme = tls === 'implicit' ? 'smtps' : 'smtp';
  const uri = `${scheme}://${encodeURIComponent(username)}:${encodeURIComponent(password)}@${host}:${port}`;
  return {
    ...credentialIdentity(user, rotation),
    data: {
      host,
      port,
      username,
      password,
      uri,
      tls,
      'ca.crt': caCertificate,
      type: 'smtp',
      provider: 'chasqui',
      SMTP_HOST: host,
      SMTP_PORT: port,
      SMTP_USERNAME: username,
      SMTP_PASSWORD: password,
      SMTP_URL: uri,
      SMTP_TLS: tls,
    },
  };
}

/**
 * @param password the one to have; left out: a new one
 * @param rotation the value of the user's annotation for which it is
 */
export function credentialRecipe(
  user: SmtpUser,
  endpoint: Endpoint,
  { password, rotation }: { readonly password?: string | undefined; readonly rotation: string | undefined },
): SecretRecipe {
  return {
    ...credentialIdentity(user, rotation),
    generate: async () => credentialSecret(user, endpoint, { password: password ?? newPassword(), rotation }).data,
  };
}

/** Of a Secret: the value of the annotation of the user for which its password was made. */
export const ROTATION = 'rotation';
const credentialIdentity = (user: SmtpUser, rotation: string | undefined): Omit<Secret, 'data'> => ({
  namespace: user.metadata.namespace,
  name: credentialName(user),
  owner: ownerOf(user),
  purpose: CREDENTIAL,
  annotations: rotation === undefined ? {} : { [ROTATION]: rotation },
});
