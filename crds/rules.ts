/**
 * What a schema cannot say about one object: a list of small pure functions per kind. Kubernetes gets the same rules
 * in CEL. What involves another object is no rule, but a controller's decision.
 *
 * A rule reads a spec that fits its schema. Fields start at the spec: `.listeners[0].port`.
 */
import { BlockList, isIP, isIPv4 } from 'node:net';
import type { AllowedNamespaces } from './allowed-namespaces.ts';
import { DOMAIN_PATTERN } from './common.ts';
import { durationMs } from './duration.ts';
import type { KindTypes } from './kinds.ts';
import type { Problem } from './problem.ts';
import { quantityBytes } from './quantity.ts';
import type { KindName } from './resource.ts';
import { WORKLOAD_RULES } from './workload-rules.ts';

type Rule<Spec> = (spec: Spec) => readonly Problem[];
type RulesOf<Kind extends KindName> = readonly Rule<KindTypes[Kind]['spec']>[];
type RelaySpec = KindTypes['SmtpRelay']['spec'];

/** Longest time that any field takes: what the relay's config can say. It is 366 days. */
export const MAX_DURATION = '8784h';

const none: readonly Problem[] = [];
const when = (wrong: boolean, field: string, message: string): readonly Problem[] =>
  wrong ? [{ field, message }] : none;

const listenerPortsAreUnique: Rule<RelaySpec> = ({ listeners }) =>
  listeners.flatMap(({ port }, index) => {
    const first = listeners.findIndex((other) => other.port === port);
    return when(
      first < index,
      `.listeners[${index}].port`,
      `${port} is the port of listener ${listeners[first]?.name}`,
    );
  });

/** On a host replica i serves metrics at monitoring.port + i. */
const monitoringPortsAreFree: Rule<RelaySpec> = ({ listeners, monitoring, replicas }) => {
  const last = monitoring.port + Math.max(replicas, 1) - 1;
  const hit = listeners.find(({ port }) => port >= monitoring.port && port <= last);
  return [
    ...when(last > 65535, '.monitoring.port', `must leave room for ${replicas} replicas: ${last} is no port`),
    ...(hit
      ? when(
          true,
          '.monitoring.port',
          `replicas use ${monitoring.port} to ${last}, and listener ${hit.name} ${hit.port}`,
        )
      : none),
  ];
};

/** RFC 8314 3.3: on a Submissions port TLS comes first, so there is no clear text to allow. */
const implicitTlsIsNotOptional: Rule<RelaySpec> = ({ listeners }) =>
  listeners.flatMap(({ protocol, tls }, index) =>
    when(
      protocol === 'Submissions' && tls === 'Optional',
      `.listeners[${index}].tls`,
      'must be Required: a Submissions listener speaks TLS from the first byte',
    ),
  );

const optionalTlsIsForSomebody: Rule<RelaySpec> = ({ listeners }) =>
  listeners.flatMap(({ tls, auth }, index) =>
    when(
      tls === 'Optional' && auth.exemptNetworks.length === 0,
      `.listeners[${index}].tls`,
      'Optional needs auth.exemptNetworks: nobody else may send without TLS',
    ),
  );

const exemptNetworksAreNetworks: Rule<RelaySpec> = ({ listeners }) =>
  listeners.flatMap(({ auth }, at) =>
    auth.exemptNetworks.flatMap((network, index) => {
      const field = `.listeners[${at}].auth.exemptNetworks[${index}]`;
      if (!isNetwork(network)) return when(true, field, `${network} is no network, such as 10.0.0.0/8 or fd00::/8`);
      return when(network.endsWith('/0'), field, `${network} is everybody: that would be an open relay`);
    }),
  );

const proxiesAreNetworks: Rule<RelaySpec> = ({ listeners }) =>
  listeners.flatMap(({ proxyProtocol }, at) =>
    proxyProtocol.from.flatMap((network, index) => {
      const field = `.listeners[${at}].proxyProtocol.from[${index}]`;
      if (!isNetwork(network)) return when(true, field, `${network} is no network, such as 10.0.0.0/8 or fd00::/8`);
      return when(network.endsWith('/0'), field, `${network} is everybody: anyone could claim any address`);
    }),
  );

const egressAddressesAreAddresses: Rule<RelaySpec> = ({ egress }) =>
  egress.addresses.flatMap((address, index) =>
    when(!isAddress(address), `.egress.addresses[${index}]`, `${address} is no IP address`),
  );

const resolversAreAddresses: Rule<RelaySpec> = ({ delivery }) =>
  delivery.direct.resolvers.flatMap((resolver, index) =>
    when(
      !isResolver(resolver),
      `.delivery.direct.resolvers[${index}]`,
      `${resolver} is no IP address with an optional port, such as 127.0.0.1:5353 or [::1]:5353`,
    ),
  );

const smarthostsAreHosts: Rule<RelaySpec> = ({ delivery }) =>
  delivery.routes.flatMap(({ smarthosts }, route) =>
    smarthosts.flatMap(({ host }, index) =>
      when(
        !isHost(host),
        `.delivery.routes[${route}].smarthosts[${index}].host`,
        `${host} is neither a host name nor an IP address`,
      ),
    ),
  );

