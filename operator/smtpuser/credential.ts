/**
 * The credential of a user: the Secret that a client is given, and the one with the verifier, which only we read.
 *
 * The password is made once. Where the relay listens may change, so the Secret is written again with the password that
 * is there. The verifier has a Secret of its own: the client's holds exactly what clients know how to read. It is kept
 * and not derived at each reconcile, since its salt is random and the relay's config must not change without need.
 */
import { createHmac, randomBytes } from 'node:crypto';
import type { SmtpRelay } from '../../crds/smtprelay.ts';
import type { SmtpUser } from '../../crds/smtpuser.ts';
import type { Secret } from '../backend.ts';
import { ownerOf, ownership } from '../runtime/ownership.ts';
import type { SecretRecipe } from '../runtime/plan.ts';
import { credentialName, usernameOf, verifierName } from './names.ts';
import { makeVerifier, type Verifier } from './scram.ts';

export const CREDENTIAL = 'credential';
const VERIFIER = 'verifier';

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
export function credentialSecret(user: SmtpUser, endpoint: Endpoint, password: string): Secret {
  const username = usernameOf(user);
  const { host, tls, caCertificate } = endpoint;
  const port = String(endpoint.port);
  const scheme = tls === 'implicit' ? 'smtps' : 'smtp';
  const uri = `${scheme}://${encodeURIComponent(username)}:${encodeURIComponent(password)}@${host}:${port}`;
  return {
    ...credentialIdentity(user),
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

/** @param password of the Secret under a former name, which clients may still be using */
export function credentialRecipe(user: SmtpUser, endpoint: Endpoint, password: string | undefined): SecretRecipe {
  return {
    ...credentialIdentity(user),
    generate: async () => credentialSecret(user, endpoint, password ?? newPassword()).data,
  };
}

const credentialIdentity = (user: SmtpUser): Omit<Secret, 'data'> => ({
  namespace: user.metadata.namespace,
  name: credentialName(user),
  owner: ownerOf(user),
  purpose: CREDENTIAL,
  annotations: {},
});

/** Rounds for a password that was put into the Secret by hand, which may be a word. */
const ROUNDS_FOR_OTHERS = 100_000;
const OURS = /^[A-Za-z0-9_-]{43}$/;

export function verifierRecipe(user: SmtpUser, password: string): SecretRecipe {
  return {
    namespace: user.metadata.namespace,
    name: verifierName(user),
    owner: ownerOf(user),
    purpose: VERIFIER,
    annotations: {},
    generate: async () => {
      const verifier = await makeVerifier(password, OURS.test(password) ? {} : { iterations: ROUNDS_FOR_OTHERS });
      return { ...verifier, iterations: String(verifier.iterations), passwordDigest: digest(password, verifier.salt) };
    },
  };
}

/** The verifier that a Secret holds, if it is the user's and whole. */
export function readVerifier(user: SmtpUser, secret: Secret | undefined): Verifier | undefined {
  if (!secret || secret.purpose !== VERIFIER || ownership(secret, ownerOf(user)) !== 'Ours') return undefined;
  const { salt, storedKey, serverKey } = secret.data;
  const iterations = Number(secret.data.iterations);
  if (!salt || !storedKey || !serverKey || !Number.isInteger(iterations) || iterations < 4_096) return undefined;
  return { salt, iterations, storedKey, serverKey };
}

/** Whether the verifier was made from this password; asked at each reconcile, so without the rounds. */
export const verifies = (secret: Secret, password: string): boolean =>
  secret.data.passwordDigest === digest(password, secret.data.salt ?? '');

const digest = (password: string, salt: string): string =>
  createHmac('sha256', Buffer.from(salt, 'base64')).update(password).digest('base64');
