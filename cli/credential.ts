/** The credential of an SmtpUser, as a client that has only its Secret sees it. */
import type { SmtpUser } from '../crds/smtpuser.ts';
import { Failure } from './failure.ts';
import { readSecret, secretFolder } from './state-folder.ts';

export interface Credential {
  readonly host: string;
  readonly port: number;
  readonly username: string;
  readonly password: string;
  readonly tls: 'starttls' | 'implicit';
  /** PEM of the CA that the server's certificate is verified by. */
  readonly ca: string;
}

/**
 * The user that is asked for as NAME or NAME.NAMESPACE, or the only one there is.
 * @throws {Failure} when there is no such user, or a choice
 */
export function chooseUser(users: readonly SmtpUser[], asked: string | undefined): SmtpUser {
  const known = users.map(usernameOf).join(', ') || 'none';
  if (asked !== undefined) {
    const username = asked.includes('.') ? asked : `${asked}.default`;
    const found = users.find((user) => usernameOf(user) === username);
    if (found) return found;
    throw new Failure(`there is no SmtpUser ${username}; there are: ${known}`);
  }
  const [only, ...others] = users;
  if (only && others.length === 0) return only;
  throw new Failure(
    only ? `say by --user as whom to send: ${known}` : 'there is no SmtpUser; add one to the manifests',
  );
}

/** A name has no dot, so NAME.NAMESPACE is never ambiguous. */
const usernameOf = ({ metadata }: SmtpUser): string => `${metadata.name}.${metadata.namespace}`;

/** An address the user may send as: the first that is one, else `hello` of the first domain. */
export function defaultSender({ spec: { senders } }: SmtpUser): string {
  const [first = ''] = senders;
  return senders.find((sender) => !sender.startsWith('*@')) ?? first.replace(/^\*/, 'hello');
}

/** @throws {Failure} when the Secret is not there, with the reason where the user is not in force */
export async function credentialOf(state: string, user: SmtpUser): Promise<Credential> {
  const { secretName, conditions = [] } = user.status ?? {};
  if (secretName === undefined) {
    const refusal = conditions.find(({ type, status }) => type === 'Accepted' && status === 'False');
    throw new Failure(
      refusal
        ? `SmtpUser ${usernameOf(user)} is not in force: ${refusal.message}`
        : `SmtpUser ${usernameOf(user)} has no credential yet: is "chasqui standalone" running?`,
    );
  }
  return mountedCredential(secretFolder(state, { namespace: user.metadata.namespace, name: secretName }));
}

/**
 * What a program is given that has the Secret as a folder with a file for each key.
 * @throws {Failure} when something of it is missing
 */
export async function mountedCredential(folder: string): Promise<Credential> {
  const keys = ['host', 'port', 'username', 'password', 'tls', 'ca.crt'] as const;
  const { host, port, username, password, tls, 'ca.crt': ca } = await readSecret(folder, keys);
  if (!/^[0-9]{1,5}$/.test(port) || (tls !== 'starttls' && tls !== 'implicit')) {
    throw new Failure(`Secret ${folder} has no port or tls that this version understands`);
  }
  return { host, port: Number(port), username, password, tls, ca };
}
