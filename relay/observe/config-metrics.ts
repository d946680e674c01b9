/** Which config is in force, and whether the one that should be is. */
import type { RelayConfig } from '../config/config.ts';
import type { Catalogue } from './catalogue.ts';

/** What is asked at each scrape. */
export interface ConfigState {
  current(): Pick<RelayConfig, 'hash' | 'rejected'>;
  /** Why the folder is not what is in force; undefined: it is. */
  readonly problem: string | undefined;
  /** Since when it is in force, milliseconds since 1970. */
  readonly sinceMs: number;
}

export function configMetrics(catalogue: Catalogue, config: ConfigState): void {
  catalogue.gauge(
    {
      name: 'chasqui_config_info',
      help: 'Always 1; its label names the config in force.',
      question: 'Do all replicas go by the same config?',
      unit: '0 or 1',
      labels: { hash: 'that of the config in force; one at a time' },
    },
    () => [[{ hash: config.current().hash }, 1]],
  );
  catalogue.gauge(
    {
      name: 'chasqui_config_last_reload_successful',
      help: 'Whether the config that was last seen is in force (1), or was refused and the one before goes on (0).',
      question: 'Does an edit have no effect?',
      unit: '0 or 1',
    },
    () => [[{}, config.problem === undefined ? 1 : 0]],
  );
  catalogue.gauge(
    {
      name: 'chasqui_config_last_reload_success_timestamp_seconds',
      help: 'Since when the config in force is, in seconds since 1970.',
      question: 'When did the last edit take effect?',
      unit: 'seconds',
    },
    () => [[{}, config.sinceMs / 1_000]],
  );
  catalogue.gauge(
    {
      name: 'chasqui_config_rejected_entries',
      help: 'Domains, users and certificates of the config in force that were left out, since they are wrong.',
      question: 'Is a domain or a user missing that should be there?',
      unit: 'entries',
    },
    () => [[{}, config.current().rejected.length]],
  );
}
