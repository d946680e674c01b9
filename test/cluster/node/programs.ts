/** The programs of a control plane and a node, and the flags that make one of them. */
import { join } from 'node:path';
import type { Program } from '../programs.ts';
import { PKI } from './credentials.ts';
import { API_PORT, NODE_ADDRESS, PODS, ROOT, SERVICES } from './layout.ts';

const pki = (file: string): string => join(PKI, file);
const kubeconfig = (user: string): string => pki(`${user}.kubeconfig`);
const signing = pki('service-accounts.key');

/** Flags of kube-controller-manager and kube-scheduler for whom to ask, and who may ask them. */
const asks = (user: string): readonly string[] => [
  ...['', 'authentication-', 'authorization-'].map((of) => `--${of}kubeconfig=${kubeconfig(user)}`),
  ...['--leader-elect=false', '--bind-address=127.0.0.1'],
];

export const API_SERVER = {
  etcd: [
    // What it holds lives no longer than the node, so there is nothing to sync.
    ...['--unsafe-no-fsync', `--data-dir=${join(ROOT, 'etcd')}`, '--log-level=warn'],
    ...['--listen-client-urls=http://127.0.0.1:2379', '--advertise-client-urls=http://127.0.0.1:2379'],
    ...['--listen-peer-urls=http://127.0.0.1:2380', '--initial-advertise-peer-urls=http://127.0.0.1:2380'],
    '--initial-cluster=default=http://127.0.0.1:2380',
  ],
  'kube-apiserver': [
    ...['--etcd-servers=http://127.0.0.1:2379', '--bind-address=0.0.0.0', `--secure-port=${API_PORT}`],
    ...[`--advertise-address=${NODE_ADDRESS}`, `--service-cluster-ip-range=${SERVICES}`, '--allow-privileged=true'],
    ...['--authorization-mode=Node,RBAC', '--enable-admission-plugins=NodeRestriction'],
    // The node's name is in no DNS: logs and exec go to its address.
    '--kubelet-preferred-address-types=InternalIP',
    ...[`--kubelet-client-certificate=${pki('admin.crt')}`, `--kubelet-client-key=${pki('admin.key')}`],
    ...[`--client-ca-file=${pki('ca.crt')}`, `--tls-cert-file=${pki('apiserver.crt')}`],
    ...[`--tls-private-key-file=${pki('apiserver.key')}`, '--service-account-issuer=https://kubernetes.default.svc'],
    ...[`--service-account-key-file=${signing}`, `--service-account-signing-key-file=${signing}`],
    ...[`--requestheader-client-ca-file=${pki('front.crt')}`, '--requestheader-allowed-names=front-proxy'],
    ...['--requestheader-username-headers=X-Remote-User', '--requestheader-group-headers=X-Remote-Group'],
    '--requestheader-extra-headers-prefix=X-Remote-Extra-',
  ],
} as const satisfies Partial<Record<Program, readonly string[]>>;

/** Once the API server is ready: before, it has no roles for them, and they give up. */
export const CONTROLLERS = {
  'kube-controller-manager': [
    ...asks('controller-manager'),
    ...[`--service-account-private-key-file=${signing}`, `--root-ca-file=${pki('ca.crt')}`],
    ...['--use-service-account-credentials', '--allocate-node-cidrs', `--cluster-cidr=${PODS}`],
    ...[`--cluster-signing-cert-file=${pki('ca.crt')}`, `--cluster-signing-key-file=${pki('ca.key')}`],
    `--cert-dir=${join(ROOT, 'controller-manager')}`,
  ],
  'kube-scheduler': [...asks('scheduler'), `--cert-dir=${join(ROOT, 'scheduler')}`],
} as const satisfies Partial<Record<Program, readonly string[]>>;

/** After containerd has its images. */
export const NODE = {
  kubelet: [
    ...[`--config=${join(ROOT, 'kubelet.yaml')}`, `--kubeconfig=${kubeconfig('node')}`, '--hostname-override=node1'],
    ...[`--node-ip=${NODE_ADDRESS}`, `--root-dir=${join(ROOT, 'kubelet')}`, `--cert-dir=${PKI}`],
  ],
  'kube-proxy': [`--config=${join(ROOT, 'kube-proxy.yaml')}`],
} as const satisfies Partial<Record<Program, readonly string[]>>;
