/** Grants across namespaces: who may refer to an object that is not theirs. */
import Type from 'typebox';
import * as common from './common.ts';
import { labelSelector } from './label-selector.ts';

export const allowedNamespaces = (description: string) =>
  common.section(description, {
    from: common.oneOf(['Same', 'All', 'Selector'], {
      description: 'Same: the namespace of this object. All: any. Selector: this one, and those whose labels match.',
      default: 'Same',
    }),
    selector: Type.Optional(labelSelector('Labels of the namespaces that are meant by Selector.')),
  });

export type AllowedNamespaces = Type.Static<ReturnType<typeof allowedNamespaces>>;

/** A reference to an SmtpRelay. */
export const relayRef = (description: string) =>
  Type.Object(
    {
      namespace: Type.Optional(
        common.objectName('Its namespace, where it is another one; that relay must allow ours in allowedNamespaces.'),
      ),
      name: common.objectName('Name of an SmtpRelay.', 40),
    },
    { description },
  );

export type RelayRef = Type.Static<ReturnType<typeof relayRef>>;
