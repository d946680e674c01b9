/** What the demo receiver says: it takes any mail from anybody, keeps it in memory, and hands it on. */
import type { Channel, Conversation } from '../relay/receive/channel.ts';
import { parsePathArgument } from '../relay/receive/command.ts';
import type { Rejection } from '../relay/receive/policy.ts';

type Reply = readonly [code: number, ...lines: readonly string[]];

const LARGEST_MESSAGE_BYTES = 64 * 1024 * 1024;
const EXTENSIONS = ['PIPELINING', '8BITMIME', 'SMTPUTF8', 'ENHANCEDSTATUSCODES', `SIZE ${LARGEST_MESSAGE_BYTES}`];
const BAD_ARGUMENT: Reply = [501, '5.5.4 wrong or missing argument'];
const TAKEN: Reply = [250, '2.6.0 taken'];
const TOO_LARGE: Reply = [552, '5.3.4 the message is too large'];

export class SinkConversation implements Conversation {
  readonly inAuth = false;
  readonly #channel: Channel;
  readonly #taken: (message: Buffer, from: string, to: readonly string[]) => void;
  #from: string | undefined;
  #to: string[] = [];

  constructor(channel: Channel, taken: (message: Buffer, from: string, to: readonly string[]) => void) {
    this.#channel = channel;
    this.#taken = taken;
  }

  greet(): void {
    this.#channel.reply(220, 'sink ESMTP');
  }

  command(line: Buffer): undefined {
    const [verb = '', ...words] = line.toString().split(' ');
    const [code, ...lines] = this.#answer(verb.toUpperCase(), words.join(' '));
    this.#channel.reply(code, ...lines);
    if (code === 221) this.#channel.quit();
    return undefined;
  }

  badLine({ code, enhanced, text }: Rejection): void {
    this.#channel.reply(code, `${enhanced} ${text}`);
    if (code === 421) this.#channel.close();
  }

  idle(): void {
    this.#bye('4.4.2 nothing came for too long');
  }

  leave(): void {
    this.#bye('4.3.2 the sink stops');
  }

  secured(): void {}

  closed(): void {}

  #bye(text: string): void {
    this.#channel.reply(421, text);
    this.#channel.close();
  }

  #answer(verb: string, argument: string): Reply {
    switch (verb) {
      case 'EHLO':
        this.#reset();
        return [250, 'sink', ...EXTENSIONS];
      case 'HELO':
        this.#reset();
        return [250, 'sink'];
      case 'MAIL':
        return this.#mail(argument);
      case 'RCPT':
        return this.#rcpt(argument);
      case 'DATA':
        return this.#data();
      case 'RSET':
        this.#reset();
        return [250, '2.0.0 ok'];
      case 'NOOP':
        return [250, '2.0.0 ok'];
      case 'QUIT':
        return [221, '2.0.0 good bye'];
      default:
        return [500, '5.5.2 command not recognized'];
    }
  }

  #reset(): void {
    this.#from = undefined;
    this.#to = [];
  }

  #mail(argument: string): Reply {
    const parsed = parsePathArgument('FROM', argument);
    if (typeof parsed === 'string') return BAD_ARGUMENT;
    this.#from = parsed.path;
    this.#to = [];
    return [250, '2.1.0 ok'];
  }

  #rcpt(argument: string): Reply {
    const parsed = parsePathArgument('TO', argument);
    if (typeof parsed === 'string') return BAD_ARGUMENT;
    if (this.#from === undefined) return [503, '5.5.1 send MAIL first'];
    this.#to.push(parsed.path);
    return [250, '2.1.5 ok'];
  }

  #data(): Reply {
    const [from, to] = [this.#from, this.#to];
    if (from === undefined || to.length === 0) return [503, '5.5.1 send MAIL and RCPT first'];
    const chunks: Buffer[] = [];
    let bytes = 0;
    this.#channel.readContent({
      push: (chunk) => {
        bytes += chunk.length;
        if (bytes <= LARGEST_MESSAGE_BYTES) chunks.push(chunk);
        return undefined;
      },
      end: async () => {
        this.#reset();
        const isTooLarge = bytes > LARGEST_MESSAGE_BYTES;
        this.#channel.reply(...(isTooLarge ? TOO_LARGE : TAKEN));
        if (!isTooLarge) this.#taken(Buffer.concat(chunks), from, to);
      },
    });
    return [354, 'end data with <CR><LF>.<CR><LF>'];
  }
}
