/** The fields that a relay adds to a message. */
import type { SessionFacts } from './session.ts';

/** RFC 5322 3.3, in UTC. */
export const formatDate = (ms: number): string => new Date(ms).toUTCString().replace('GMT', '+0000');

/** RFC 3848, and RFC 6531 4.3 for SMTPUTF8. */
function protocol({ extended, secure, user }: SessionFacts, smtputf8: boolean): string {
  if (!extended) return 'SMTP';
  return `${smtputf8 ? 'UTF8SMTP' : 'ESMTP'}${secure ? 'S' : ''}${user === undefined ? '' : 'A'}`;
}

/** What the client says it is called, made harmless: it is the client's text in our header. */
const named = (helo: string): string => helo.replace(/[^A-Za-z0-9.:[\]_-]/g, '?') || 'unknown';

/** RFC 5321 4.4: where the message came from, who took it, and under which queue id. No user names: they are read. */
export function receivedField(
  session: SessionFacts,
  facts: { readonly hostname: string; readonly queueId: string; readonly smtputf8: boolean; readonly nowMs: number },
): string {
  const address = session.clientAddress.includes(':') ? `IPv6:${session.clientAddress}` : session.clientAddress;
  return (
    `Received: from ${named(session.helo)} ([${address}])\r\n` +
    `\tby ${facts.hostname} (Chasqui) with ${protocol(session, facts.smtputf8)} id ${facts.queueId};\r\n` +
    `\t${formatDate(facts.nowMs)}\r\n`
  );
}
