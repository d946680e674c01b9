/** The log: JSON lines on standard output, one per event of a message. */
import { pino } from 'pino';
import type { Observer } from './events.ts';
import { linesByTurn } from './lines.ts';

/** What the log can say; the metrics count the same events. */
export function createLog(base: Readonly<Record<string, unknown>>, out: NodeJS.WritableStream): Observer {
  const log = pino(
    {
      base,
      messageKey: 'message',
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (level) => ({ level }) },
    },
    linesByTurn(out),
  );
  return {
    message(event) {
      if (event.event === 'received') {
        const { envelope } = event;
        log.info({
          event: event.event,
          queueId: event.queueId,
          from: envelope.mailFrom,
          to: event.recipients,
          sizeBytes: envelope.sizeBytes,
          messageId: envelope.messageId,
          user: envelope.user,
          network: envelope.network,
          listener: envelope.listener,
          client: envelope.client?.address,
          tls: envelope.client?.tls,
        });
        return;
      }
      log.info(event);
    },
    session(event) {
      // Sessions that go well are counted, not written: the lines of their messages tell of them.
      if (event.event === 'rejected') log.info(event);
      else if (event.event === 'auth' && event.result === 'rejected') log.info(event);
    },
    // The reply of each recipient says what a host said, and which.
    host() {},
    log(level, message, fields) {
      log[level](fields ?? {}, message);
    },
  };
}
