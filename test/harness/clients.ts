/**
 * Programs that people send mail with: Python's smtplib, swaks and nodemailer. Each knows the relay from the files of a
 * credential Secret alone, verifies its certificate, authenticates, and sends a message as it is.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { createTransport } from 'nodemailer';
import { needsPython, smtplibSend } from './python.ts';

export interface Mail {
  readonly from: string;
  readonly to: readonly string[];
  readonly content: Buffer;
  /** Some address is not ASCII. */
  readonly smtputf8?: boolean;
}

/** Where the relay is, who asks, and by which CA it is known. */
export interface Access {
  /** Folder of a credential Secret. */
  readonly credential: string;
  /** PEM file; default: that of the Secret. */
  readonly ca?: string;
}

export interface Client {
  readonly name: string;
  /** Options of a test that uses it. */
  readonly needs: { readonly skip: string | boolean };
  readonly knowsSmtputf8: boolean;
  /**
   * @throws {UntrustedServer}
   * @throws {Error} when the relay did not take the message, with what it said
   */
  send(mail: Mail, access: Access): Promise<void>;
}

/** The certificate of the relay does not come from the CA. */
export class UntrustedServer extends Error {}

const secretOf =
  ({ credential }: Access) =>
  (key: string): string =>
    readFileSync(join(credential, key), 'utf8');
const caOf = ({ credential, ca = join(credential, 'ca.crt') }: Access): string => ca;

const smtplib: Client = {
  name: "Python's smtplib",
  needs: needsPython,
  knowsSmtputf8: true,
  async send({ from, to, content, smtputf8 = false }, access) {
    const options = ['BODY=8BITMIME', ...(smtputf8 ? ['SMTPUTF8'] : [])];
    const answer = await smtplibSend({ credential: access.credential, ca: caOf(access), from, to, content, options });
    if ('refused' in answer) throw new UntrustedServer(answer.refused);
  },
};

const nodemailer: Client = {
  name: 'nodemailer',
  needs: { skip: false },
  knowsSmtputf8: true,
  async send({ from, to, content }, access) {
    const secret = secretOf(access);
    const transport = createTransport({
      host: secret('host'),
      port: Number(secret('port')),
      secure: secret('tls') === 'implicit',
      requireTLS: true,
      auth: { user: secret('username'), pass: secret('password') },
      tls: { ca: readFileSync(caOf(access), 'utf8') },
    });
    try {
      await transport.sendMail({ envelope: { from, to: [...to] }, raw: content });
    } catch (error) {
      const code = error instanceof Error && error.cause instanceof Error ? error.cause : error;
      throw isUntrusted(code) || isUntrusted(error) ? new UntrustedServer(String(error)) : error;
    } finally {
      transport.close();
    }
  },
};

/** Codes of OpenSSL's verification. */
const isUntrusted = (error: unknown): boolean =>
  error instanceof Error && /unable to (?:verify|get)|self-signed certificate/.test(error.message);

const swaks: Client = {
  name: 'swaks',
  needs: {
    skip:
      !process.env.CI && !/TLS supported/.test(spawnSync('swaks', ['--support']).stdout?.toString() ?? '')
        ? 'swaks with TLS is missing: run make test'
        : false,
  },
  knowsSmtputf8: false,
  async send({ from, to, content }, access) {
    const secret = secretOf(access);
    const tls = secret('tls') === 'implicit' ? '--tls-on-connect' : '--tls';
    const words = [
      ...['--server', secret('host'), '--port', secret('port'), tls, '--tls-verify', '--tls-ca-path', caOf(access)],
      ...['--auth', 'LOGIN', '--auth-user', secret('username'), '--auth-password', secret('password')],
      ...['--from', from, '--to', to.join(','), '--data', '-', '--suppress-data', '--hide-informational'],
    ];
    const child = spawn('swaks', words, { stdio: ['pipe', 'pipe', 'pipe'] });
    const exit = once(child, 'exit');
    child.stdin.on('error', () => {}); // its output says why
    // It takes the line of the dot with the content, and adds a line end where there is none.
    child.stdin.end(Buffer.concat([content, Buffer.from('.\r\n')]));
    const said = (await Promise.all([text(child.stdout), text(child.stderr)])).join('');
    const [code] = await exit;
    if (code === 0) return;
    // 29: TLS could not be begun (swaks(1), EXIT CODES).
    if (code === 29 && said.includes('certificate verify failed')) throw new UntrustedServer(said);
    throw new Error(`swaks ended with ${String(code)}: ${said}`);
  },
};

export const CLIENTS: readonly Client[] = [smtplib, swaks, nodemailer];
