/**
 * Judges a session from outside: the bytes that a client sent and the replies that it got. Written from RFC 5321 and
 * the promises of the relay, without its code: each line ends with CRLF and has one reply, and whatever is granted had
 * to be.
 */
import assert from 'node:assert/strict';

export interface Judge {
  /** Whether a client may send mail before it has authenticated. */
  readonly exempt: boolean;
  /** Whether AUTH is offered: under TLS. */
  readonly secure: boolean;
  /** Domains that it may send as, in A-labels. */
  readonly domains: readonly string[];
  readonly username: string;
  readonly password: string;
}

/** A message that was answered 250. */
export interface Granted {
  readonly from: string;
  readonly recipients: readonly string[];
  /** As it has to be stored: dots unstuffed, each line end a CRLF. */
  readonly body: string;
}

interface Transaction {
  readonly from: string;
  readonly recipients: string[];
}

const END_OF_DATA = '\r\n.\r\n';
const CONTROL = /[\p{Cc}\u{fffd}]/u;

/** Replies of a session, each as its code and all of its text. */
export function repliesIn(said: string): readonly string[] {
  const replies = said.match(/(?:\d{3}-[^\r\n]*\r\n)*\d{3} [^\r\n]*\r\n/g) ?? [];
  assert.equal(replies.join(''), said, 'nothing but whole replies, each line ended with CR LF');
  for (const reply of replies) {
    const codes = new Set(
      reply
        .split('\r\n')
        .slice(0, -1)
        .map((line) => line.slice(0, 3)),
    );
    assert.equal(codes.size, 1, 'one code in each reply');
  }
  return replies;
}

/**
 * @param sent one character for each byte (latin1)
 * @returns what was granted, in order
 * @throws {assert.AssertionError} where a reply is missing or too much, or something was granted that must not be
 */
export function judge(judge: Judge, sent: string, said: string): readonly Granted[] {
  const session = new Session(judge, sent);
  for (const reply of repliesIn(said)) session.reply(reply);
  session.end();
  return session.granted;
}

class Session {
  readonly granted: Granted[] = [];
  readonly #judge: Judge;
  readonly #sent: string;
  #at = 0;
  #state: 'greeting' | 'command' | 'content' | 'auth' | 'over' = 'greeting';
  #user = false;
  #helloed = false;
  #transaction: Transaction | undefined;
  /** Responses of an AUTH exchange so far, the initial one included. */
  #exchange: { readonly mechanism: string; readonly responses: string[] } | undefined;

  constructor(judge: Judge, sent: string) {
    this.#judge = judge;
    this.#sent = sent;
  }

