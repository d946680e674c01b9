/** A session in which a client says what it wants to, whatever it is told. */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';

const HANG_MS = 20_000;
const READY = '\r\n220 2.0.0 ready to start TLS\r\n';

/** Resolves with all that the server said, once it has ended the connection. */
export async function converse(port: number, implicitTls: boolean, pieces: readonly Buffer[]): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port });
  socket.setNoDelay(true);
  const stream: Socket = implicitTls ? connectTls({ socket, rejectUnauthorized: false }) : socket;
  let said = '';
  stream.setEncoding('latin1').on('data', (text) => {
    said += text;
    // What was sent behind STARTTLS is dropped, and the server waits for a handshake that does not come.
    if (said.includes(READY)) stream.destroy();
  });
  for (const one of new Set([socket, stream])) one.on('error', () => {});
  const closed = Promise.race([
    new Promise((resolve) => stream.once('close', () => resolve(true))),
    pause(HANG_MS, false, { ref: false }),
  ]);
  for (const piece of pieces) {
    if (stream.writable) stream.write(piece);
    await nextTurn();
  }
  assert.ok(await closed, `the session hangs; it said ${JSON.stringify(said.slice(-200))}`);
  const [clear = '', handshake] = said.split(READY);
  if (handshake === undefined) return said;
  // No reply follows, but an alert of TLS may (RFC 8446 5.1): what came was no ClientHello.
  assert.ok(handshake === '' || handshake.startsWith('\x15'), `in clear after STARTTLS: ${handshake}`);
  return `${clear}${READY}`;
}