const credentialsNeedTls: Rule<RelaySpec> = ({ delivery }) =>
  delivery.routes.flatMap(({ smarthosts }, route) =>
    smarthosts.flatMap(({ credentialsSecretRef, tls }, index) =>
      when(
        credentialsSecretRef !== undefined && tls.mode !== 'Required' && tls.mode !== 'Verified',
        `.delivery.routes[${route}].smarthosts[${index}].tls.mode`,
        'must be Required or Verified: credentials are not sent without TLS',
      ),
    ),
  );

const destinationsMatchServers: Rule<RelaySpec> = ({ delivery }) =>
  delivery.destinations.flatMap(({ match }, index) =>
    when(
      match.domains.length + match.mx.length === 0,
      `.delivery.destinations[${index}].match`,
      'must name domains or mx: it is for no server else',
    ),
  );

const destinationsSayALimit: Rule<RelaySpec> = ({ delivery }) =>
  delivery.destinations.flatMap(({ maxConnections, messagesPerConnection, messagesPerMinute }, index) =>
    when(
      maxConnections === undefined && messagesPerConnection === undefined && messagesPerMinute === undefined,
      `.delivery.destinations[${index}]`,
      'must say maxConnections, messagesPerConnection or messagesPerMinute: it limits nothing else',
    ),
  );

const certificateHasOneSource: Rule<RelaySpec> = ({ tls }) =>
  when(
    Object.keys(tls.certificate).length !== 1,
    '.tls.certificate',
    'must name one source: ownCA, secretRef or issuerRef',
  );

const relaySelectsNamespaces: Rule<RelaySpec> = ({ allowedNamespaces }) =>
  selectsWhenAsked('.allowedNamespaces', allowedNamespaces);

const domainSelectsNamespaces: Rule<KindTypes['MailDomain']['spec']> = ({ allowedSenders }) =>
  selectsWhenAsked('.allowedSenders', allowedSenders);

const selectsWhenAsked = (field: string, { from, selector }: AllowedNamespaces): readonly Problem[] =>
  when(
    (from === 'Selector') !== (selector !== undefined),
    `${field}.selector`,
    'goes with from: Selector, and only with it',
  );

const relayRefsAreDifferent: Rule<KindTypes['MailDomain']['spec']> = ({ relayRefs }) =>
  relayRefs.flatMap((ref, index) =>
    when(
      relayRefs.findIndex(({ namespace, name }) => namespace === ref.namespace && name === ref.name) < index,
      `.relayRefs[${index}]`,
      `names SmtpRelay ${ref.name} again`,
    ),
  );

const retryWaitsAreLong: Rule<RelaySpec> = ({ delivery }) =>
  delivery.retry.schedule.flatMap((wait, index) => positive(`.delivery.retry.schedule[${index}]`, wait));

const relayTimesAreLong: Rule<RelaySpec> = ({ delivery, limits, deletion }) => [
  ...positive('.delivery.retry.expireAfter', delivery.retry.expireAfter),
  ...positive('.limits.idleTimeout', limits.idleTimeout),
  ...positive('.limits.sessionTimeout', limits.sessionTimeout),
  ...atMost('.deletion.drainTimeout', deletion.drainTimeout),
];

const MAX_MESSAGE_BYTES = 2 ** 31 - 1;
const messageSizeFits: Rule<RelaySpec> = ({ limits }) => {
  const bytes = quantityBytes(limits.messageSize);
  return when(
    bytes < 1 || bytes > MAX_MESSAGE_BYTES,
    '.limits.messageSize',
    `must be at least 1 byte and less than 2Gi, not ${limits.messageSize}`,
  );
};

/** RFC 2181 8: a TTL is a whole number of seconds below 2^31; a TTL of 0 would not survive a cache. */
const ttlIsWholeSeconds: Rule<KindTypes['MailDomain']['spec']> = ({ dns }) => {
  const ttl = durationMs(dns.ttl);
  return [...positive('.dns.ttl', dns.ttl), ...when(ttl % 1000 !== 0, '.dns.ttl', 'must be whole seconds')];
};

/** A next key must have begun to sign before another one is due. */
const rotationIsSlow: Rule<KindTypes['MailDomain']['spec']> = ({ dkim: { rotation } }) => {
  const { every, publishFor, retireAfter } = rotation;
  return [
    ...positive('.dkim.rotation.publishFor', publishFor),
    ...positive('.dkim.rotation.retireAfter', retireAfter),
    ...(every === undefined ? [] : atMost('.dkim.rotation.every', every)),
    ...when(
      every !== undefined && durationMs(every) <= durationMs(publishFor),
      '.dkim.rotation.every',
      `must be longer than publishFor, which is ${publishFor}`,
    ),
  ];
};

