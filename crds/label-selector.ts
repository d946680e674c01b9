/** Label selectors, in the spelling of Kubernetes: metav1.LabelSelector, and the expressions of node selectors. */
import Type from 'typebox';
import * as common from './common.ts';

const labelValues = Type.Array(Type.String({ description: 'A value.', maxLength: 63 }), {
  description: 'Values; none for Exists and DoesNotExist.',
  maxItems: 32,
});

const expression = (description: string, operators: string[]) =>
  Type.Object(
    {
      key: Type.String({ description: 'A label.', minLength: 1, maxLength: 317 }),
      operator: common.oneOf(operators, { description: 'How the value is compared.' }),
      values: Type.Optional(labelValues),
    },
    { description },
  );

export const expressions = (description: string, operators: string[]) =>
  Type.Array(expression('A condition.', operators), { description, maxItems: 16 });

export const SET_OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'];

export const labelSelector = (description: string) =>
  Type.Object(
    {
      matchLabels: common.optionalMap('Labels that must have this value.', 16),
      matchExpressions: Type.Optional(expressions('Conditions that must hold too.', SET_OPERATORS)),
    },
    { description },
  );

/** What a selector holds once it is accepted. */
export type LabelSelector = Type.Static<ReturnType<typeof labelSelector>>;
