/** Writes `metrics.md` from what a relay and the operator declare. */
import { operatorMetrics } from '../operator/metrics.ts';
import type { Documented } from '../relay/observe/catalogue.ts';
import { createMetrics } from '../relay/observe/metrics.ts';

const INTRODUCTION = `# Metrics

<!-- Generated from relay/observe/metrics.ts and operator/metrics.ts by "npm run generate". Do not edit. -->

Each replica of a relay serves its metrics for Prometheus at \`/metrics\` of its monitoring port (\`monitoring.port\`; on
one machine replica i has that port + i). They count since the replica started: sum rates over the replicas. No label has
a value that a client or a destination chooses, but for \`destination\`, of which so many are told: their number is
bounded.

\`chasqui operator\` serves its own, which are [below](#the-operator), at \`--metrics-bind-address\`.
`;

const OF_THE_OPERATOR = `## The operator

Of its controllers and its requests under the names that controller-runtime and client-go use, so that dashboards and
alerts for any operator show this one.
`;

const refuse = (): never => {
  throw new Error('there is no relay');
};
const NOTHING = {
  spool: { stats: async () => refuse(), health: refuse },
  config: { current: refuse, problem: undefined, sinceMs: 0 },
  now: () => 0,
};

/** What a relay exposes, in the order of its page. */
export const declarations = (): readonly Documented[] => createMetrics(NOTHING).declarations;

/** What `chasqui operator` exposes. */
export const operatorDeclarations = (): readonly Documented[] =>
  operatorMetrics({
    ...{ objects: { list: () => [] }, keptKeys: () => [], leading: () => false },
    ...{ nowMs: () => 0, elapsedMs: () => 0 },
  }).declarations;

/** The reference as one Markdown page. */
export const metricsReference = (): string =>
  [
    INTRODUCTION,
    ...declarations().map((each) => section(each, '##')),
    OF_THE_OPERATOR,
    ...operatorDeclarations().map((each) => section(each, '###')),
  ].join('\n');

const section = (
  { name, type, unit, help, question, labels }: Documented,
  heading: string,
): string => `${heading} ${name}

*${question}*

${help} A ${type}, in ${unit}.
${labels ? `\n${labelList(labels)}\n` : ''}`;

const labelList = (labels: NonNullable<Documented['labels']>): string =>
  Object.entries(labels)
    .map(([label, values]) => `- \`${label}\`: ${typeof values === 'string' ? values : values.map(code).join(', ')}`)
    .join('\n');

const code = (text: string): string => `\`${text}\``;
