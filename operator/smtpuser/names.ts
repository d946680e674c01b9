/** What a user and its Secrets are called. */
import type { SmtpUser } from '../../crds/smtpuser.ts';

/** What the client authenticates as. */
export const usernameOf = ({ metadata }: SmtpUser): string => `${metadata.name}.${metadata.namespace}`;

/** The Secret that a client is given. */
export const credentialName = ({ metadata, spec }: SmtpUser): string => spec.secret.name ?? `${metadata.name}-smtp`;

/** The Secret that only we read. */
export const verifierName = ({ metadata }: SmtpUser): string => `${metadata.name}-verifier`;
