/** Makes the message that tells a sender of a failure, ready to be committed with the outcome that causes it. */
import type { ConfigSource } from '../config/config.ts';
import type { Failed, Router } from '../deliver/deliverer.ts';
import { domainOf } from '../deliver/router.ts';
import { BodyHash } from '../sign/body-hash.ts';
import type { SpawnedMessage } from '../spool/spool.ts';
import { dsnContent, wantsFailure } from './dsn.ts';

/**
 * A notice comes from the sender's own domain where it is one of ours, since only then it can be signed.
 *
 * @returns undefined where none is due: the null sender (RFC 5321 6.1), or nobody wants to know (RFC 3461)
 */
export const createDsn =
  (config: ConfigSource, router: Router) =>
  ({ queueId, envelope, recipients, headers, nowMs }: Failed): SpawnedMessage | undefined => {
    const reported = recipients.filter(wantsFailure);
    if (envelope.mailFrom === '' || reported.length === 0) return undefined;
    const { settings, domains } = config.current();
    const senderDomain = domainOf(envelope.mailFrom);
    const domain = domains.get(senderDomain);
    const { header, body } = dsnContent({
      queueId,
      envelope,
      recipients: reported,
      headers,
      hostname: settings.hostname,
      fromDomain: domain?.domain ?? settings.hostname,
      nowMs,
    });
    const hash = new BodyHash();
    hash.update(body);
    const content = Buffer.concat([header, body]);
    return {
      envelope: {
        version: 1,
        mailFrom: '',
        smtputf8: envelope.smtputf8,
        // All ASCII unless an address is not: a next hop without 8BITMIME takes it.
        bodyType: envelope.smtputf8 ? '8BITMIME' : '7BIT',
        arrivedMs: nowMs,
        sizeBytes: content.length,
        ...(domain?.dkim.sign ? { signAs: domain.domain } : {}),
        bodyHash: hash.digest(),
        headerBytes: header.length,
      },
      content,
      deliveries: [
        {
          destination: router.destinationOf(senderDomain),
          recipients: [{ address: envelope.mailFrom, state: 'queued', notify: ['NEVER'] }],
        },
      ],
    };
  };
