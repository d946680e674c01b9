import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { Input } from './input.ts';

interface Options {
  /** Lines that are answered later. */
  readonly slow?: (line: string) => Promise<void> | undefined;
}

/** An input that writes down what it tells: `line:`, the kind of a bad line, `content:` and `rest`. */
class Heard {
  readonly told: string[] = [];
  readonly input: Input;
  /** Lines since the event loop turned last. */
  atOnce = 0;

  constructor({ slow = () => undefined }: Options = {}) {
    this.input = new Input({
      line: (bytes) => {
        const line = bytes.toString('latin1');
        this.told.push(`line:${line}`);
        this.atOnce += 1;
        if (line === 'DATA') this.#content();
        return slow(line);
      },
      isAuth: (line) => line.toString('latin1', 0, 5) === 'AUTH ',
      badLine: (kind) => {
        this.told.push(kind);
        if (kind === 'endless') this.input.close();
      },
      rest: () => this.told.push('rest'),
      more: () => {},
    });
  }

  #content(): void {
    let content = '';
    this.input.readContent({
      push: (chunk) => {
        content += chunk.toString('latin1');
        return undefined;
      },
      end: async () => {
        this.told.push(`content:${content}`);
      },
    });
  }

  async write(...chunks: readonly (string | Buffer)[]): Promise<this> {
    for (const chunk of chunks) {
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk, 'latin1') : chunk;
      this.input.push(bytes);
      while (this.input.isBusy) await new Promise((resolve) => setImmediate(resolve));
    }
    return this;
  }

  /** Without the rests, which depend on the chunks. */
  get lines(): readonly string[] {
    return this.told.filter((what) => what !== 'rest');
  }
}

const hear = async (...chunks: readonly (string | Buffer)[]): Promise<readonly string[]> =>
  (await new Heard().write(...chunks)).lines;

test('lines that come together are read one by one, and a line in pieces as one', async () => {
  assert.deepEqual(await hear('EHLO x\r\nNOOP\r\n'), ['line:EHLO x', 'line:NOOP']);
  assert.deepEqual(await hear('EH', 'LO x', '\r', '\nNO', 'OP\r\n'), ['line:EHLO x', 'line:NOOP']);
});

test('what is left of an unfinished line is no line', async () => {
  assert.deepEqual(await hear('NOOP\r\nQUI'), ['line:NOOP']);
});

test('any chunks of a dialogue are read alike', async () => {
  const bytes = `EHLO x\r\nMAIL\r\nDATA\r\n..a\r\nb\n.\r\nc\r\n.\r\nNOOP\nRSET\r\nAUTH ${'x'.repeat(20)}\r\nDATA\r\n.\r\nQUIT\r\n`;
  const expected = [
    'line:EHLO x',
    'line:MAIL',
    'line:DATA',
    'content:.a\r\nb\n.\r\nc\r\n',
    'bare-line-end',
    `line:AUTH ${'x'.repeat(20)}`,
    'line:DATA',
    'content:',
    'line:QUIT',
  ];
  assert.deepEqual(await hear(bytes), expected);
  assert.deepEqual(await hear(...bytes.split('')), expected);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat({ max: bytes.length })), async (cuts) => {
      const at = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
      assert.deepEqual(await hear(...at.slice(1).map((end, index) => bytes.slice(at[index], end))), expected);
    }),
    { numRuns: 200 },
  );
});

test('a command of 2,048 octets with its CRLF is taken, a longer one is not, and the next one is', async () => {
  const longest = `NOOP ${'x'.repeat(2_048 - 7)}`;
  assert.deepEqual(await hear(`${longest}\r\n`), [`line:${longest}`]);
  assert.deepEqual(await hear(`${longest}x\r\nRSET\r\n`), ['command-too-long', 'line:RSET']);
  assert.deepEqual(await hear(...`${longest}x\r\nRSET\r\n`.split('')), ['command-too-long', 'line:RSET']);
});

