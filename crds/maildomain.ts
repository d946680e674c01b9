/** MailDomain: a domain and what it needs to be trusted. */
import Type from 'typebox';
import { allowedNamespaces, relayRef } from './allowed-namespaces.ts';
import * as common from './common.ts';
import type { KindDefinition, Resource } from './resource.ts';

export const MailDomainSpec = Type.Object(
  {
    domain: common.domainName('The domain that mail is sent as. It cannot change.'),
    relayRefs: Type.Array(relayRef('A relay that may send as this domain.'), {
      description: 'The relays that may send as this domain.',
      minItems: 1,
      maxItems: 16,
      'x-kubernetes-list-type': 'atomic',
    }),
    allowedSenders: allowedNamespaces('Whose SmtpUsers may send as this domain.'),
    dkim: common.section('How mail of this domain is signed.', {
      algorithms: Type.Array(
        common.oneOf(['RSA2048', 'Ed25519'], { description: 'RSA2048 (RFC 6376) or Ed25519 (RFC 8463).' }),
        {
          description: 'One key is made for each, and mail is signed with all of them. Empty: not signed.',
          maxItems: 2,
          default: ['RSA2048', 'Ed25519'],
          'x-kubernetes-list-type': 'set',
        },
      ),
      keys: Type.Array(
        Type.Object(
          {
            selector: Type.String({
              description: 'Selector: the key is at SELECTOR._domainkey.DOMAIN.',
              minLength: 1,
              maxLength: 63,
              pattern: common.NAME_PATTERN,
            }),
            algorithm: common.oneOf(['RSA2048', 'Ed25519'], {
              description: 'What the key is for. RSA2048: 2048 to 4096 bits.',
            }),
            secretRef: Type.Object(
              { name: common.secretName('Name of a Secret with private.pem, in this namespace.') },
              { description: 'Where the private key is.' },
            ),
          },
          { description: 'A key of your own.' },
        ),
        {
          ...common.namedList(
            'Keys of your own; none is made for their algorithms. Of several for one, the last that is published signs.',
            4,
            'selector',
          ),
          default: [],
        },
      ),
      selectorPrefix: Type.String({
        description: 'First part of the selectors.',
        minLength: 1,
        maxLength: 32,
        pattern: common.NAME_PATTERN,
        default: 'chasqui',
      }),
      rotation: common.section('How keys are replaced by new ones.', {
        every: Type.Optional(
          common.duration(
            'How long a key signs before the next one is made. Absent: until the annotation chasqui.dev/rotate-dkim changes.',
          ),
        ),
        publishFor: common.duration(
          'How long a new key is published before it signs, where dns.verification is Disabled or Observe.',
          '24h',
        ),
        retireAfter: common.duration(
          'How long a key that signs no more stays published, for mail on its way; at least a day longer than relays keep mail.',
          '144h',
        ),
      }),
      deletionPolicy: common.oneOf(['Retain', 'Delete'], {
        description:
          'What becomes of the keys when the MailDomain is deleted. Retain: one of its name takes them up again.',
        default: 'Retain',
      }),
    }),
    spf: common.section('The SPF record to publish (RFC 7208).', {
      include: Type.Array(common.domainName('A domain whose SPF record counts as well.'), {
        description: 'Other senders of this domain.',
        maxItems: 9,
        default: [],
        'x-kubernetes-list-type': 'set',
      }),
      all: common.oneOf(['Fail', 'SoftFail', 'Neutral'], {
        description: 'What receivers should do with mail from elsewhere.',
        default: 'Fail',
      }),
    }),
    dmarc: common.section('The DMARC record to publish (RFC 7489).', {
      policy: common.oneOf(['None', 'Quarantine', 'Reject'], {
        description: 'What receivers should do with mail that fails.',
        default: 'None',
      }),
      reportTo: Type.Array(
        Type.String({
          description: 'A mail address.',
          minLength: 3,
          maxLength: 254,
          pattern: '^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+$',
        }),
        {
          description: 'Where receivers send aggregate reports.',
          maxItems: 8,
          default: [],
          'x-kubernetes-list-type': 'set',
        },
      ),
    }),
    dns: common.section('The DNS records of this domain.', {
      publisher: common.oneOf(['Manual', 'ExternalDNS'], {
        description: 'Who publishes the records. Manual: you do. ExternalDNS: external-dns, by a DNSEndpoint.',
        default: 'Manual',
      }),
      publishApex: Type.Boolean({
        description: 'Whether external-dns publishes SPF at the domain itself, replacing other TXT records there.',
        default: false,
      }),
      verification: common.oneOf(['Required', 'Observe', 'Disabled'], {
        description:
          'Required: a key signs once all name servers answer with it. Observe: states are told, and hold up nothing. Disabled: DNS is not looked at.',
        default: 'Required',
      }),
      ttl: common.duration('Time to live of the records.', '1h'),
    }),
  },
  { description: 'What the domain should be.' },
);
export type MailDomainSpec = Type.Static<typeof MailDomainSpec>;

