/** The tokens by which the admin API is used over the network: one to view, one to operate, each in a file. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import type { Observer } from '../observe/events.ts';
import { type Caller, Problem, type Role } from './route.ts';

/** Not Authorization: what stands between, such as the proxy of a Kubernetes API server, takes that one away. */
export const TOKEN_HEADER = 'X-Chasqui-Token';

export type TokenFiles = Readonly<Record<Role, string>>;

/** Below this a token could be guessed. */
const SHORTEST = 32;
const LONGEST_FILE_BYTES = 4096;
/** Readable by its owner, and by the group that a mounted Secret has; writable by its owner at most. */
const TOO_OPEN = 0o037;

interface Known {
  readonly version: string;
  readonly digest: Buffer | undefined;
}

export class Tokens {
  readonly #files: TokenFiles;
  readonly #log: Observer['log'];
  readonly #known = new Map<Role, Known>();
  readonly #told = new Map<Role, string>();

  constructor(files: TokenFiles, log: Observer['log']) {
    this.#files = files;
    this.#log = log;
  }

  /** @throws {Problem} 401 */
  async authenticate(request: Pick<IncomingMessage, 'headers'>): Promise<Caller> {
    const given = request.headers[TOKEN_HEADER.toLowerCase()];
    const [view, operate] = await Promise.all([this.#digest('view'), this.#digest('operate')]);
    if (typeof given !== 'string') throw new Problem(401, `the header ${TOKEN_HEADER} is missing`);
    const digest = digestOf(given);
    // Both are always compared, in constant time.
    const mayView = view !== undefined && timingSafeEqual(digest, view);
    const mayOperate = operate !== undefined && timingSafeEqual(digest, operate);
    // One token for both would give whoever may view the right to operate.
    if (mayView) return { role: 'view', name: 'view token' };
    if (mayOperate) return { role: 'operate', name: 'operate token' };
    throw new Problem(401, 'the token is wrong');
  }

  /** Looked at for each request, so that a token that was changed is in force at once; read when it is another. */
  async #digest(role: Role): Promise<Buffer | undefined> {
    const file = this.#files[role];
    try {
      await using handle = await open(file, 'r');
      const { mode, size, ino, mtimeMs } = await handle.stat();
      const version = `${ino} ${size} ${mtimeMs} ${mode}`;
      const known = this.#known.get(role);
      if (known?.version === version) return known.digest;
      if ((mode & TOO_OPEN) !== 0) {
        throw new Error(`its mode is 0${(mode & 0o777).toString(8)}: others may read it, or its group write it`);
      }
      if (size > LONGEST_FILE_BYTES) throw new Error(`it has ${size} bytes, which no token has`);
      const token = (await handle.readFile('utf8')).trim();
      if (token.length < SHORTEST) throw new Error(`its token is shorter than ${SHORTEST} characters`);
      const digest = digestOf(token);
      this.#known.set(role, { version, digest });
      this.#told.delete(role);
      return digest;
    } catch (error) {
      this.#known.delete(role);
      const problem = `nobody can ${role}: ${file}: ${error instanceof Error ? error.message : String(error)}`;
      if (problem !== this.#told.get(role)) this.#log('error', 'a token of the admin API is not taken', { problem });
      this.#told.set(role, problem);
      return undefined;
    }
  }
}

/** Of equal length, as timingSafeEqual needs it. */
const digestOf = (token: string): Buffer => createHash('sha256').update(token).digest();
