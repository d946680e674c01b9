/** The relay as the smarthost of two real Postfix servers that write to each other. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { createTransport } from 'nodemailer';
import { needsPostfix, Postfix } from '../harness/postfix.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

const MANIFESTS = (port: number, monitoring: number, a: number, b: number): string => `
apiVersion: chasqui.dev/v1alpha1
kind: SmtpRelay
metadata: {name: outbound}
spec:
  hostname: relay.example.test
  listeners:
    - {name: local, protocol: Submission, port: ${port}, tls: Optional, auth: {exemptNetworks: [127.0.0.0/8]}}
  delivery:
    routes:
      - {match: {domains: [a.test]}, smarthosts: [{host: 127.0.0.1, port: ${a}, tls: {mode: Disabled}}]}
      - {match: {domains: [b.test]}, smarthosts: [{host: 127.0.0.1, port: ${b}, tls: {mode: Disabled}}]}
    retry: {schedule: [1s], expireAfter: 10m}
  monitoring: {port: ${monitoring}}
---
apiVersion: chasqui.dev/v1alpha1
kind: MailDomain
metadata: {name: a-test}
spec: {domain: a.test, relayRefs: [{name: outbound}], dns: {verification: Disabled}}
---
apiVersion: chasqui.dev/v1alpha1
kind: MailDomain
metadata: {name: b-test}
spec: {domain: b.test, relayRefs: [{name: outbound}], dns: {verification: Disabled}}
`;

/** Hands a message to the mail server of its sender. */
async function write(server: Postfix, from: string, to: string, text: string): Promise<void> {
  const transport = createTransport({ host: '127.0.0.1', port: server.port, ignoreTLS: true });
  const content = `From: <${from}>\r\nTo: <${to}>\r\nSubject: ${text}\r\nMessage-ID: <${text}@test>\r\n\r\n.${text}\r\n`;
  await transport.sendMail({ envelope: { from, to: [to] }, raw: content });
  transport.close();
}

/** The lines of the body as a mailbox keeps them. */
const body = (mail: string): string => mail.slice(mail.indexOf('\n\n') + 2);
const signatures = (mail: string): number => [...mail.matchAll(/^DKIM-Signature:/gm)].length;

test(
  'two Postfix servers write to each other through the relay, and learn of unknown users',
  needsPostfix,
  async (t) => {
    const [port = 0, monitoring = 0, portA = 0, portB = 0] = await freePorts(4);
    await using relay = await Standalone.start({ 'mail.yaml': MANIFESTS(port, monitoring, portA, portB) });
    await using a = await Postfix.start({ domain: 'a.test', mailboxes: ['ada'], port: portA, smarthost: port });
    await using b = await Postfix.start({ domain: 'b.test', mailboxes: ['bea'], port: portB, smarthost: port });
    await relay.untilReady('SmtpRelay/default/outbound');
    await relay.untilReady('MailDomain/default/a-test');
    await relay.untilReady('MailDomain/default/b-test');

    await t.test('a message each way arrives as it was written, signed for the domain of its sender', async () => {
      await write(a, 'ada@a.test', 'bea@b.test', 'there');
      await write(b, 'bea@b.test', 'ada@a.test', 'back');
      const [there = ''] = await b.mails('bea', 1);
      const [back = ''] = await a.mails('ada', 1);
      assert.equal(body(there), '.there\n');
      assert.match(there, /^Return-Path: <ada@a\.test>$/m);
      assert.match(there, /\bd=a\.test\b/);
      assert.equal(signatures(there), 2);
      assert.equal(body(back), '.back\n');
      assert.match(back, /^Return-Path: <bea@b\.test>$/m);
      assert.match(back, /\bd=b\.test\b/);
    });

    await t.test('a message to nobody comes back to its sender as a bounce that names what was said', async () => {
      await write(a, 'ada@a.test', 'nobody@b.test', 'lost');
      const mails = await a.mails('ada', 2);
      const bounce = mails.find((mail) => mail.includes('multipart/report')) ?? assert.fail('no bounce');
      assert.match(bounce, /^Return-Path: <>$/m);
      assert.match(bounce, /^From: .*mailer-daemon@a\.test/im);
      assert.match(bounce, /^Final-Recipient: rfc822; ?nobody@b\.test$/im);
      assert.match(bounce, /^Action: failed$/im);
      assert.match(bounce, /^Status: 5\.1\.1$/im);
      assert.match(bounce, /^Diagnostic-Code: smtp; ?550 5\.1\.1 /im);
      assert.match(bounce, /^Message-ID: <lost@test>$/m);
      assert.equal(signatures(bounce.slice(0, bounce.indexOf('\n\n'))), 2);
    });

    await t.test('mail for a server that is down waits in the relay, and arrives once when it is back', async () => {
      await b.stop();
      for (let n = 0; n < 20; n += 1) await write(a, 'ada@a.test', 'bea@b.test', `wait${n}`);
      const deferred = () =>
        relay.lines.filter(({ event, recipient }) => event === 'deferred' && recipient === 'bea@b.test');
      await relay.until('the relay has tried', () => deferred().length >= 20);
      await b.run();
      const mails = await b.mails('bea', 21);
      const bodies = mails.map(body).toSorted();
      assert.deepEqual(bodies, ['.there\n', ...Array.from({ length: 20 }, (_, n) => `.wait${n}\n`)].toSorted());
    });
  },
);
