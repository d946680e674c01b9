/** Writes the CRD of each kind beside its source, and into the Helm chart: `npm run generate`. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dump } from 'js-yaml';
import { withImmutable, withRules } from './cel.ts';
import { GROUP, NAME_PATTERN, VERSION } from './common.ts';
import { KINDS } from './kinds.ts';
import type { KindDefinition } from './resource.ts';
import { structural } from './structural.ts';

/** CustomResourceDefinition of a kind (apiextensions.k8s.io/v1). */
export function crd(definition: KindDefinition): object {
  const { kind, plural, shortNames, description, maxNameLength, scale } = definition;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${GROUP}` },
    spec: {
      group: GROUP,
      names: { kind, listKind: `${kind}List`, plural, singular: kind.toLowerCase(), shortNames },
      scope: 'Namespaced',
      versions: [
        {
          name: VERSION,
          served: true,
          storage: true,
          subresources: {
            status: {},
            ...(scale && {
              scale: {
                specReplicasPath: `.spec.${scale.replicas}`,
                statusReplicasPath: `.status.${scale.replicas}`,
                labelSelectorPath: `.status.${scale.selector}`,
              },
            }),
          },
          additionalPrinterColumns: columns(definition),
          schema: {
            openAPIV3Schema: {
              description,
              type: 'object',
              required: ['spec'],
              properties: {
                apiVersion: { description: `${GROUP}/${VERSION}.`, type: 'string' },
                kind: { description: `${kind}.`, type: 'string' },
                // Kubernetes allows nothing here but restrictions of the name, not even a description.
                metadata: {
                  type: 'object',
                  properties: { name: { type: 'string', maxLength: maxNameLength, pattern: NAME_PATTERN } },
                },
                spec: definition.immutable.reduce(withImmutable, withRules(kind, structural(definition.spec))),
                status: structural(definition.status),
              },
            },
          },
        },
      ],
    },
  };
}

const condition = (field: string): string => `.status.conditions[?(@.type=="Ready")].${field}`;

/** What `kubectl get` shows beside the name; with `-o wide` all of it. */
const columns = (definition: KindDefinition): readonly object[] => [
  { name: 'Ready', type: 'string', jsonPath: condition('status'), description: 'Whether it does what it should.' },
  ...definition.columns.map((column) => ({ type: 'string', ...column })),
  { name: 'Status', type: 'string', jsonPath: condition('reason'), description: 'Why, in one word.' },
  { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp', description: 'Since when it exists.' },
  { name: 'Message', type: 'string', jsonPath: condition('message'), description: 'Why, and what to do.', priority: 1 },
];

export const crdFile = ({ plural }: KindDefinition): string => `${GROUP}_${plural}.yaml`;

/** Text of the CRD's file. */
export const crdYaml = (definition: KindDefinition): string =>
  `# Generated from crds/${definition.kind.toLowerCase()}.ts by "npm run generate". Do not edit.\n${dump(
    crd(definition),
    { lineWidth: 120, noRefs: true, quoteStyle: 'double' },
  )}`;

if (import.meta.main) {
  for (const folder of ['.', '../charts/chasqui/files/crds']) {
    for (const definition of KINDS) {
      await writeFile(join(import.meta.dirname, folder, crdFile(definition)), crdYaml(definition));
    }
  }
}