test('an AUTH line may have 12,288 octets', async () => {
  const longest = `AUTH ${'x'.repeat(12_288 - 7)}`;
  assert.deepEqual(await hear(`${longest}\r\n`), [`line:${longest}`]);
  assert.deepEqual(await hear(`${longest}x\r\nRSET\r\n`), ['auth-too-long', 'line:RSET']);
  assert.deepEqual(await hear(longest.slice(0, 5_000), longest.slice(5_000), 'x\r\nRSET\r\n'), [
    'auth-too-long',
    'line:RSET',
  ]);
});

test('a line that is too long is told at its end, once, and not before', async () => {
  const heard = await new Heard().write('x'.repeat(3_000));
  assert.deepEqual(heard.lines, []);
  await heard.write('x'.repeat(3_000), '\n', 'x\r', '\n');
  assert.deepEqual(heard.lines, ['command-too-long']);
});

test('a bare LF ends no line: it is told at once, and what follows up to CRLF is dropped', async () => {
  const heard = await new Heard().write('NOOP\n');
  assert.deepEqual(heard.lines, ['bare-line-end']);
  await heard.write('MAIL FROM:<a@b>\n', 'RCPT\n', 'DATA\r\n', 'QUIT\r\n');
  assert.deepEqual(heard.lines, ['bare-line-end', 'line:QUIT']);
});

test('a bare CR ends no line', async () => {
  assert.deepEqual(await hear('NOOP\rRSET\r\n'), ['line:NOOP\rRSET']);
});

test('a line without an end is dropped as it comes, and the client with it', async () => {
  const heard = new Heard();
  const chunk = Buffer.alloc(64 * 1024, 'x');
  let sent = 0;
  while (!heard.input.isClosed) {
    await heard.write(chunk);
    sent += chunk.length;
    assert.ok(sent <= 2 * 1024 * 1024, 'it goes on and on');
  }
  assert.deepEqual(heard.lines, ['endless']);
});

test('nothing is read while a command is in hand, and nothing is lost', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const heard = new Heard({ slow: (line) => (line === 'SLOW' ? promise : undefined) });
  const written = heard.write('SLOW\r\nNOOP\r\n', 'RSET\r\n');
  await new Promise((turn) => setImmediate(turn));
  assert.deepEqual(heard.told, ['line:SLOW']);
  assert.equal(heard.input.isBusy, true);
  resolve();
  await written;
  assert.equal(heard.input.isBusy, false);
  assert.deepEqual(heard.told, ['line:SLOW', 'line:NOOP', 'rest', 'line:RSET', 'rest']);
});

test('a client that closes the input is heard no more', async () => {
  const heard: Heard = new Heard({
    slow: (line) => {
      if (line === 'QUIT') heard.input.close();
      return undefined;
    },
  });
  await heard.write('QUIT\r\nNOOP\r\n', 'RSET\r\n');
  assert.deepEqual(heard.told, ['line:QUIT']);
});

test('content of a message is no rest', async () => {
  const heard = await new Heard().write('DATA\r\n', 'text\r\n');
  assert.deepEqual(heard.told, ['line:DATA']);
  assert.equal(heard.input.isInContent, true);
  await heard.write('.\r\n');
  assert.deepEqual(heard.told, ['line:DATA', 'content:text\r\n', 'rest']);
  assert.equal(heard.input.isInContent, false);
});

test('thousands of pipelined commands leave others their turn', async () => {
  const heard = new Heard();
  const most: number[] = [];
  const turn = () => {
    most.push(heard.atOnce);
    heard.atOnce = 0;
    if (heard.told.length < 5_000) setImmediate(turn);
  };
  setImmediate(turn);
  await heard.write('NOOP\r\n'.repeat(5_000));
  assert.equal(heard.lines.length, 5_000);
  assert.ok(Math.max(...most) <= 200, `${Math.max(...most)} at once`);
});
