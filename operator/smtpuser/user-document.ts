/** What relays are told of a user. */
import type { SmtpUser } from '../../crds/smtpuser.ts';
import type { UserDocument } from '../../relay/config/documents.ts';
import { usernameOf } from './names.ts';
import { grantedSenders } from './policies.ts';
import type { Verifiers } from './verifier.ts';

/** What is not limited stands nowhere: a relay that does not know the field yet goes on as it should. */
export function userDocument(user: SmtpUser, verifiers: Verifiers): UserDocument {
  const { quota, allowedNetworks, suspended } = user.spec;
  return {
    username: usernameOf(user),
    senders: grantedSenders(user),
    ...verifiers,
    ...(Object.keys(quota).length > 0 && { quota }),
    ...(allowedNetworks.length > 0 && { allowedNetworks: [...allowedNetworks].sort() }),
    ...(suspended && { suspended }),
  };
}
