/** Gives the notice to a sender what it needs of config and routing. */
import { randomUUID } from 'node:crypto';
import type { ConfigSource } from '../config/config.ts';
import type { Failed, Router } from '../deliver/deliverer.ts';
import { domainOf } from '../deliver/router.ts';
import type { SpawnedMessage } from '../spool/spool.ts';
import { buildDsn } from './dsn.ts';

/**
 * A notice comes from the sender's own domain where it is one of ours, since only then it can be signed so that DMARC
 * passes; else from the relay.
 *
 * @returns undefined where none is due
 */
export const createDsn =
  (config: ConfigSource, router: Router) =>
  (failed: Failed): SpawnedMessage | undefined => {
    const { settings, domains } = config.current();
    const senderDomain = domainOf(failed.envelope.mailFrom);
    const domain = domains.get(senderDomain);
    return buildDsn({
      ...failed,
      id: randomUUID(),
      hostname: settings.hostname,
      fromDomain: domain?.domain ?? settings.hostname,
      ...(domain?.dkim.sign ? { signAs: domain.domain } : {}),
      destination: router.destinationOf(senderDomain),
    });
  };
