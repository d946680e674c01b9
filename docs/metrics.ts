/** Writes `metrics.md` from what a relay declares. */
import type { Documented } from '../relay/observe/catalogue.ts';
import { createMetrics } from '../relay/observe/metrics.ts';

const INTRODUCTION = `# Metrics

<!-- Generated from relay/observe/metrics.ts by "npm run generate". Do not edit. -->

Each replica of a relay serves its metrics for Prometheus at \`/metrics\` of its monitoring port (\`monitoring.port\`; on
one machine replica i has that port + i). They count since the replica started: sum rates over the replicas. No label has
a value that a client or a destination chooses, so their number is bounded.
`;

const refuse = (): never => {
  throw new Error('there is no queue');
};
const NO_QUEUE = { stats: async () => refuse(), health: refuse };

/** What a relay exposes, in the order of its page. */
export const declarations = (): readonly Documented[] => createMetrics(NO_QUEUE, () => 0).declarations;

/** The reference as one Markdown page. */
export const metricsReference = (): string => [INTRODUCTION, ...declarations().map(section)].join('\n');

const section = ({ name, type, unit, help, question, labels }: Documented): string => `## ${name}

*${question}*

${help} A ${type}, in ${unit}.
${labels ? `\n${labelList(labels)}\n` : ''}`;

const labelList = (labels: NonNullable<Documented['labels']>): string =>
  Object.entries(labels)
    .map(([label, values]) => `- \`${label}\`: ${typeof values === 'string' ? values : values.map(code).join(', ')}`)
    .join('\n');

const code = (text: string): string => `\`${text}\``;
