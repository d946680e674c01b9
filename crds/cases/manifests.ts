/** What the cases are made of: manifests that are good but for what a case says. */
export const relay = (spec: object = {}, metadata: object = { name: 'outbound' }) => ({
  apiVersion: 'chasqui.dev/v1alpha1',
  kind: 'SmtpRelay',
  metadata,
  spec: { hostname: 'relay.example.test', listeners: [{ name: 'smtp', protocol: 'Submission', port: 587 }], ...spec },
});
export const domain = (spec: object = {}) => ({
  apiVersion: 'chasqui.dev/v1alpha1',
  kind: 'MailDomain',
  metadata: { name: 'example-test' },
  spec: { domain: 'example.test', relayRefs: [{ name: 'outbound' }], ...spec },
});
export const user = (spec: object = {}) => ({
  apiVersion: 'chasqui.dev/v1alpha1',
  kind: 'SmtpUser',
  metadata: { name: 'app' },
  spec: { relayRef: { name: 'outbound' }, senders: ['*@example.test'], ...spec },
});
export const listener = (fields: object) => ({ name: 'smtp', protocol: 'Submission', port: 587, ...fields });
export const smarthost = (fields: object) => ({
  delivery: { routes: [{ match: { domains: ['*'] }, smarthosts: [{ host: 'mx.example.test', ...fields }] }] },
});
export const destination = (fields: object) => ({ delivery: { destinations: [{ name: 'big', ...fields }] } });

/**
 * A manifest that host and API server refuse, each with a message that names the field, or the list or object around it
 * where that is as near as an API server can come.
 */
export type RefusedCase = readonly [
  sentence: string,
  manifest: object,
  field: string,
  message: RegExp,
  fieldOfApiServer?: string,
];
/** A manifest that both take. */
export type AcceptedCase = readonly [sentence: string, manifest: object];
