/** The fields that a relay adds to a message. */
import type { SessionFacts } from './session.ts';

/** RFC 5322 3.3, in UTC. */
export const formatDate = (ms: number): string => new Date(ms).toUTCString().replace('GMT', '+0000');

/** RFC 3848, and RFC 6531 4.3 for SMTPUTF8. */
function withKeyword(session: SessionFacts, smtputf8: boolean): string {
  const suffix = `${session.secure ? 'S' : ''}${session.user === undefined ? '' : 'A'}`;
  return smtputf8 ? `UTF8SMTP${suffix}` : `ESMTP${suffix}`;
}

/** What the client says it is called, made harmless: it is the client's text in our header. */
const named = (helo: string): string => helo.replace(/[^A-Za-z0-9.:[\]_-]/g, '?').slice(0, 255) || 'unknown';

/** RFC 5321 4.4: where the message came from, who took it, and under which queue id. */
export function receivedField(
  session: SessionFacts,
  facts: { readonly hostname: string; readonly queueId: string; readonly smtputf8: boolean; readonly nowMs: number },
): string {
  const address = session.clientAddress.includes(':') ? `IPv6:${session.clientAddress}` : session.clientAddress;
  return (
    `Received: from ${named(session.helo)} ([${address}])\r\n` +
    `\tby ${facts.hostname} (Chasqui) with ${withKeyword(session, facts.smtputf8)} id ${facts.queueId};\r\n` +
    `\t${formatDate(facts.nowMs)}\r\n`
  );
}
