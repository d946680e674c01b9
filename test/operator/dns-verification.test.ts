/** A domain that waits for its records: what a person publishes, in a name server, and what becomes of its mail. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Destination } from '../harness/destination.ts';
import { MockDns } from '../harness/dns.ts';
import { DOMAIN, RELAY, relay } from '../harness/local-relay.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { freePorts, Standalone, type StoredRecord } from '../harness/standalone.ts';

const domain = (dns = '', annotations = ''): string => `
apiVersion: chasqui.dev/v1alpha1
kind: MailDomain
metadata: {name: example-test, annotations: {${annotations}}}
spec: {domain: example.test, relayRefs: [{name: outbound}], spf: {include: [spf.other.test]}, dns: {${dns}}}
`;

const records = (standalone: Standalone): readonly StoredRecord[] =>
  standalone.object(DOMAIN)?.status?.dnsRecords ?? [];
const named = (standalone: Standalone, name: string): StoredRecord | undefined =>
  records(standalone).find((record) => record.name === name);
const states = (standalone: Standalone): string =>
  (standalone.object(DOMAIN)?.status?.dkim?.keys ?? []).map(({ selector, state }) => `${selector} ${state}`).join(', ');
const events = (standalone: Standalone): readonly string[] =>
  standalone.lines.flatMap(({ reason }) => (typeof reason === 'string' ? [reason] : []));

/** Publishes a record as it is to be, cut into strings of at most so many characters. */
function publish(dns: MockDns, { name, value }: StoredRecord, length = 255): void {
  dns.remove(name).add({ type: 'TXT', name, data: value.match(new RegExp(`.{1,${length}}`, 'g')) ?? [] });
}

test('a key signs once it is in DNS, and a record that is wrong is told with what is there instead', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  await using destination = await Destination.start();
  await using dns = await MockDns.start();
  dns.add({ type: 'TXT', name: 'spf.other.test', data: ['v=spf1 ip4:192.0.2.77 -all'] });
  await using standalone = await Standalone.start(
    { 'relay.yaml': relay({ port, submission, monitoring, destination: destination.port }), 'domain.yaml': domain() },
    ['--dns-resolvers', dns.address],
  );
  await standalone.untilReady(RELAY);
  await standalone.until('the records are told as missing', () => {
    const all = records(standalone);
    return all.length === 4 && all.every(({ state }) => state === 'Missing');
  });
  assert.equal(states(standalone), 'chasqui-r1 Publishing, chasqui-e1 Publishing');
  assert.match(standalone.condition(DOMAIN, 'DkimReady')?.message ?? '', /^Publish TXT chasqui-r1\._domainkey\.exam/);
  await using client = await SmtpClient.connect(port);
  assert.match(await client.say('EHLO client.test'), /^250-/);
  const send = async (): Promise<string> => {
    await client.talk(['MAIL FROM:<shop@example.test>', '250'], ['RCPT TO:<ada@example.org>', '250'], ['DATA', '354']);
    return client.content('From: shop@example.test\r\nSubject: Hello\r\n\r\nHello\r\n');
  };
  assert.match(await send(), /^451 4\.7\.5 /);

  const [rsa, ed25519] = ['chasqui-r1', 'chasqui-e1'].map((each) =>
    named(standalone, `${each}._domainkey.example.test`),
  );
  const [spf, dmarc] = ['example.test', '_dmarc.example.test'].map((each) => named(standalone, each));
  assert.ok(rsa && ed25519 && spf && dmarc);
  // The RSA key in the place of the other one.
  publish(dns, { ...ed25519, value: rsa.value });
  await standalone.until('the wrong key is told', () => named(standalone, ed25519.name)?.state === 'Wrong');
  assert.match(named(standalone, ed25519.name)?.observed ?? '', /^another type of key: v=DKIM1; k=rsa/);
  assert.match(await send(), /^451 4\.7\.5 /);

  // Cut otherwise than we would, with white space in it.
  publish(dns, { ...rsa, value: rsa.value.replace('; ', ' ;').replace('p=', 'p = ') }, 50);
  await standalone.until('the RSA key signs', () => /^chasqui-r1 Active/.test(states(standalone)));
  await standalone.until('mail is taken', async () => /^250 /.test(await send()));
  const [message] = await destination.received(1);
  const signatures = message?.data.toString().match(/\bs=chasqui-[a-z0-9]+/g);
  assert.deepEqual(signatures, ['s=chasqui-r1']);
  assert.equal(standalone.condition(DOMAIN, 'Ready')?.status, 'False');

  publish(dns, ed25519);
  publish(dns, spf);
  publish(dns, { ...dmarc, value: 'v=DMARC1;p=None; adkim=s' });
  await standalone.untilReady(DOMAIN);
  assert.deepEqual(
    records(standalone).map(({ state }) => state),
    ['Published', 'Published', 'Published', 'Published'],
  );
  assert.equal(states(standalone), 'chasqui-r1 Active, chasqui-e1 Active');
  for (const reason of ['DnsRecordWrong', 'DkimKeyActive', 'DnsRecordPublished']) {
    assert.ok(events(standalone).includes(reason), `${reason} among ${events(standalone).join()}`);
  }
});