  reply(reply: string): void {
    assert.notEqual(this.#state, 'over', `a reply after the end: ${reply}`);
    const code = Number(reply.slice(0, 3));
    if (this.#state === 'greeting') {
      this.#state = code === 220 ? 'command' : 'over';
      return;
    }
    if (this.#state === 'content') this.#content(code);
    else {
      const line = this.#next('\r\n');
      if (this.#state === 'auth') this.#response(line, code);
      else this.#command(line, code);
    }
    if (code === 421) this.#state = 'over';
  }

  /** The server has ended the connection: it had no line left to answer. */
  end(): void {
    if (this.#state === 'over') return;
    const end = this.#state === 'content' ? END_OF_DATA : '\r\n';
    const rest = this.#state === 'content' ? `\r\n${this.#sent.slice(this.#at)}` : this.#sent.slice(this.#at);
    assert.ok(!rest.includes(end), `no reply to ${JSON.stringify(rest.slice(0, 80))}`);
  }

  #next(end: string): string {
    const at = this.#sent.indexOf(end, this.#at);
    assert.ok(at >= 0, 'a reply to nothing');
    const line = this.#sent.slice(this.#at, at);
    this.#at = at + end.length;
    return line;
  }

  #command(bytes: string, code: number): void {
    const line = Buffer.from(bytes, 'latin1').toString('utf8');
    const [, verb = '', argument = ''] = /^(\S*) ?(.*)$/s.exec(line) ?? [];
    if (code >= 400) return;
    assert.ok(!CONTROL.test(line), `granted, with a control character: ${JSON.stringify(line)}`);
    assert.ok(line.length < 12_288);
    switch (verb.toUpperCase()) {
      case 'EHLO':
      case 'HELO':
      case 'RSET':
        assert.equal(code, 250);
        this.#helloed ||= verb.toUpperCase() !== 'RSET';
        this.#transaction = undefined;
        break;
      case 'MAIL':
        this.#mail(argument);
        break;
      case 'RCPT':
        this.#rcpt(argument);
        break;
      case 'DATA':
        assert.equal(code, 354);
        assert.ok(this.#transaction && this.#transaction.recipients.length > 0, 'DATA without a recipient');
        this.#state = 'content';
        break;
      case 'AUTH':
        this.#auth(argument, code);
        break;
      case 'STARTTLS':
        assert.equal(code, 220);
        assert.ok(!this.#judge.secure);
        // What follows is a handshake, and no reply.
        this.#state = 'over';
        break;
      case 'QUIT':
        assert.equal(code, 221);
        this.#state = 'over';
        break;
      default:
        assert.ok(['NOOP', 'VRFY', 'HELP'].includes(verb.toUpperCase()), `granted: ${line}`);
    }
  }

  #mail(argument: string): void {
    assert.ok(this.#helloed, 'MAIL before EHLO');
    assert.ok(this.#judge.exempt || this.#user, 'MAIL before AUTH');
    assert.equal(this.#transaction, undefined, 'MAIL within a message');
    const from = pathOf('FROM', argument);
    assert.ok(from === '' || this.#isOurs(from), `granted as a sender: ${argument}`);
    this.#transaction = { from, recipients: [] };
  }

  #rcpt(argument: string): void {
    assert.ok(this.#transaction, 'RCPT before MAIL');
    const to = pathOf('TO', argument);
    assert.match(to, /^.+@[^@]+$/su);
    if (!this.#transaction.recipients.includes(to)) this.#transaction.recipients.push(to);
  }

  #content(code: number): void {
    const start = this.#at;
    // The end may follow at once: the CRLF of DATA counts as the one before the dot (RFC 5321 4.1.1.4).
    this.#at = Math.max(start - 2, 0);
    const content = `\r\n${this.#next(END_OF_DATA)}\r\n`.slice(start - 2 >= 0 ? 4 : 2);
    this.#state = 'command';
    const transaction = this.#transaction;
    this.#transaction = undefined;
    if (code >= 400 || transaction === undefined) return;
    assert.equal(code, 250);
    assert.ok(!content.includes('\0'), 'granted, with a NUL');
    const plain = `\r\n${content}`
      .replaceAll('\r\n.', '\r\n')
      .slice(2)
      .replace(/\r\n|\r|\n/g, '\r\n');
    const blank = `\r\n${plain}`.indexOf('\r\n\r\n');
    const header = blank < 0 ? plain : plain.slice(0, blank);
    this.#header(header);
    this.granted.push({ ...transaction, body: blank < 0 ? '' : plain.slice(blank + 2) });
  }

  #header(header: string): void {
    const fields = header.replace(/\r\n[ \t]+/g, ' ').split('\r\n');
    const from = fields.filter((field) => /^from\s*:/i.test(field));
    assert.equal(from.length, 1, 'granted without exactly one From');
    for (const field of fields.filter((text) => /^(?:from|sender)\s*:/i.test(text))) {
      const addresses = field.match(/[^\s<>:,"]+@[^\s<>:,"]+/g) ?? [];
      assert.ok(addresses.length > 0, `granted without an address: ${field}`);
      for (const address of addresses) assert.ok(this.#isOurs(address), `granted with a forged header: ${field}`);
    }
  }

  #auth(argument: string, code: number): void {
    assert.ok(this.#judge.secure, 'AUTH in clear');
    assert.equal(this.#transaction, undefined, 'AUTH within a message');
    const [mechanism = '', initial] = argument.split(/ +/);
    this.#exchange = { mechanism: mechanism.toUpperCase(), responses: [] };
    if (initial !== undefined) this.#exchange.responses.push(initial === '=' ? '' : initial);
    this.#step(code);
  }

  #response(line: string, code: number): void {
    this.#exchange?.responses.push(line);
    this.#step(code);
  }

  #step(code: number): void {
    this.#state = code === 334 ? 'auth' : 'command';
    if (code !== 235) {
      assert.ok(code === 334 || code >= 400);
      return;
    }
    assert.equal(this.#user, false, 'AUTH twice');
    const { mechanism = '', responses = [] } = this.#exchange ?? {};
    const texts = responses.map((response) => Buffer.from(response, 'base64').toString());
    const [username, password] = mechanism === 'PLAIN' ? (texts.at(-1) ?? '').split('\0').slice(1) : texts.slice(-2);
    assert.deepEqual([username, password], [this.#judge.username, this.#judge.password], 'authenticated');
    this.#user = true;
  }

  #isOurs(address: string): boolean {
    const domain = address.slice(address.lastIndexOf('@') + 1);
    return this.#judge.domains.includes(domain.toLowerCase());
  }
}

/** What stands in the brackets, which close the path and nothing else (RFC 5321 4.1.2), without a source route. */
function pathOf(word: 'FROM' | 'TO', argument: string): string {
  const [, said, path] = /^(\w+): ?<([^<>]*)>(?: .*)?$/su.exec(argument.trim()) ?? [];
  assert.equal(said?.toUpperCase(), word, `granted: ${argument}`);
  assert.ok(path !== undefined);
  return path.replace(/^@[^:"]*:/, '');
}
