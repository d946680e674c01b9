/**
 * The rules of `rules.ts` once more, in CEL, for the API server: each under the name of the rule that a host runs. A
 * test puts one table of manifests to both.
 *
 * What a rule costs is estimated from the bounds of lists and strings, and the API server refuses a CRD whose rules
 * could cost too much: rules stand as deep in the schema as they can.
 */
import { DOMAIN_PATTERN } from './common.ts';
import type { KindName } from './resource.ts';
import { DOT_STRING, MAX_DURATION } from './rules.ts';
import type { StructuralSchema, Validation } from './structural.ts';

interface CelRule {
  /** Where it is checked, from the spec: `listeners[].auth`; empty for the spec itself. */
  readonly at: string;
  /** True of a good value, which is `self`. */
  readonly rule: string;
  /** CEL text of what is wrong. */
  readonly says: string;
  /** Which field of `self` to name, such as `.tls`. */
  readonly field?: string;
}

/** A text without values, as CEL. */
const text = (words: string): string => `'${words}'`;
/** A regular expression as CEL; RE2 reads those of ours as JavaScript does. */
const pattern = (source: string): string => `r"${source}"`;

const isNetwork = (at: string): CelRule => ({
  at,
  rule: 'isCIDR(self)',
  says: `self + ' is no network, such as 10.0.0.0/8 or fd00::/8'`,
});
const isNotEverybody = (at: string, would: string): CelRule => ({
  at,
  rule: `!self.endsWith('/0')`,
  says: `self + ' is everybody: ${would}'`,
});
const isAddress = (at: string): CelRule => ({ at, rule: 'isIP(self)', says: `self + ' is no IP address'` });
const isPositive = (at: string): CelRule => ({
  at,
  rule: `duration(self) > duration('0s')`,
  says: `'must be longer than ' + self`,
});
const isAtMost = (at: string): CelRule => ({
  at,
  rule: `duration(self) <= duration('${MAX_DURATION}')`,
  says: `'must be at most ${MAX_DURATION} (366 days), not ' + self`,
});

const LAST_MONITORING_PORT = 'self.monitoring.port + (self.replicas > 1 ? self.replicas : 1) - 1';
const isPort = (digits: string): string => `(int(${digits}) >= 1 && int(${digits}) <= 65535)`;
const AFTER_COLON = `self.substring(self.lastIndexOf(':') + 1)`;
const RESOLVER = [
  'isIP(self)',
  `(self.matches('^[0-9.]+:[0-9]{1,5}$') && isIP(self.substring(0, self.indexOf(':'))) && ${isPort(AFTER_COLON)})`,
  `(self.startsWith('[') && isIP(self.substring(1, self.indexOf(']'))) && (self.endsWith(']') || ${isPort(AFTER_COLON)}))`,
].join(' || ');
const HOST = `${DOMAIN_PATTERN}|^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`;
const SENDER = `^(\\*|${DOT_STRING})@${DOMAIN_PATTERN.replace('^', '')}`;

type CelRules = Readonly<Record<string, readonly CelRule[]>>;

