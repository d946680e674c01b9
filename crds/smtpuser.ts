/** SmtpUser: who may send, and where the credential is kept. */
import Type from 'typebox';
import { relayRef } from './allowed-namespaces.ts';
import * as common from './common.ts';
import type { KindDefinition, Resource } from './resource.ts';

const recipients = (description: string) => Type.Optional(Type.Integer({ description, minimum: 1, maximum: 1e9 }));

export const SmtpUserSpec = Type.Object(
  {
    relayRef: relayRef('The relay this user sends through.'),
    senders: Type.Array(
      Type.String({
        description: 'A mail address, or *@DOMAIN for all addresses of a domain.',
        minLength: 3,
        maxLength: 320,
        pattern: '^[^@\\s]+@[^@\\s]+$',
      }),
      {
        description: 'Addresses this user may send as; subdomains are not included.',
        minItems: 1,
        maxItems: 100,
        'x-kubernetes-list-type': 'set',
      },
    ),
    secret: common.section('The Secret with the credential.', {
      name: Type.Optional(
        Type.String({
          description: 'Name of the Secret that is written; by default the name of the user with -smtp.',
          minLength: 1,
          maxLength: 253,
          pattern: '^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$',
        }),
      ),
    }),
    passwordSecretRef: Type.Optional(
      Type.Object(
        { name: common.secretName('Name of a Secret with password, in this namespace.') },
        { description: 'A password of your own; left out: one is made.' },
      ),
    ),
    passwordRotation: common.section('What happens when annotation chasqui.dev/rotate-password gets another value.', {
      overlap: common.duration('How long the password before is taken beside the new one.', '24h'),
    }),
    quota: common.section(
      'How much the user may send through all replicas together; what is over is refused for the time being.',
      {
        recipientsPerHour: recipients('Recipients of messages taken within any hour.'),
        recipientsPerDay: recipients('Recipients of messages taken within any 24 hours.'),
      },
    ),
    allowedNetworks: Type.Array(common.network, {
      description: 'Networks the user may send from; none: from anywhere.',
      maxItems: 32,
      default: [],
      'x-kubernetes-list-type': 'set',
    }),
    suspended: Type.Boolean({
      description: 'The user may not send for now; its credential and its queued mail stay.',
      default: false,
    }),
  },
  { description: 'What the user may do.' },
);
export type SmtpUserSpec = Type.Static<typeof SmtpUserSpec>;

export const SmtpUserStatus = Type.Object(
  {
    observedGeneration: Type.Optional(common.observedGeneration),
    conditions: Type.Optional(common.conditions),
    username: Type.Optional(Type.String({ description: 'The name to authenticate with.' })),
    previousPasswordUntil: Type.Optional(
      Type.String({ description: 'Until then the password before is taken too.', format: 'date-time' }),
    ),
    secretName: Type.Optional(Type.String({ description: 'The Secret that holds the credential.' })),
  },
  { description: 'What the user is.' },
);
export type SmtpUserStatus = Type.Static<typeof SmtpUserStatus>;

export type SmtpUser = Resource<'SmtpUser', SmtpUserSpec, SmtpUserStatus>;

export const SmtpUser: KindDefinition = {
  kind: 'SmtpUser',
  plural: 'smtpusers',
  shortNames: ['su'],
  description: 'A sender: its credential, and the addresses it may send as.',
  maxNameLength: 63,
  spec: SmtpUserSpec,
  status: SmtpUserStatus,
  immutable: [],
  columns: [
    { name: 'Relay', jsonPath: '.spec.relayRef.name', description: 'The relay this user sends through.' },
    { name: 'Secret', jsonPath: '.status.secretName', description: 'The Secret that holds the credential.' },
  ],
};
