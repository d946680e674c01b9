/** What people read in a notice of failure: what happened, whether it is tried again, and what the sender can do. */
import type { Recipient } from '../spool/envelope.ts';
import { type DeliveryStatus, formatDate, replyText } from './delivery-status.ts';
import { oneLine, wrap } from './line.ts';

export const explanation = ({ queueId, envelope, recipients, hostname }: DeliveryStatus): string =>
  [
    `This is the mail relay ${hostname}.`,
    '',
    ...wrap(
      `Your message could not be delivered to ${recipients.length === 1 ? 'the recipient' : `the ${recipients.length} recipients`} below. It will not be tried again.`,
    ),
    '',
    ...recipients.flatMap(fate),
    'What you can do:',
    '- Look for mistakes in the address, and send the message again to the right one.',
    '- If the address is right, the answer below it says what stood in the way. The',
    '  postmaster of the server that gave it can tell you more.',
    `- To ask about this relay, name the queue id ${queueId}.`,
    '',
    `The message arrived here on ${formatDate(envelope.arrivedMs)}.`,
    '',
  ].join('\r\n');

function fate({ address, state, lastReply }: Recipient): readonly string[] {
  const host = lastReply?.host === undefined ? undefined : oneLine(lastReply.host);
  const what =
    state === 'expired'
      ? `It could not be delivered in the time allowed${lastReply ? `; the last answer${host ? `, from ${host},` : ''} was:` : '.'}`
      : `${host ? `${host} refused it` : 'This relay could not send it on'}${lastReply ? ':' : '.'}`;
  return [
    `<${oneLine(address)}>`,
    ...indented(what),
    ...(lastReply ? indented(replyText(lastReply)).map((line) => `  ${line}`) : []),
    '',
  ];
}

const indented = (text: string): readonly string[] => wrap(text).map((line) => `  ${line}`);
