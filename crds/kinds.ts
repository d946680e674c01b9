/** All kinds, in the order in which they depend on each other. */
import { MailDomain } from './maildomain.ts';
import type { KindDefinition, KindName } from './resource.ts';
import { SmtpRelay } from './smtprelay.ts';
import { SmtpUser } from './smtpuser.ts';

/** The type of each kind's objects. */
export interface KindTypes {
  SmtpRelay: SmtpRelay;
  MailDomain: MailDomain;
  SmtpUser: SmtpUser;
}

export const KINDS: readonly KindDefinition[] = [SmtpRelay, MailDomain, SmtpUser];

const BY_NAME = new Map<string, KindDefinition>(KINDS.map((definition) => [definition.kind, definition]));

export const kindNamed = (name: string): KindDefinition | undefined => BY_NAME.get(name);

export const isKindName = (name: string): name is KindName => BY_NAME.has(name);
