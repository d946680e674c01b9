/** Conditions of a MailDomain: what holds of its keys, its SPF, and its place in the config of relays. */

import type { MailDomain } from '../../crds/maildomain.ts';
import { keyOf } from '../../crds/resource.ts';
import type { SmtpRelay } from '../../crds/smtprelay.ts';
import type { PublicationState } from '../backend.ts';
import { dkimName } from '../dns/records.ts';
import { secretConflict } from '../runtime/apply-plan.ts';
import type { Judgement } from '../runtime/conditions.ts';
import { isSigned, type KeySlot } from './dkim-keys.ts';
import type { LivingKey } from './rotation.ts';

export interface KeyStates {
  readonly living: readonly Pick<LivingKey, 'selector' | 'state'>[];
  readonly making: readonly KeySlot[];
  readonly conflicts: readonly KeySlot[];
  readonly damaged: readonly KeySlot[];
  /** What is wrong with keys of the user's own. */
  readonly problems: readonly Pick<Judgement, 'reason' | 'message'>[];
}

export function dkimReady(domain: MailDomain, accepted: Judgement, keys: KeyStates): Judgement {
  const type = 'DkimReady';
  const not = (reason: string, message: string): Judgement => ({ type, status: 'False', reason, message });
  const secrets = (slots: readonly KeySlot[]): string[] =>
    slots.map(({ secretName }) => `${domain.metadata.namespace}/${secretName}`);
  if (!isSigned(domain)) {
    return { type, status: 'True', reason: 'NotSigned', message: 'spec.dkim.algorithms is empty: mail is not signed.' };
  }
  if (keys.conflicts.length > 0) return secretConflict(type, secrets(keys.conflicts));
  if (keys.damaged.length > 0) {
    const names = secrets(keys.damaged).join(', ');
    return not('KeyDamaged', `Secret ${names} holds no usable key: restore it, or delete it to have a new key made.`);
  }
  const [problem] = keys.problems;
  if (problem) return not(problem.reason, keys.problems.map(({ message }) => message).join(' '));
  if (accepted.status !== 'True' && keys.living.length === 0) {
    return not('NotAccepted', 'Keys are made once the domain is accepted.');
  }
  const active = keys.living.filter(({ state }) => state === 'Active');
  const waiting = keys.living.filter(({ state }) => state === 'Publishing').map(({ selector }) => selector);
  if (active.length > 0) {
    const also = waiting.length > 0 ? `; ${waiting.join(', ')} will be once published` : '';
    const signs = `Mail is signed with ${active.map(({ selector }) => selector).join(', ')}${also}.`;
    return { type, status: 'True', reason: 'KeysReady', message: signs };
  }
  if (waiting.length === 0) return not('KeysMissing', 'The keys are being made.');
  const names = waiting.map((selector) => `TXT ${dkimName(selector, domain.spec.domain)}`).join(' and ');
  return not('WaitingForDns', `Publish ${names}: until all name servers have one, mail is refused with 451 4.7.5.`);
}

/** Only told where it is so: with no sender known, an SPF record would forbid all mail. */
export function spfIncomplete(domain: MailDomain, relays: readonly SmtpRelay[]): Judgement[] {
  const known = domain.spec.spf.include.length + relays.flatMap(({ spec }) => spec.egress.addresses).length;
  if (known > 0) return [];
  const names = relays.map(keyOf).join(', ');
  const message = `No SPF record is proposed: set spec.egress.addresses of the SmtpRelay${names && ` ${names}`}, or spec.spf.include of this MailDomain.`;
  return [{ type: 'SpfIncomplete', status: 'True', reason: 'NoSenderKnown', message }];
}

/** Whether somebody publishes the records, where that is not left to a person. */
export function dnsPublished(domain: MailDomain, accepted: Judgement, state: PublicationState): Judgement[] {
  if (domain.spec.dns.publisher !== 'ExternalDNS') return [];
  const judged = (status: Judgement['status'], reason: string, message: string): Judgement[] => [
    { type: 'DnsPublished', status, reason, message },
  ];
  if (accepted.status !== 'True') return judged('Unknown', 'NotAccepted', 'Nothing is published as it.');
  const endpoint = `DNSEndpoint ${keyOf(domain)}`;
  switch (state) {
    case 'Unavailable':
      return judged(
        'False',
        'NobodyPublishes',
        'There is no DNSEndpoint (externaldns.k8s.io/v1alpha1) here: install external-dns with its CRD, or publish status.dnsRecords and set spec.dns.publisher to Manual.',
      );
    case 'Unread':
      return judged(
        'Unknown',
        'NotListed',
        'DNSEndpoints are not read yet: the operator must be allowed to list them.',
      );
    case 'NameTaken':
      return judged(
        'False',
        'NameTaken',
        `${endpoint} belongs to someone else: delete it, or name the MailDomain otherwise.`,
      );
    case 'None':
    case 'Waiting':
      return judged(
        'False',
        'NotRead',
        `External-dns has not read ${endpoint} yet: run it with --source=crd and --managed-record-types=TXT, for this domain.`,
      );
    case 'Read': {
      const apex = domain.spec.dns.publishApex
        ? ''
        : ` SPF at ${domain.spec.domain} is yours to publish, or set publishApex.`;
      return judged('True', 'Read', `External-dns has read ${endpoint}.${apex}`);
    }
  }
}
