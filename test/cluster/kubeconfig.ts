/** Kubeconfig files: which API server, and who asks it. JSON is YAML, so that is what they are written in. */
import { readFile, writeFile } from 'node:fs/promises';
import type { KeyPair } from './certificates.ts';

export interface Access {
  readonly url: string;
  /** Path of the PEM file with the authority of the API server. */
  readonly ca: string;
  readonly user: KeyPair | { readonly token: string };
}

/** Writes the file, readable by its owner only; returns its path. */
export async function writeKubeconfig(path: string, { url, ca, user }: Access): Promise<string> {
  const base64 = (file: string): Promise<string> => readFile(file, 'base64');
  const credentials =
    'token' in user
      ? { token: user.token }
      : { 'client-certificate-data': await base64(user.cert), 'client-key-data': await base64(user.key) };
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster: { server: url, 'certificate-authority-data': await base64(ca) } }],
    users: [{ name: 'test', user: credentials }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
    'current-context': 'test',
  };
  await writeFile(path, JSON.stringify(config, undefined, 2), { mode: 0o600 });
  return path;
}
