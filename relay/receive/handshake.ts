/** TLS on a socket that is open, from its first byte or after STARTTLS. */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { ServerCertificates } from './certificates.ts';

/**
 * Begins a handshake as server. The socket is not read by anybody else any more; what it has read goes into the
 * handshake.
 *
 * @param done TLS version and cipher
 * @param failed the socket is gone, and why
 */
export function beginHandshake(
  socket: Socket,
  certificates: ServerCertificates,
  done: (tls: string) => void,
  failed: (problem: string) => void,
): TLSSocket {
  socket.removeAllListeners('data');
  socket.removeAllListeners('end');
  socket.pause();
  // A handshake sends more than once without being answered between, and so does what follows it.
  socket.setNoDelay(true);
  const secure = new TLSSocket(socket, {
    isServer: true,
    secureContext: certificates.default,
    ...(certificates.choose && { SNICallback: certificates.choose }),
  });
  let problem = 'the client left in the handshake';
  secure.once('_tlsError', (error: Error) => {
    problem = error.message;
    secure.destroy();
  });
  const closed = () => failed(problem);
  const left = () => secure.destroy();
  secure.once('close', closed);
  secure.once('end', left);
  // Once: a client of TLS 1.2 may negotiate again, which begins no new session.
  secure.once('secure', () => {
    if (secure.destroyed) return;
    secure.off('close', closed);
    secure.off('end', left);
    done(`${secure.getProtocol()} ${secure.getCipher().name}`);
  });
  return secure;
}
