/** Who is who in a test node: certificates under one authority, and kubeconfigs. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Authority } from '../certificates.ts';
import { writeKubeconfig } from '../kubeconfig.ts';
import { API_PORT, KUBECONFIG, NODE_ADDRESS, ROOT } from './layout.ts';

export const PKI = join(ROOT, 'pki');

/** @param port of the API server on the machine */
export async function writeCredentials(port: number): Promise<void> {
  await mkdir(PKI, { recursive: true });
  const authority = await Authority.create(PKI, 'ca');
  await Authority.create(PKI, 'front');
  await authority.issue('apiserver', {
    name: 'kube-apiserver',
    altNames: [
      ...['IP:127.0.0.1', 'IP:10.96.0.1', `IP:${NODE_ADDRESS}`, 'DNS:localhost'],
      ...['DNS:kubernetes', 'DNS:kubernetes.default', 'DNS:kubernetes.default.svc'],
    ],
  });
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const signing = privateKey.export({ format: 'pem', type: 'pkcs1' });
  await writeFile(join(PKI, 'service-accounts.key'), signing, { mode: 0o600 });
  const url = `https://127.0.0.1:${API_PORT}`;
  const users = [
    ['admin', { name: 'admin', groups: ['system:masters'] }],
    ['controller-manager', { name: 'system:kube-controller-manager' }],
    ['scheduler', { name: 'system:kube-scheduler' }],
    ['kube-proxy', { name: 'system:kube-proxy' }],
    ['node', { name: 'system:node:node1', groups: ['system:nodes'], altNames: ['DNS:node1', `IP:${NODE_ADDRESS}`] }],
  ] as const;
  for (const [file, subject] of users) {
    const user = await authority.issue(file, subject);
    await writeKubeconfig(join(PKI, `${file}.kubeconfig`), { url, ca: authority.pair.cert, user });
    if (file === 'admin') {
      await writeKubeconfig(KUBECONFIG, { url: `https://127.0.0.1:${port}`, ca: authority.pair.cert, user });
    }
  }
}