export const CEL_RULES: Readonly<Record<KindName, CelRules>> = {
  SmtpRelay: {
    listenerPortsAreUnique: [
      {
        at: 'listeners',
        rule: 'self.all(one, self.exists_one(other, other.port == one.port))',
        says: text('two listeners have one port'),
      },
    ],
    monitoringPortsAreFree: [
      {
        at: '',
        field: '.monitoring.port',
        rule: `${LAST_MONITORING_PORT} <= 65535`,
        says: text('must leave room for all replicas: replica i uses the port + i, and the last one has none'),
      },
      {
        at: '',
        field: '.monitoring.port',
        rule: `self.listeners.all(one, one.port < self.monitoring.port || one.port > ${LAST_MONITORING_PORT})`,
        says: text('replica i uses the port + i, and a listener has one of these'),
      },
    ],
    implicitTlsIsNotOptional: [
      {
        at: 'listeners[]',
        field: '.tls',
        rule: `self.protocol != 'Submissions' || self.tls == 'Required'`,
        says: text('must be Required: a Submissions listener speaks TLS from the first byte'),
      },
    ],
    optionalTlsIsForSomebody: [
      {
        at: 'listeners[]',
        field: '.tls',
        rule: `self.tls != 'Optional' || size(self.auth.exemptNetworks) > 0`,
        says: text('Optional needs auth.exemptNetworks: nobody else may send without TLS'),
      },
    ],
    exemptNetworksAreNetworks: [
      isNetwork('listeners[].auth.exemptNetworks[]'),
      isNotEverybody('listeners[].auth.exemptNetworks[]', 'that would be an open relay'),
    ],
    proxiesAreNetworks: [
      isNetwork('listeners[].proxyProtocol.from[]'),
      isNotEverybody('listeners[].proxyProtocol.from[]', 'anyone could claim any address'),
    ],
    egressAddressesAreAddresses: [isAddress('egress.addresses[]')],
    resolversAreAddresses: [
      {
        at: 'delivery.direct.resolvers[]',
        rule: RESOLVER,
        says: `self + ' is no IP address with an optional port, such as 127.0.0.1:5353 or [::1]:5353'`,
      },
    ],
    smarthostsAreHosts: [
      {
        at: 'delivery.routes[].smarthosts[].host',
        // All digits and dots is an address that was mistyped, not a name.
        rule: `isIP(self) || (self.matches(${pattern(HOST)}) && !self.matches('^[0-9.]+$'))`,
        says: `self + ' is neither a host name nor an IP address'`,
      },
    ],
    credentialsNeedTls: [
      {
        at: 'delivery.routes[].smarthosts[]',
        field: '.tls.mode',
        rule: `!has(self.credentialsSecretRef) || self.tls.mode in ['Required', 'Verified']`,
        says: text('must be Required or Verified: credentials are not sent without TLS'),
      },
    ],
    destinationsMatchServers: [
      {
        at: 'delivery.destinations[]',
        field: '.match',
        rule: 'size(self.match.domains) + size(self.match.mx) > 0',
        says: text('must name domains or mx: it is for no server else'),
      },
    ],
    destinationsSayALimit: [
      {
        at: 'delivery.destinations[]',
        rule: 'has(self.maxConnections) || has(self.messagesPerConnection) || has(self.messagesPerMinute)',
        says: text('must say maxConnections, messagesPerConnection or messagesPerMinute: it limits nothing else'),
      },
    ],
    certificateHasOneSource: [
      {
        at: 'tls.certificate',
        rule: '[has(self.ownCA), has(self.secretRef), has(self.issuerRef)].exists_one(given, given)',
        says: text('must name one source: ownCA, secretRef or issuerRef'),
      },
    ],
    relaySelectsNamespaces: [
      {
        // Not of the field itself: the default of an object is judged before the defaults of its fields are filled in.
        at: '',
        field: '.allowedNamespaces.selector',
        rule: `(self.allowedNamespaces.from == 'Selector') == has(self.allowedNamespaces.selector)`,
        says: text('goes with from: Selector, and only with it'),
      },
    ],
    retryWaitsAreLong: [isPositive('delivery.retry.schedule[]'), isAtMost('delivery.retry.schedule[]')],
    relayTimesAreLong: [
      ...[isPositive('delivery.retry.expireAfter'), isAtMost('delivery.retry.expireAfter')],
      ...[isPositive('limits.idleTimeout'), isAtMost('limits.idleTimeout')],
      ...[isPositive('limits.sessionTimeout'), isAtMost('limits.sessionTimeout')],
      isAtMost('deletion.drainTimeout'),
    ],
    messageSizeFits: [
      {
        at: 'limits.messageSize',
        rule: `quantity(self).compareTo(quantity('1')) >= 0 && quantity(self).compareTo(quantity('2Gi')) < 0`,
        says: `'must be at least 1 byte and less than 2Gi, not ' + self`,
      },
    ],
    servicesLeadToListeners: [
      {
        at: '',
        field: '.services',
        rule: 'self.services.all(service, service.listeners.all(name, self.listeners.exists(one, one.name == name)))',
        says: text('a Service leads to a listener that is not there'),
      },
    ],
    serviceNamesAreFree: [
      { at: 'services[].name', rule: `self != 'pods'`, says: text('pods is the Service of the replicas') },
    ],
    servicesSayWhatTheirTypeHas: [
      {
        at: 'services[]',
        field: '.externalTrafficPolicy',
        rule: `self.type != 'ClusterIP' || self.externalTrafficPolicy != 'Local'`,
        says: text('Local is for NodePort and LoadBalancer'),
      },
      {
        at: 'services[]',
        field: '.loadBalancerClass',
        rule: `self.type == 'LoadBalancer' || !has(self.loadBalancerClass)`,
        says: text('is for a Service of type LoadBalancer'),
      },
    ],
    volumeHoldsTheReserve: [
      {
        at: '',
        field: '.queue.storage.size',
        rule: ['quantity(self.queue.minFree)', `quantity('64Mi')`]
          .map((least) => `quantity(self.queue.storage.size).isGreaterThan(${least})`)
          .join(' && '),
        says: `'must be more than 64Mi and than queue.minFree (' + self.queue.minFree + '), not ' + self.queue.storage.size`,
      },
    ],
  },
  MailDomain: {
    ttlIsWholeSeconds: [
      isPositive('dns.ttl'),
      isAtMost('dns.ttl'),
      {
        at: 'dns.ttl',
        rule: 'duration(self).getMilliseconds() % 1000 == 0',
        says: text('must be whole seconds'),
      },
    ],
    rotationIsSlow: [
      ...[isPositive('dkim.rotation.publishFor'), isAtMost('dkim.rotation.publishFor')],
      ...[isPositive('dkim.rotation.retireAfter'), isAtMost('dkim.rotation.retireAfter')],
      isAtMost('dkim.rotation.every'),
      {
        at: '',
        field: '.dkim.rotation.every',
        rule: [
          '!has(self.dkim.rotation.every)',
          `duration(self.dkim.rotation.every) > duration(self.dkim.rotation.publishFor)`,
        ].join(' || '),
        says: `'must be longer than publishFor, which is ' + self.dkim.rotation.publishFor`,
      },
    ],
    domainSelectsNamespaces: [
      {
        // Not of the field itself: the default of an object is judged before the defaults of its fields are filled in.
        at: '',
        field: '.allowedSenders.selector',
        rule: `(self.allowedSenders.from == 'Selector') == has(self.allowedSenders.selector)`,
        says: text('goes with from: Selector, and only with it'),
      },
    ],
    relayRefsAreDifferent: [
      {
        at: 'relayRefs',
        rule: 'self.all(one, self.exists_one(other, other == one))',
        says: text('names an SmtpRelay twice'),
      },
    ],
  },
  SmtpUser: {
    sendersAreAddresses: [
      {
        at: 'senders[]',
        rule: `self.indexOf('@') <= 64 && self.matches(${pattern(SENDER)})`,
        says: `self + ' is neither an address such as app@example.org nor all of a domain: *@example.org'`,
      },
    ],
    allowedNetworksAreNetworks: [isNetwork('allowedNetworks[]')],
    overlapIsBounded: [isAtMost('passwordRotation.overlap')],
  },
};

