/** The relay that tests of standalone run: its manifests, and clients and processes as seen from outside. */
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { createTransport } from 'nodemailer';

export const RELAY = 'SmtpRelay/default/outbound';
export const DOMAIN = 'MailDomain/default/example-test';
export const USER = 'SmtpUser/default/app';

export interface RelayWish {
  readonly port: number;
  readonly submission: number;
  readonly monitoring: number;
  readonly destination?: number;
  readonly replicas?: number;
  readonly drainTimeout?: string;
}

/** An SmtpRelay with a listener for clients of this machine, and one for SmtpUsers. */
export const relay = ({
  port,
  submission,
  monitoring,
  destination = 9,
  replicas = 1,
  drainTimeout = '10m',
}: RelayWish): string => `
apiVersion: chasqui.dev/v1alpha1
kind: SmtpRelay
metadata: {name: outbound}
spec:
  hostname: relay.example.test
  replicas: ${replicas}
  listeners:
    - {name: local, protocol: Submission, port: ${port}, tls: Optional, auth: {exemptNetworks: [127.0.0.0/8]}}
    - {name: submission, protocol: Submission, port: ${submission}}
  delivery:
    routes:
      - {match: {domains: ["*"]}, smarthosts: [{host: 127.0.0.1, port: ${destination}, tls: {mode: Disabled}}]}
    retry: {schedule: [1s], expireAfter: 10m}
  monitoring: {port: ${monitoring}}
  deletion: {drainTimeout: ${drainTimeout}}
`;

export const domain = (name = 'example-test', of = 'example.test'): string => `
apiVersion: chasqui.dev/v1alpha1
kind: MailDomain
metadata: {name: ${name}}
spec: {domain: ${of}, relayRefs: [{name: outbound}], dns: {verification: Disabled}}
`;

export const userManifest = `
apiVersion: chasqui.dev/v1alpha1
kind: SmtpUser
metadata: {name: app}
spec: {relayRef: {name: outbound}, senders: ["*@example.test"], secret: {name: app-smtp}}
`;

/** The greeting of the relay at the port, or the code of the error. */
export function greeting(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let text = '';
    socket.setTimeout(30_000, () => socket.destroy());
    socket.on('data', (data) => {
      text += data;
    });
    socket.once('data', () => socket.end('QUIT\r\n'));
    // A server that greets with 421 is gone when QUIT comes: what it said counts.
    socket.on('error', (error) => {
      if (text === '') resolve('code' in error ? String(error.code) : error.message);
    });
    socket.on('close', () => resolve(text.slice(0, 9)));
  });
}

/** Connects again and again, two at a time, until it is told to end; tells what it met. */
export function clients(
  port: number,
): AsyncDisposable & { readonly met: readonly string[]; end(): Promise<readonly string[]> } {
  let ended = false;
  const met: string[] = [];
  const run = async (): Promise<void> => {
    while (!ended) met.push((await greeting(port)).replace(/^(\d{3}) .*/, '$1'));
  };
  const running = Promise.all([run(), run()]);
  const end = async (): Promise<readonly string[]> => {
    ended = true;
    await running;
    return met;
  };
  return {
    met,
    end,
    [Symbol.asyncDispose]: async () => {
      await end();
    },
  };
}

export async function send(port: number, subject: string): Promise<void> {
  const transport = createTransport({ host: '127.0.0.1', port, ignoreTLS: true });
  await transport.sendMail({ from: 'shop@example.test', to: 'ada@example.org', subject, text: 'Hello' });
  transport.close();
}

/** A process that has ended may wait for its parent to ask: it is gone all the same. */
export function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
