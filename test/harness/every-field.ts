/**
 * A config folder in which every field that an operator of this version writes has a value: what relays of earlier and
 * later versions have to read. It is for the user app.default, whose password is PASSWORD, and signs with both keys.
 */
import { domainDocument, judgeKeys } from '../../operator/maildomain/dkim-keys.ts';
import { relayGroup } from '../../operator/smtprelay/relay-group.ts';
import { userDocument } from '../../operator/smtpuser/user-document.ts';
import { SELF_SIGNED } from './certificate.ts';
import { firstKeys } from './dkim-keys.ts';
import * as manifests from './manifests.ts';
import { verifierOf } from './receiving.ts';

export async function everyField(password: string): Promise<ReadonlyMap<string, string>> {
  const domain = manifests.domain('example-test');
  const unsigned = manifests.domain('unsigned-test', {
    domain: 'unsigned.test',
    dkim: { ...domain.spec.dkim, algorithms: [] },
  });
  const smarthost = (host: string, mode: 'Disabled' | 'Opportunistic' | 'Required' | 'Verified') => ({
    ...{ host, port: 2525, tls: { mode } },
  });
  const { limits } = manifests.relay('outbound').spec;
  const relay = manifests.relay('outbound', {
    replicas: 3,
    listeners: [
      {
        ...{ name: 'submission', protocol: 'Submission', port: 587, tls: 'Optional' },
        ...{ auth: { exemptNetworks: ['10.0.0.0/8'] }, proxyProtocol: { from: ['192.0.2.0/24', 'fd00::/8'] } },
      },
      {
        ...{ name: 'submissions', protocol: 'Submissions', port: 465, tls: 'Required' },
        ...{ auth: { exemptNetworks: [] }, proxyProtocol: { from: [] } },
      },
    ],
    delivery: {
      routes: [
        {
          match: { domains: ['*.routed.test', 'Routed.test'] },
          smarthosts: [smarthost('one.test', 'Disabled'), smarthost('two.test', 'Opportunistic')],
        },
        {
          match: { domains: ['*'] },
          smarthosts: [
            { ...smarthost('three.test', 'Required'), credentialsSecretRef: { name: 'provider' } },
            smarthost('127.0.0.1', 'Verified'),
          ],
        },
      ],
      direct: { resolvers: ['127.0.0.1:53', '[::1]:5353'], port: 25 },
      retry: { schedule: ['5m', '1h30m'], expireAfter: '120h' },
      destinations: [
        {
          ...{ name: 'provider', match: { domains: ['*.Big.test'], mx: ['*.mx.big.test'] } },
          ...{ maxConnections: 20, messagesPerConnection: 50, messagesPerMinute: 600 },
        },
      ],
      suspended: true,
    },
    limits: { ...limits, messagesPerSession: 100, recipientsPerSession: 1_000 },
  });
  const certificate = { chain: SELF_SIGNED.cert, key: SELF_SIGNED.key };
  const { documents } = relayGroup({
    relay,
    certificate,
    namedCertificates: [{ names: ['mail.example.test', '*.example.test'], ...certificate }],
    domains: [domainDocument(domain, judgeKeys(domain, await firstKeys(domain)).ready), domainDocument(unsigned, [])],
    users: [
      userDocument(
        manifests.user('app', {
          senders: ['*@example.test', 'only@unsigned.test'],
          quota: { recipientsPerHour: 1_000, recipientsPerDay: 10_000 },
          allowedNetworks: ['127.0.0.0/8', '::1/128'],
        }),
        { verifier: verifierOf(password), previousVerifier: verifierOf('former') },
      ),
      userDocument(manifests.user('off', { suspended: true }), { verifier: verifierOf(password) }),
    ],
    peers: { host: 'outbound-{ordinal}.outbound-pods.default.svc', port: 9466, ca: SELF_SIGNED.cert },
    bindPort: (port) => 10_000 + port,
  });
  return documents;
}
