import type { Observer } from './events.ts';

/** Tells the log and the metrics; what is for people alone goes to the log. */
export const both = (log: Observer, metrics: Observer): Observer => ({
  message(event) {
    log.message(event);
    metrics.message(event);
  },
  session(event) {
    log.session(event);
    metrics.session(event);
  },
  host(event) {
    log.host(event);
    metrics.host(event);
  },
  log: log.log,
});