export const MailDomainStatus = Type.Object(
  {
    observedGeneration: Type.Optional(common.observedGeneration),
    conditions: Type.Optional(common.conditions),
    dnsRecords: Type.Optional(
      Type.Array(
        Type.Object(
          {
            type: Type.String({ description: 'Record type.' }),
            name: Type.String({ description: 'Owner name, without the trailing dot.' }),
            value: Type.String({ description: 'The value to publish, unquoted.' }),
            state: Type.Optional(
              common.oneOf(['Published', 'Missing', 'Wrong'], {
                description: 'What DNS has, where it was looked at. Published: this, or what means the same.',
              }),
            ),
            observed: Type.Optional(
              Type.String({ description: 'What is wrong, and what DNS has instead.', maxLength: 1024 }),
            ),
          },
          { description: 'A DNS record.' },
        ),
        { description: 'The records to publish.', maxItems: 64 },
      ),
    ),
    dkim: Type.Optional(
      Type.Object(
        {
          keys: Type.Array(
            Type.Object(
              {
                selector: Type.String({ description: 'Selector: the key is at SELECTOR._domainkey.DOMAIN.' }),
                algorithm: common.oneOf(['RSA2048', 'Ed25519'], { description: 'What the key is for.' }),
                state: common.oneOf(['Publishing', 'Active', 'Retiring'], {
                  description:
                    'Publishing: it is to be published, and signs later. Active: it signs. Retiring: it signs no more, and stays published for mail on its way.',
                }),
                created: Type.Optional(Type.String({ description: 'When it was made.', format: 'date-time' })),
                activated: Type.Optional(Type.String({ description: 'When it began to sign.', format: 'date-time' })),
                retired: Type.Optional(Type.String({ description: 'When it ceased to sign.', format: 'date-time' })),
                removedAfter: Type.Optional(
                  Type.String({ description: 'When the key is deleted; its record may go then.', format: 'date-time' }),
                ),
              },
              { description: 'A DKIM key.' },
            ),
            { description: 'The DKIM keys.', maxItems: 16 },
          ),
        },
        { description: 'How mail of this domain is signed.' },
      ),
    ),
  },
  { description: 'What the domain is.' },
);
export type MailDomainStatus = Type.Static<typeof MailDomainStatus>;

export type MailDomain = Resource<'MailDomain', MailDomainSpec, MailDomainStatus>;

export const MailDomain: KindDefinition = {
  kind: 'MailDomain',
  plural: 'maildomains',
  shortNames: ['md'],
  description: 'A domain that mail is sent as, its DKIM keys and its DNS records.',
  maxNameLength: 63,
  spec: MailDomainSpec,
  status: MailDomainStatus,
  immutable: ['/domain'],
  columns: [{ name: 'Domain', jsonPath: '.spec.domain', description: 'The domain that mail is sent as.' }],
};