/** The schema of a kind's spec with its rules in it. */
export function withRules(kind: KindName, spec: StructuralSchema): StructuralSchema {
  return Object.values(CEL_RULES[kind])
    .flat()
    .reduce((schema, { at, rule, says, field }) => {
      const validation = { rule, messageExpression: says, ...(field !== undefined && { fieldPath: field }) };
      return withValidation(schema, at.split(/\.|(?=\[\])/).filter(Boolean), validation);
    }, spec);
}

/**
 * A field that cannot change once the object exists.
 * @param pointer JSON pointer to a field of the spec
 */
export const withImmutable = (spec: StructuralSchema, pointer: string): StructuralSchema =>
  withValidation(spec, pointer.split('/').slice(1), {
    rule: 'self == oldSelf',
    messageExpression: `'cannot change from ' + oldSelf + ': delete the object and make another one'`,
  });

/**
 * @throws {TypeError} when there is no such field, or its default would be judged: an API server does so before it fills
 *   in the fields of the default, so a rule stands at an object around it
 */
function withValidation(
  schema: StructuralSchema,
  [step, ...rest]: readonly string[],
  validation: Validation,
): StructuralSchema {
  if (step === undefined) {
    if (JSON.stringify(schema.default) === '{}') {
      throw new TypeError(`a rule may not judge the default {} of ${schema.description}: let it stand further up`);
    }
    const before = schema['x-kubernetes-validations'] ?? [];
    return { ...schema, 'x-kubernetes-validations': [...before, validation] };
  }
  const child = step === '[]' ? schema.items : schema.properties?.[step];
  if (!child) throw new TypeError(`a rule is about ${step}, which the schema has not`);
  const changed = withValidation(child, rest, validation);
  return step === '[]'
    ? { ...schema, items: changed }
    : { ...schema, properties: { ...schema.properties, [step]: changed } };
}
