/** What stands around a relay in the quickstart's test: an application with its Secret, and name servers of the world. */
import { PROBE_IMAGE } from '../cluster/node/images.ts';

const RESTRICTED = {
  pod: { runAsNonRoot: true, runAsUser: 65532, fsGroup: 65532, seccompProfile: { type: 'RuntimeDefault' } },
  container: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] }, readOnlyRootFilesystem: true },
};

/**
 * Knows the relay by its environment and ca.crt alone, and tries nothing again: one message after the other, each in a
 * session of its own with STARTTLS, verified, and AUTH PLAIN.
 */
const PROGRAM = `
  const { readFileSync } = require('node:fs');
  const { connect } = require('node:net');
  const tls = require('node:tls');
  const { SMTP_HOST: host, SMTP_PORT: port, SMTP_USERNAME: user, SMTP_PASSWORD: password, HOSTNAME: name } = process.env;
  const ca = readFileSync('/etc/mail/ca.crt');
  let ending = false;
  process.on('SIGTERM', () => { ending = true; });
  async function* replies(socket) {
    let text = '';
    for await (const chunk of socket) {
      text += chunk;
      if (!/^\\d{3} .*\\r\\n$/m.test(text)) continue;
      yield text;
      text = '';
    }
  }
  const dialogue = async (socket, lines) => {
    const answers = replies(socket);
    for (const [line, expected] of lines) {
      if (line !== undefined) socket.write(line + '\\r\\n');
      const { value } = await answers.next();
      if (!value?.startsWith(expected)) throw new Error((line ?? 'greeting').slice(0, 4) + ': ' + (value ?? 'cut'));
    }
  };
  const send = async (subject) => {
    const plain = connect(port, host);
    plain.on('error', () => {});
    plain.setTimeout(30_000, () => plain.destroy());
    try {
      await new Promise((resolve, reject) => plain.once('connect', resolve).once('error', reject));
      const heard = (like) => new Promise((resolve, reject) => {
        let text = '';
        const listen = (chunk) => {
          text += chunk;
          if (!/^\\d{3} .*\\r\\n$/m.test(text)) return;
          plain.off('data', listen).off('close', cut);
          if (text.startsWith(like)) resolve(); else reject(new Error(text));
        };
        const cut = () => reject(new Error('cut before TLS'));
        plain.on('data', listen).once('close', cut);
      });
      await heard('220');
      plain.write('EHLO app.test\\r\\n');
      await heard('250');
      plain.write('STARTTLS\\r\\n');
      await heard('220');
      const socket = tls.connect({ socket: plain, servername: host, ca });
      socket.on('error', () => {});
      const from = 'app@example.com';
      await dialogue(socket, [
        ['EHLO app.test', '250'],
        ['AUTH PLAIN ' + Buffer.from('\\0' + user + '\\0' + password).toString('base64'), '235'],
        ['MAIL FROM:<' + from + '>', '250'],
        ['RCPT TO:<someone@example.org>', '250'],
        ['DATA', '354'],
        ['From: ' + from + '\\r\\nTo: someone@example.org\\r\\nSubject: ' + subject + '\\r\\n\\r\\nHello\\r\\n.', '250'],
      ]);
      socket.end('QUIT\\r\\n');
    } finally {
      setTimeout(() => plain.destroy(), 100);
    }
  };
  (async () => {
    const most = Number(process.env.MESSAGES);
    for (let number = 0; number < most && !ending; number += 1) {
      const subject = name + '-' + number;
      await send(subject).then(
        () => console.log('taken ' + subject),
        (error) => console.log('failed ' + subject + ': ' + error.message.trim()),
      );
      if (most > 1) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    console.log('ended');
    setInterval(() => {}, 1e6);
  })();
`;

/** @param messages it sends that many; left out: until it is told to end by SIGTERM */
export const application = (name: string, { messages = 1_000_000 }: { readonly messages?: number }): object => ({
  ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'mail' } },
  spec: {
    ...{ securityContext: RESTRICTED.pod, automountServiceAccountToken: false, terminationGracePeriodSeconds: 1 },
    containers: [
      {
        ...{ name: 'app', image: PROBE_IMAGE, imagePullPolicy: 'Never', securityContext: RESTRICTED.container },
        args: ['-e', PROGRAM],
        env: [{ name: 'MESSAGES', value: String(messages) }],
        envFrom: [{ secretRef: { name: 'app-smtp' } }],
        volumeMounts: [{ name: 'mail', mountPath: '/etc/mail', readOnly: true }],
      },
    ],
    volumes: [{ name: 'mail', secret: { secretName: 'app-smtp', defaultMode: 0o440, items: [CA] } }],
  },
});
const CA = { key: 'ca.crt', path: 'ca.crt' };

export interface TextRecord {
  readonly name: string;
  readonly value: string;
}

const ORIGIN = 'ns.example.net. host.example.net. 1 60 60 60 1';
/** RFC 1035 3.3.14: strings of up to 255 bytes. */
const quoted = (value: string): string => (value.match(/.{1,255}/g) ?? []).map((part) => `"${part}"`).join(' ');

/** The name servers of example.com, which has these records, and of example.org, whose mail goes to an address. */
export const names = () => ({
  service: {
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'names', namespace: 'mail' } },
    spec: {
      selector: { app: 'names' },
      ports: ['UDP', 'TCP'].map((protocol) => ({ name: protocol.toLowerCase(), protocol, port: 53, targetPort: 5353 })),
    },
  },
  server: (records: readonly TextRecord[], receiver: string): readonly object[] => [
    {
      ...{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'names', namespace: 'mail' } },
      data: {
        Corefile: ['example.com', 'example.org']
          .map((zone) => `${zone}:5353 {\n  errors\n  file /etc/names/${zone}\n}\n`)
          .join(''),
        'example.com': [
          `$ORIGIN example.com.\n@ 1 IN SOA ${ORIGIN}\n@ 1 IN NS ns.example.net.`,
          ...records.map(({ name, value }) => `${name}. 1 IN TXT ${quoted(value)}`),
          '',
        ].join('\n'),
        'example.org': [
          `$ORIGIN example.org.\n@ 1 IN SOA ${ORIGIN}\n@ 1 IN NS ns.example.net.`,
          '@ 1 IN MX 10 mx.example.org.',
          `mx 1 IN A ${receiver}`,
          '',
        ].join('\n'),
      },
    },
    {
      ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'names', namespace: 'mail', labels: { app: 'names' } } },
      spec: {
        ...{ securityContext: RESTRICTED.pod, automountServiceAccountToken: false, terminationGracePeriodSeconds: 1 },
        containers: [
          {
            ...{ name: 'names', image: 'local.test/coredns:1', imagePullPolicy: 'Never' },
            securityContext: RESTRICTED.container,
            args: ['-conf', '/etc/names/Corefile'],
            readinessProbe: { tcpSocket: { port: 5353 }, periodSeconds: 1 },
            volumeMounts: [{ name: 'zones', mountPath: '/etc/names', readOnly: true }],
          },
        ],
        volumes: [{ name: 'zones', configMap: { name: 'names' } }],
      },
    },
  ],
});
