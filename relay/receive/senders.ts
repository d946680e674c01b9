/** Who may send as whom. */
import type { Address } from './address.ts';
import type { SessionFacts } from './session.ts';

/**
 * Whether the session may use the address: a user those of its `senders`, an exempt network those of the relay's
 * MailDomains. Local parts compare without case, as nearly all servers do; subdomains are not included.
 */
export function maySendAs(session: SessionFacts, address: Address): boolean {
  const { config } = session;
  if (session.user === undefined) return session.network !== undefined && config.domains.has(address.domain);
  const senders = config.users.get(session.user)?.senders ?? [];
  const whole = `${address.local}@${address.domain}`.toLowerCase();
  return senders.some((sender) => sender === `*@${address.domain}` || sender.toLowerCase() === whole);
}
