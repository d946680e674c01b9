/** One relay that a platform team runs for other namespaces: who of them may send as what, on the wire. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { SmtpClient } from '../harness/smtp-client.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

interface Ports {
  readonly submission: number;
  readonly monitoring: number;
}

const relay = ({ submission, monitoring }: Ports, from: string): string => `
apiVersion: chasqui.dev/v1alpha1
kind: SmtpRelay
metadata: {namespace: mail, name: outbound}
spec:
  hostname: relay.example.test
  allowedNamespaces: ${from}
  listeners: [{name: submission, protocol: Submission, port: ${submission}}]
  delivery: {suspended: true}
  monitoring: {port: ${monitoring}}
`;
const domain = (namespace: string, name: string, of: string, lentTo = 'Same'): string => `
apiVersion: chasqui.dev/v1alpha1
kind: MailDomain
metadata: {namespace: ${namespace}, name: ${name}}
spec:
  domain: ${of}
  relayRefs: [{namespace: mail, name: outbound}]
  allowedSenders: {from: ${lentTo}}
  dns: {verification: Disabled}
`;
const user = (namespace: string, name: string, sender: string): string => `
apiVersion: chasqui.dev/v1alpha1
kind: SmtpUser
metadata: {namespace: ${namespace}, name: ${name}}
spec: {relayRef: {namespace: mail, name: outbound}, senders: ["${sender}"]}
`;
/** The label that a namespace has even where nobody labels it. */
const named = (...names: string[]) =>
  `{from: Selector, selector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [${names.join()}]}]}}`;

const message = (from: string) => `From: ${from}\r\nTo: ann@elsewhere.test\r\nSubject: hello\r\n\r\nhello\r\n`;

test('each namespace sends as its own domains through the relay of another, and as nobody else', async () => {
  const [submission = 0, monitoring = 0] = await freePorts(2);
  await using standalone = await Standalone.start({
    'relay.yaml': relay({ submission, monitoring }, named('shop', 'thief')),
    'shop.yaml': [domain('shop', 'shop', 'shop.test'), user('shop', 'app', '*@shop.test')].join('---'),
  });
  const session = async (namespace: string, name: string): Promise<SmtpClient> => {
    const client = await SmtpClient.connect(submission);
    await client.startTls();
    const password = readFileSync(join(standalone.state, `secrets/${namespace}/${name}-smtp/password`), 'utf8');
    assert.match(await client.authenticate(`${name}.${namespace}`, password), /^235 /);
    return client;
  };
  const accepted = (id: string) => standalone.condition(id, 'Accepted');

  await standalone.untilReady('SmtpUser/shop/app');
  await using shop = await session('shop', 'app');
  await shop.talk(['MAIL FROM:<orders@shop.test>', '250 '], ['RCPT TO:<ann@elsewhere.test>', '250 '], ['DATA', '354 ']);
  assert.match(await shop.content(message('orders@shop.test')), /^250 /);

  // A tenant claims the domain of another, asks to send as it, and sends as it with a user of its own.
  standalone.write(
    'thief.yaml',
    [
      domain('thief', 'claimed', 'shop.test'),
      user('thief', 'pretender', '*@shop.test'),
      domain('thief', 'own', 'thief.test'),
      user('thief', 'app', '*@thief.test'),
    ].join('---'),
  );
  await standalone.untilReady('SmtpUser/thief/app');
  await standalone.until('the claims were judged', () => accepted('SmtpUser/thief/pretender') !== undefined);
  assert.equal(accepted('MailDomain/thief/claimed')?.reason, 'DomainHeld');
  assert.equal(accepted('SmtpUser/thief/pretender')?.reason, 'SenderNotAllowed');
  assert.equal(existsSync(join(standalone.state, 'secrets/thief/pretender-smtp')), false, 'no credential is made');
  await using thief = await session('thief', 'app');
  assert.match(await thief.say('MAIL FROM:<orders@shop.test>'), /^550 5\.7\.1 /);
  await thief.talk(['MAIL FROM:<me@thief.test>', '250 '], ['RCPT TO:<ann@elsewhere.test>', '250 '], ['DATA', '354 ']);
  assert.match(await thief.content(message('orders@shop.test')), /^550 5\.7\.1 /);

  // A domain is lent, and the lender takes it back.
  const lent = (to: string) =>
    [domain('shop', 'shop', 'shop.test', to), user('shop', 'app', '*@shop.test')].join('---');
  standalone.write('shop.yaml', lent('All'));
  await standalone.untilReady('SmtpUser/thief/pretender');
  await using borrower = await session('thief', 'pretender');
  await borrower.talk(['MAIL FROM:<orders@shop.test>', '250 '], ['RSET', '250 ']);
  standalone.write('shop.yaml', lent('Same'));
  const refused = async (client: SmtpClient, from: string): Promise<boolean> => {
    const reply = await client.say(`MAIL FROM:<${from}>`);
    if (reply.startsWith('250 ')) await client.talk(['RSET', '250 ']);
    return /^5[35][05] 5\.7\.[18] /.test(reply);
  };
  await standalone.until('the open session is refused', () => refused(borrower, 'orders@shop.test'));

  // The relay closes to one namespace; the other goes on.
  standalone.write('relay.yaml', relay({ submission, monitoring }, named('shop')));
  await standalone.until('the open session is refused', () => refused(thief, 'me@thief.test'));
  await standalone.until('it is told why', () => accepted('SmtpUser/thief/app')?.reason === 'RelayNotAllowed');
  await shop.talk(['MAIL FROM:<orders@shop.test>', '250 '], ['RSET', '250 ']);
});