test('a rotation: the next key signs once DNS has it, and DNS that fails stops nothing', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  await using destination = await Destination.start();
  await using dns = await MockDns.start();
  dns.add({ type: 'TXT', name: 'spf.other.test', data: ['v=spf1 -all'] });
  await using standalone = await Standalone.start(
    { 'relay.yaml': relay({ port, submission, monitoring, destination: destination.port }), 'domain.yaml': domain() },
    ['--dns-resolvers', dns.address],
  );
  await standalone.until('there are records', () => records(standalone).length === 4);
  for (const record of records(standalone)) publish(dns, record);
  await standalone.untilReady(DOMAIN);

  standalone.write('domain.yaml', domain('', 'chasqui.dev/rotate-dkim: "1"'));
  await standalone.until('the next keys are made', () =>
    /r1 Active.*r2 Publishing.*e2 Publishing/.test(states(standalone)),
  );
  assert.equal(standalone.condition(DOMAIN, 'Ready')?.status, 'True', 'while they wait');
  const r2 = named(standalone, 'chasqui-r2._domainkey.example.test');
  assert.ok(r2);

  // From here on DNS fails for all that was published before; the operator is killed while it does.
  for (const { name } of records(standalone)) if (!name.includes('2._domainkey')) dns.fail(name, 'servfail');
  await standalone.kill();
  standalone.run();
  publish(dns, r2);
  await standalone.until('the next RSA key signs', () =>
    /^chasqui-r1 Retiring, chasqui-r2 Active, chasqui-e1 Active, chasqui-e2 Publishing$/.test(states(standalone)),
  );
  assert.equal(standalone.condition(DOMAIN, 'DnsVerified')?.status, 'True', 'as it was last seen');
  assert.equal(named(standalone, 'chasqui-r1._domainkey.example.test')?.state, 'Published', 'and stays in the list');
  await standalone.until('the relay goes by it', () => standalone.condition(DOMAIN, 'Programmed')?.status === 'True');

  await using client = await SmtpClient.connect(port);
  await client.talk(
    ['EHLO client.test', '250'],
    ['MAIL FROM:<shop@example.test>', '250'],
    ['RCPT TO:<ada@example.org>', '250'],
    ['DATA', '354'],
  );
  assert.match(await client.content('From: shop@example.test\r\nSubject: Hello\r\n\r\nHello\r\n'), /^250 /);
  const [message] = await destination.received(1);
  const signatures = message?.data.toString().match(/\bs=chasqui-[a-z0-9]+/g);
  assert.deepEqual(signatures?.sort(), ['s=chasqui-e1', 's=chasqui-r2']);
  assert.equal(
    standalone.lines.filter(({ reason }) => reason === 'DkimKeyCreated').length,
    4,
    'no key is made twice, over the restart too',
  );
});
