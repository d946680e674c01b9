/** Manifests that do not fit their schema. */
import { domain, listener, type RefusedCase, relay, smarthost, user } from './manifests.ts';

export const MALFORMED: readonly RefusedCase[] = [
  ['a field beside spec', { ...relay(), specs: {} }, 'specs', /unknown field/],
  ['no metadata', { ...relay(), metadata: undefined }, 'metadata.name', /is required/],
  ['metadata that is a list', relay({}, []), 'metadata', /must be an object, not a list/],
  ['a name with capitals', relay({}, { name: 'Outbound' }), 'metadata.name', /lower-case letters/],
  ['a name that leaves no room for pods', relay({}, { name: 'r'.repeat(41) }), 'metadata.name', /at most 40/],
  [
    'a label that is a number',
    relay({}, { name: 'r', labels: { a: 1 } }),
    'metadata.labels.a',
    /a string, not 1/,
    'metadata.labels',
  ],
  ['no spec', { ...relay(), spec: null }, 'spec', /is required/],
  ['no hostname', relay({ hostname: undefined }), 'spec.hostname', /is required/],
  [
    'an unknown field',
    relay({ replica: 2 }),
    'spec.replica',
    /unknown field; allowed are hostname, replicas, listeners/,
  ],
  [
    'an unknown field deep down',
    relay({ delivery: { retry: { after: '1s' } } }),
    'spec.delivery.retry.after',
    /allowed are schedule, expireAfter/,
  ],
  [
    'an unknown field of an item',
    relay({ listeners: [listener({ prot: 1 })] }),
    'spec.listeners[0].prot',
    /allowed are name, protocol, port, tls, auth/,
  ],
  [
    'a field where none may be',
    relay({ tls: { certificate: { ownCA: { a: 1 } } } }),
    'spec.tls.certificate.ownCA.a',
    /no field is allowed/,
  ],
  [
    'a prototype as a field',
    JSON.parse(
      '{"apiVersion":"chasqui.dev/v1alpha1","kind":"SmtpUser","metadata":{"name":"app"},"spec":{"relayRef":{"name":"r"},"senders":["a@b.c"],"__proto__":{}}}',
    ),
    'spec.__proto__',
    /unknown field/,
  ],
  ['a string for a number', relay({ replicas: '2' }), 'spec.replicas', /must be a whole number, not "2"/],
  ['half a replica', relay({ replicas: 1.5 }), 'spec.replicas', /must be a whole number, not 1.5/],
  ['a number for a list', relay({ listeners: 587 }), 'spec.listeners', /must be a list, not 587/],
  ['a null in a list', user({ senders: [null] }), 'spec.senders[0]', /must be a string, not null/],
  [
    'a port beyond all ports',
    relay({ listeners: [listener({ port: 70000 })] }),
    'spec.listeners[0].port',
    /at most 65535, not 70000/,
  ],
  ['a port of zero', relay({ listeners: [listener({ port: 0 })] }), 'spec.listeners[0].port', /at least 1, not 0/],
  [
    'a word that is not ours',
    relay({ listeners: [listener({ protocol: 'submission' })] }),
    'spec.listeners[0].protocol',
    /one of Submission, Submissions, not "submission"/,
  ],
  ['an empty list of listeners', relay({ listeners: [] }), 'spec.listeners', /must not be empty/],
  [
    'more routes than fit',
    relay({ delivery: { routes: Array(101).fill(smarthost({}).delivery.routes[0]) } }),
    'spec.delivery.routes',
    /at most 100 items/,
  ],
  [
    'days in a duration',
    relay({ delivery: { retry: { expireAfter: '5d' } } }),
    'spec.delivery.retry.expireAfter',
    /"5d" does not fit: .*90s, 5m or 1h30m/,
  ],
  [
    'a size with a unit of its own',
    relay({ limits: { messageSize: '50MB' } }),
    'spec.limits.messageSize',
    /"50MB" does not fit: .*50Mi/,
  ],
  ['a host name with an underscore', relay({ hostname: 'relay_1.example.test' }), 'spec.hostname', /does not fit/],
  [
    'two listeners of one name',
    relay({ listeners: [listener({}), listener({ port: 588 })] }),
    'spec.listeners[1]',
    /same name: "smtp"/,
  ],
  [
    'one sender twice',
    user({ senders: ['a@example.test', 'a@example.test'] }),
    'spec.senders[1]',
    /twice in the list: "a@example.test"/,
  ],
  [
    'two keys of its own under one selector',
    domain({
      dkim: {
        keys: [
          { selector: 'mail', algorithm: 'RSA2048', secretRef: { name: 'one' } },
          { selector: 'mail', algorithm: 'Ed25519', secretRef: { name: 'two' } },
        ],
      },
    }),
    'spec.dkim.keys[1]',
    /same selector/,
  ],
  [
    'a selector that is no label',
    domain({ dkim: { keys: [{ selector: 'mail_1', algorithm: 'RSA2048', secretRef: { name: 'one' } }] } }),
    'spec.dkim.keys[0].selector',
    /does not fit/,
  ],
  ['one algorithm twice', domain({ dkim: { algorithms: ['Ed25519', 'Ed25519'] } }), 'spec.dkim.algorithms[1]', /twice/],
];
