/** Clients that never come to an end: the running relay's memory does not grow with what they send, and others are served. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { Destination } from '../harness/destination.ts';
import { DOMAIN, domain, RELAY, relay, send } from '../harness/local-relay.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

const SESSIONS = 32;
const PIECE = 64 * 1024;
/** Of a session: 10 MiB of what is read and dropped, 1 MiB of what is acted upon. */
const PIECES = 160;
const PIECES_OF_COMMANDS = 16;
/** All sessions of a kind send 320 MiB, and the heap grows by some 70 before it is collected; content that waits for its file adds to it. */
const GROWTH_KIB = 250 * 1024;

const BEGIN = 'EHLO x\r\n';
const DATA = `${BEGIN}MAIL FROM:<a@example.test>\r\nRCPT TO:<b@dest.test>\r\nDATA\r\n`;
/** How they begin, and what they say from then on. */
const ENDLESS: readonly (readonly [what: string, begin: string, more: string])[] = [
  ['a line', '', 'x'],
  ['a line of AUTH', `${BEGIN}AUTH PLAIN `, 'QUJD'],
  ['a line of bare CR', BEGIN, '\r'],
  ['commands that are none', BEGIN, 'x\r\n'],
  ['commands, and reads no reply', BEGIN, 'NOOP\r\n'],
  ['answers of many lines, and reads none', '', 'EHLO x\r\n'],
  ['recipients', `${BEGIN}MAIL FROM:<a@example.test>\r\n`, 'RCPT TO:<b@dest.test>\r\n'],
  ['messages that begin', BEGIN, 'MAIL FROM:<a@example.test>\r\nRSET\r\n'],
  ['a header field', `${DATA}Subject: `, 'x'],
  ['folds', `${DATA}Subject: x\r\n`, ' x\r\n'],
  ['header fields', DATA, 'Received: x\r\n'],
  ['a line of content', `${DATA}From: a@example.test\r\n\r\n`, 'x'],
  ['dots', `${DATA}From: a@example.test\r\n\r\n`, '..\r\n'],
  ['a proxy header', 'PROXY TCP4 ', '1'],
  ['a handshake', `${BEGIN}STARTTLS\r\n`, '\x16\x03\x01\xff\xff'],
];

/** Peak of the resident memory, in KiB. */
const peak = (pid: number): number =>
  Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);

/** Sends for as long as the relay takes it; resolves when all is sent, or the relay has ended the session. */
async function drone(port: number, begin: string, more: string, reads: boolean, sockets: Set<Socket>): Promise<void> {
  const socket = connect({ host: '127.0.0.1', port });
  sockets.add(socket);
  socket.on('error', () => {});
  const closed = new Promise((resolve) => socket.once('close', resolve));
  if (reads) socket.resume();
  const piece = Buffer.from(more.repeat(Math.ceil(PIECE / more.length)), 'latin1');
  socket.write(begin);
  const pieces = /^[A-Z].*\r\n$/.test(more) && !begin.endsWith('DATA\r\n') ? PIECES_OF_COMMANDS : PIECES;
  for (let n = 0; n < pieces && !socket.destroyed; n += 1) {
    if (socket.write(piece)) continue;
    await Promise.race([once(socket, 'drain').catch(() => {}), closed]);
  }
}

test('memory stays bounded, and mail of others goes through', { skip: process.platform !== 'linux' }, async (t) => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  await using destination = await Destination.start();
  await using standalone = await Standalone.start({
    'relay.yaml': `${relay({ port, submission, monitoring, destination: destination.port })}  limits: {connectionsPerClient: 1000, messageSize: 8Mi}\n`,
    'domain.yaml': domain(),
  });
  for (const id of [RELAY, DOMAIN]) await standalone.untilReady(id);
  const pid = standalone.replicaPids().get(0) ?? 0;
  await send(port, 'before');
  const before = peak(pid);
  const sockets = new Set<Socket>();
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  for (const [what, begin, more] of ENDLESS) {
    const reads = !what.includes('read');
    const drones = Array.from({ length: SESSIONS }, () => drone(port, begin, more, reads, sockets));
    // Who reads no reply is not read from either, and stays.
    if (reads) await Promise.all(drones);
    await send(port, `while somebody sends ${what}`);
    const growth = peak(pid) - before;
    t.diagnostic(`${what}: ${growth} KiB more`);
    assert.ok(growth < GROWTH_KIB, `${what}: ${growth} KiB more`);
  }
  await destination.until(() => destination.messages.length === ENDLESS.length + 1);
  assert.equal(standalone.replicaPids().get(0), pid, 'and it is the same process');
});
