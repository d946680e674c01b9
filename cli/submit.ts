/** Submits a message as any client would: TLS verified by the CA of the credential, then AUTH. */
import { createTransport } from 'nodemailer';
import type { Credential } from './credential.ts';
import { EXIT, Failure } from './failure.ts';

export interface Letter {
  readonly from: string;
  readonly to: readonly string[];
  readonly subject: string;
  readonly text: string;
}

export interface Sent {
  /** Last reply of the server; it names the queue id. */
  readonly response: string;
  readonly messageId: string;
  readonly accepted: readonly string[];
  /** Recipients that were refused, each with the reply. */
  readonly rejected: readonly string[];
}

/** @throws {Failure} when the message was not taken, with what the server said */
export async function submit(credential: Credential, { from, to, subject, text }: Letter): Promise<Sent> {
  const { host, port, username, password, tls, ca } = credential;
  const transport = createTransport({
    host,
    port,
    secure: tls === 'implicit',
    requireTLS: true,
    auth: { user: username, pass: password },
    tls: { ca, minVersion: 'TLSv1.2' },
    connectionTimeout: 10_000,
    greetingTimeout: 10_000,
    socketTimeout: 120_000,
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  try {
    const info = await transport.sendMail({ from, to: [...to], subject, text });
    return {
      response: info.response,
      messageId: info.messageId,
      accepted: info.accepted.map(addressOf),
      rejected: (info.rejectedErrors ?? []).map(({ message }) => message),
    };
  } catch (error) {
    throw failure(error, `${host}:${port}`);
  } finally {
    transport.close();
  }
}

const addressOf = (address: string | { address: string }): string =>
  typeof address === 'string' ? address : address.address;

function failure(error: unknown, server: string): Failure {
  if (!(error instanceof Error)) return new Failure(`${server} did not take the message: ${String(error)}`);
  const { message } = error;
  const code = 'code' in error ? error.code : undefined;
  // nodemailer puts ESOCKET over the code of the system; a certificate that does not verify has no system call.
  if ('syscall' in error || code === 'ETIMEDOUT' || code === 'EDNS' || code === 'ECONNECTION') {
    return new Failure(`${server} cannot be reached: ${message}; is "chasqui standalone" running?`, EXIT.unavailable);
  }
  const reply = 'response' in error && typeof error.response === 'string' ? error.response : message;
  return new Failure(`${server} did not take the message: ${reply}`);
}
