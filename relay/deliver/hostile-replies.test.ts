/** Destinations that say anything at all: a session with them ends, and nothing counts as delivered but by their word. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';
import fc from 'fast-check';
import { HostFailure } from './classify.ts';
import { connect } from './connection.ts';
import type { Timeouts } from './timeouts.ts';

/** Hostile ones are silent too: their time is short. */
const TIMEOUTS: Timeouts = { dns: 0, connect: 5_000, greeting: 5_000, command: 2_000, finalDot: 2_000, attempt: 5_000 };
/** All of that, on a busy machine. */
const LONGEST_MS = 20_000;

/** What a server says, one item for each line that it is told; each item in pieces of these sizes. */
interface Play {
  readonly items: readonly Buffer[];
  readonly size: number;
  /** It has nothing more to say, and goes, when it was told nothing for so long. */
  readonly quietMs: number;
}

/** One session of a server with a client. */
class Session {
  /** Bytes said when the dot that ends the message had come. */
  saidBeforeDot: number | undefined;
  said = '';
  readonly #play: Play;
  readonly #socket: Socket;
  #input = '';
  #next = 0;
  #asked = 1;
  #saying = false;

  constructor(socket: Socket, play: Play) {
    this.#socket = socket;
    this.#play = play;
    socket.setTimeout(play.quietMs, () => socket.end());
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk: Buffer) => this.#heard(chunk.toString('latin1')));
    void this.#say();
  }

  #heard(text: string): void {
    this.#input += text;
    if (this.#waits || this.saidBeforeDot !== undefined) {
      if (this.saidBeforeDot !== undefined || !this.#input.endsWith('\r\n.\r\n')) return;
      this.saidBeforeDot = this.said.length;
      this.#asked += 1;
    } else this.#asked += text.split('\r\n').length - 1;
    void this.#say();
  }

  async #say(): Promise<void> {
    if (this.#saying) return;
    this.#saying = true;
    for (; this.#asked > 0 && !this.#waits; this.#asked -= 1) {
      const item = this.#play.items[this.#next] ?? Buffer.alloc(0);
      this.#next += 1;
      for (const piece of pieces(item, this.#play.size)) {
        if (this.#socket.destroyed) break;
        this.said += piece.toString('latin1');
        this.#socket.write(piece);
        await nextTurn();
      }
    }
    if (this.#waits) this.#asked = 0;
    this.#saying = false;
  }

  /** For the end of the message: said before that, what follows could come too late to be known for it. */
  get #waits(): boolean {
    return this.said.includes('354') && this.saidBeforeDot === undefined;
  }
}

/**
 * What follows the end of a line goes out with it: if it came later, no client could tell that it was said before the
 * client's next words had come.
 */
function* pieces(item: Buffer, size: number): Generator<Buffer> {
  for (let from = 0; from < item.length; ) {
    const end = item[from + size - 1] === 0x0a ? item.length : from + size;
    yield item.subarray(from, end);
    from = end;
  }
}

let server: Server;
let play: Play;
let session: Session | undefined;
before(async () => {
  server = createServer({ noDelay: true }, (socket) => {
    session = new Session(socket, play);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
after(() => {
  server.close();
});

/** @returns the code that the message was answered with; undefined where there was no answer */
async function send(items: readonly Buffer[], size: number, large: boolean, quietMs = 30): Promise<number | undefined> {
  play = { items, size, quietMs };
  session = undefined;
  const address = server.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  const target = { host: 'dest.test', address: '127.0.0.1', port };
  const signal = new AbortController().signal;
  const tls = { starttls: 'if offered', verify: false } as const;
  const content = Buffer.from(`Subject: x\r\n\r\n${'Hello.\r\n'.repeat(large ? 1_000 : 1)}`);
  const sending = async (): Promise<number | undefined> => {
    const connection = await connect(target, { hostname: 'relay.test', tls, timeouts: TIMEOUTS, signal });
    const { replies } = await connection.send({
      mailFrom: 'app@example.test',
      mailParameters: [],
      recipients: [{ address: 'bob@dest.test', parameters: [] }],
      content: large ? () => inPieces(content) : content,
    });
    void connection.quit();
    return replies.get('bob@dest.test')?.code;
  };
  const late = pause(LONGEST_MS, 'late', { ref: false });
  const result = await Promise.race([sending().catch((error: unknown) => error), late]);
  assert.notEqual(result, 'late', 'it ends');
  if (typeof result === 'number' || result === undefined) return result;
  assert.ok(result instanceof HostFailure);
  return undefined;
}

async function* inPieces(content: Buffer): AsyncGenerator<Buffer> {
  for (let from = 0; from < content.length; from += 1_000) yield content.subarray(from, from + 1_000);
}

function judge(code: number | undefined): void {
  if (code === undefined) return;
  assert.ok(code >= 200 && code < 600);
  if (code >= 300) return;
  assert.ok(session?.saidBeforeDot !== undefined, 'the message is complete before it counts as taken');
  assert.match(session.said.slice(session.saidBeforeDot), /^2\d\d(?:[ \r-].*)?\n/s, 'and taken by its word');
}

const KIND = ['220 x', '250-x\r\n250 SIZE', '250 ok', '250 ok', '354 go', '250 taken', '221 bye'];
const PIPELINING = KIND.with(1, '250-x\r\n250 PIPELINING');
const TEXTS = [
  ...['', '2', '25', '250', '250-', '250 ', '250-a\r\n550 b', '250-a\r\nb', '250-a\n250 b', '354', '354 a\r\n250 b'],
  ...['199 a', '299 a', '300 a', '421 a', '450 4.2.2 a', '550 5.1.1 a', '600 a', '2500', '-250 a', ' 250 a', '250\ta'],
  ...['250 a\r\n250 b', '\r\n', '\0', '250 \xff\xfe', '250-STARTTLS\r\n250 x', 'QUIT', '.', `250 ${'x'.repeat(3_000)}`],
];

/** A dialogue with some of its replies changed, dropped, doubled or put elsewhere. */
const mutated = fc
  .tuple(
    fc.constantFrom(KIND, PIPELINING),
    fc.array(
      fc.record({
        how: fc.constantFrom('replace', 'insert', 'drop', 'double', 'join', 'flip', 'cut'),
        at: fc.nat({ max: 6 }),
        text: fc.constantFrom(...TEXTS),
        byte: fc.nat({ max: 255 }),
      }),
      { maxLength: 3 },
    ),
  )
  .map(([kind, changes]) => {
    const items = kind.map((text) => Buffer.from(`${text}\r\n`, 'latin1'));
    for (const { how, at, text, byte } of changes) {
      const item = items[at] ?? Buffer.alloc(0);
      const other = Buffer.from(`${text}\r\n`, 'latin1');
      if (how === 'replace') items.splice(at, 1, other);
      else if (how === 'insert') items.splice(at, 0, other);
      else if (how === 'drop') items.splice(at, 1);
      else if (how === 'double') items.splice(at, 1, Buffer.concat([item, item]));
      else if (how === 'join') items.splice(at, 2, Buffer.concat([item, items[at + 1] ?? other]));
      else if (how === 'cut') items.splice(at, 1, item.subarray(0, byte % (item.length + 1)));
      else if (item.length > 0) item[byte % item.length] = byte;
    }
    return items;
  });
const anything = fc.array(
  fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  { maxLength: 8 },
);
const size = fc.constantFrom(1, 2, 3, 7, 100, 100_000);

test('an honest dialogue delivers, however it is cut', async () => {
  for (const kind of [KIND, PIPELINING]) {
    for (const cut of [1, 3, 100]) {
      for (const large of [false, true]) {
        const items = kind.map((text) => Buffer.from(`${text}\r\n`));
        const code = await send(items, cut, large, LONGEST_MS);
        assert.equal(code, 250);
        judge(code);
      }
    }
  }
});

test('a dialogue with faults delivers only what is taken, and always ends', async () => {
  await fc.assert(
    fc.asyncProperty(mutated, size, fc.boolean(), async (items, cut, large) => {
      judge(await send(items, cut, large));
    }),
    { numRuns: 300 },
  );
});

test('any bytes at all end the session, and deliver nothing', async () => {
  await fc.assert(
    fc.asyncProperty(anything, size, fc.boolean(), async (items, cut, large) => {
      judge(await send(items, cut, large));
    }),
    { numRuns: 80 },
  );
});
