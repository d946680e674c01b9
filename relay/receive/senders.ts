/** Who may send as whom. */
import type { Address } from './address.ts';
import type { SessionFacts } from './session.ts';

/**
 * Whether the session may use the address: a user those of its `senders`, an exempt network those of the relay's
 * MailDomains. Local parts compare without case, as nearly all servers do; subdomains are not included.
 */
export function maySendAs(session: SessionFacts, address: Address): boolean {
  const { config } = session;
  if (session.user === undefined) {
    const domain = session.network === undefined ? undefined : config.domains.get(address.domain);
    return domain !== undefined && domain.departed === undefined;
  }
  const senders = config.users.get(session.user)?.senders ?? [];
  const whole = comparable(`${address.local}@${address.domain}`);
  return senders.some((sender) => sender === `*@${address.domain}` || comparable(sender) === whole);
}

/** RFC 6532 3.1: a letter with its accent is the same in one character and in two. */
const comparable = (address: string): string => address.normalize('NFC').toLowerCase();
