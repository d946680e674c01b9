/** Certificates of a cluster for tests, by openssl >= 3: an authority in a folder, and what it issues beside it. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface KeyPair {
  /** Paths of PEM files. */
  readonly cert: string;
  readonly key: string;
}

export interface Subject {
  /** Name of the user, or of the server. */
  readonly name: string;
  /** Groups of the user: the organizations of its certificate. */
  readonly groups?: readonly string[];
  /** Such as `DNS:localhost` or `IP:127.0.0.1`; a server has some. */
  readonly altNames?: readonly string[];
}

export class Authority {
  readonly #folder: string;
  /** Its own certificate and key. */
  readonly pair: KeyPair;

  private constructor(folder: string, name: string) {
    this.#folder = folder;
    this.pair = pairIn(folder, name);
  }

  /** @param folder exists; PEM files of the authority are named `name` in it */
  static async create(folder: string, name: string): Promise<Authority> {
    const authority = new Authority(folder, name);
    await request(authority.pair, { name }, ['-addext', 'keyUsage=critical,keyCertSign,digitalSignature']);
    return authority;
  }

  /** Issues a certificate for a client or server, in files of this name. */
  async issue(file: string, subject: Subject): Promise<KeyPair> {
    const pair = pairIn(this.#folder, file);
    await request(pair, subject, [
      ...['-CA', this.pair.cert, '-CAkey', this.pair.key, '-addext', 'basicConstraints=critical,CA:false'],
      ...['-addext', 'extendedKeyUsage=clientAuth,serverAuth'],
      ...(subject.altNames ? ['-addext', `subjectAltName=${subject.altNames.join(',')}`] : []),
    ]);
    return pair;
  }
}

const pairIn = (folder: string, file: string): KeyPair => ({
  cert: join(folder, `${file}.crt`),
  key: join(folder, `${file}.key`),
});

async function request({ cert, key }: KeyPair, { name, groups = [] }: Subject, words: readonly string[]) {
  const subject = [...groups.map((group) => `/O=${group}`), `/CN=${name}`].join('');
  await run('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc', '-days', '365'],
    ...['-subj', subject, '-keyout', key, '-out', cert, ...words],
  ]);
}
