/** Programs that are not JavaScript: the judges dkimpy and pyspf, and the client smtplib, in the project's own Python environment (`make test` makes it). */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import Type from 'typebox';
import Schema from 'typebox/schema';

const PYTHON = join(import.meta.dirname, '../../.venv/bin/python');

/** Options of a test that needs Python. It is skipped where the environment is missing, but never in CI. */
export const needsPython = {
  skip: !process.env.CI && !existsSync(PYTHON) ? 'the Python environment is missing: run make test' : false,
};

/** Where the judges look up DNS: in the text of a zone, or at a name server on loopback (`127.0.0.1:5353`). */
export type Records = { readonly zone: string } | { readonly server: string };

const DkimVerdict = Type.Object({
  domain: Type.String(),
  selector: Type.String(),
  algorithm: Type.String(),
  /** The h= tag: names of the signed fields. */
  headers: Type.String(),
  verified: Type.Boolean(),
  problem: Type.Union([Type.String(), Type.Null()]),
});
export type DkimVerdict = Type.Static<typeof DkimVerdict>;
const DkimVerdicts = Schema.Compile(Type.Array(DkimVerdict));

/** What dkimpy says of each signature of a message by itself, from the top. */
export async function dkimpyVerdicts(message: Buffer, records: Records): Promise<readonly DkimVerdict[]> {
  const answer = await ask('dkim_verdicts.py', { message: message.toString('base64'), records });
  if (DkimVerdicts.Check(answer)) return answer;
  throw new TypeError(`dkim_verdicts.py answers ${JSON.stringify(answer)}`);
}

const SpfResult = Schema.Compile(Type.Object({ result: Type.String(), explanation: Type.String() }));

/** What pyspf says of a client address that gives this sender and HELO name; sender `''` is the null sender. */
export async function pyspfResult(
  client: { readonly address: string; readonly sender: string; readonly helo: string },
  records: Records,
): Promise<{ readonly result: string; readonly explanation: string }> {
  const answer = await ask('spf_result.py', { ...client, records });
  if (SpfResult.Check(answer)) return answer;
  throw new TypeError(`spf_result.py answers ${JSON.stringify(answer)}`);
}

const Answer = Type.Union([Type.Object({ sent: Type.Literal(true) }), Type.Object({ refused: Type.String() })]);
const SmtplibAnswer = Schema.Compile(Answer);

/** Sends with smtplib. `refused`: the certificate was not trusted, and why. */
export async function smtplibSend({
  content,
  ...mail
}: {
  /** Folder of a credential Secret. */
  readonly credential: string;
  /** PEM file. */
  readonly ca: string;
  readonly from: string;
  readonly to: readonly string[];
  readonly content: Buffer;
  /** Parameters of MAIL. */
  readonly options: readonly string[];
}): Promise<Type.Static<typeof Answer>> {
  const answer = await ask('smtplib_send.py', { ...mail, content: content.toString('base64') });
  if (SmtplibAnswer.Check(answer)) return answer;
  throw new TypeError(`smtplib_send.py answers ${JSON.stringify(answer)}`);
}

async function ask(script: string, question: object): Promise<unknown> {
  const child = spawn(PYTHON, [join(import.meta.dirname, 'python', script)], { stdio: ['pipe', 'pipe', 'pipe'] });
  const exit = once(child, 'exit');
  child.stdin.on('error', () => {}); // told better by its stderr and exit code
  child.stdin.end(JSON.stringify(question));
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const [code] = await exit;
  if (code !== 0) throw new Error(`${script} failed (${String(code)}): ${stderr}`);
  return JSON.parse(stdout);
}