const sendersAreAddresses: Rule<KindTypes['SmtpUser']['spec']> = ({ senders }) =>
  senders.flatMap((sender, index) =>
    when(
      !isSender(sender),
      `.senders[${index}]`,
      `${sender} is neither an address such as app@example.org nor all of a domain: *@example.org`,
    ),
  );

const allowedNetworksAreNetworks: Rule<KindTypes['SmtpUser']['spec']> = ({ allowedNetworks }) =>
  allowedNetworks.flatMap((network, index) =>
    when(!isNetwork(network), `.allowedNetworks[${index}]`, `${network} is no network, such as 10.0.0.0/8 or fd00::/8`),
  );

const overlapIsBounded: Rule<KindTypes['SmtpUser']['spec']> = ({ passwordRotation }) =>
  atMost('.passwordRotation.overlap', passwordRotation.overlap);

const RULES: { readonly [Kind in KindName]: RulesOf<Kind> } = {
  SmtpRelay: [
    listenerPortsAreUnique,
    monitoringPortsAreFree,
    implicitTlsIsNotOptional,
    optionalTlsIsForSomebody,
    exemptNetworksAreNetworks,
    proxiesAreNetworks,
    egressAddressesAreAddresses,
    resolversAreAddresses,
    smarthostsAreHosts,
    credentialsNeedTls,
    destinationsMatchServers,
    destinationsSayALimit,
    certificateHasOneSource,
    relaySelectsNamespaces,
    retryWaitsAreLong,
    relayTimesAreLong,
    messageSizeFits,
    ...WORKLOAD_RULES,
  ],
  MailDomain: [ttlIsWholeSeconds, rotationIsSlow, domainSelectsNamespaces, relayRefsAreDifferent],
  SmtpUser: [sendersAreAddresses, allowedNetworksAreNetworks, overlapIsBounded],
};

/** The rules of a kind by name; each is known to Kubernetes too (`cel.ts`). */
export const ruleNames = (kind: KindName): readonly string[] => RULES[kind].map(({ name }) => name);

/** What the rules of a kind say about a spec that fits its schema. */
export function ruleProblems<Kind extends KindName>(kind: Kind, spec: unknown): readonly Problem[] {
  const rules: RulesOf<Kind> = RULES[kind];
  return rules.flatMap((rule) => rule(spec as KindTypes[Kind]['spec']));
}

const positive = (field: string, duration: string): readonly Problem[] => [
  ...when(durationMs(duration) === 0, field, `must be longer than ${duration}`),
  ...atMost(field, duration),
];

const atMost = (field: string, duration: string): readonly Problem[] =>
  when(
    durationMs(duration) > durationMs(MAX_DURATION),
    field,
    `must be at most ${MAX_DURATION} (366 days), not ${duration}`,
  );

/** IPv4 in IPv6 clothes (RFC 4291 2.5.5.2), which an API server refuses too: one address has one spelling. */
const MAPPED = new BlockList();
MAPPED.addSubnet('::ffff:0:0', 96, 'ipv6');
const isAddress = (text: string): boolean => isIP(text) !== 0 && !(isIP(text) === 6 && MAPPED.check(text, 'ipv6'));

function isNetwork(network: string): boolean {
  const [address = '', prefix = ''] = network.split('/');
  if (!isAddress(address) || !/^(0|[1-9][0-9]{0,2})$/.test(prefix)) return false;
  const family = isIPv4(address) ? 'ipv4' : 'ipv6';
  try {
    new BlockList().addSubnet(address, Number(prefix), family);
    return true;
  } catch {
    return false;
  }
}

function isResolver(resolver: string): boolean {
  const [, bracketed, plain, port] = /^(?:\[(.+)\]|([0-9.]+|[0-9a-fA-F:]+?))(?::([0-9]{1,5}))?$/.exec(resolver) ?? [];
  if (isAddress(resolver)) return true;
  const address = bracketed ?? plain ?? '';
  const validAddress = bracketed === undefined ? isIPv4(address) : isAddress(address);
  return validAddress && (port === undefined || (Number(port) >= 1 && Number(port) <= 65535));
}

const DOMAIN = new RegExp(DOMAIN_PATTERN);
const LABEL = /^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$/;
/** All digits and dots is an address that was mistyped, not a name. */
const isHost = (host: string): boolean =>
  isAddress(host) || ((DOMAIN.test(host) || LABEL.test(host)) && !/^[0-9.]+$/.test(host));

/** RFC 5321 4.1.2 Dot-string, or UTF-8 (RFC 6531 3.3); quoted local parts have no use as a sender. */
const ATOM = "[\\p{L}\\p{N}!#$%&'+/=?^_`{|}~-]+";
export const DOT_STRING = `${ATOM}(\\.${ATOM})*`;
/** At most 64 characters (RFC 5321 4.5.3.1.1). */
const LOCAL_PART = new RegExp(`^(?=.{1,64}$)${DOT_STRING}$`, 'u');

function isSender(sender: string): boolean {
  const at = sender.lastIndexOf('@');
  const local = sender.slice(0, at);
  return DOMAIN.test(sender.slice(at + 1)) && (local === '*' || LOCAL_PART.test(local));
}
