/**
 * A running Postfix for tests: the real one as packaged, with its own configuration, queue and mailboxes in a folder of
 * its own, on a port of loopback. It takes all mail of this machine, keeps that of its domain in mailboxes, and hands
 * the rest to its smarthost.
 *
 * ```ts
 * await using postfix = await Postfix.start({ domain: 'a.test', mailboxes: ['ada'], port, smarthost });
 * const [mail] = await postfix.mails('ada', 1);
 * ```
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

const WAIT_MS = 60_000;
const LOOK_MS = 50;
/** nobody on Debian: owner of the mailboxes. */
export const NOBODY = 65_534;

const isInstalled = (program: string): boolean => {
  try {
    accessSync(program, constants.X_OK);
    return true;
  } catch {
    return false;
  }
};

/** Options of a test that needs Postfix: its master has to be started by root. */
export const needsPostfix = {
  skip:
    !process.env.CI && !(isInstalled('/usr/sbin/postfix') && process.getuid?.() === 0)
      ? 'needs root and Postfix: run make test as root'
      : false,
};

/** Options of a test that needs smtp-source and smtp-sink, which come with Postfix. */
export const needsSmtpSource = {
  skip: !process.env.CI && !isInstalled('/usr/sbin/smtp-source') ? 'smtp-source is missing: run make test' : false,
};

export interface PostfixWish {
  readonly domain: string;
  /** Local parts; mail to any other of the domain is refused as unknown. */
  readonly mailboxes: readonly string[];
  readonly port: number;
  /** Port on loopback. */
  readonly smarthost: number;
}

const mainCf = (root: string, { domain, mailboxes, smarthost }: PostfixWish): string => `
compatibility_level = 3.6
queue_directory = ${root}/queue
data_directory = ${root}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = ${root}/mail.log
maillog_file_prefixes = ${root}
myhostname = mail.${domain}
mydestination =
alias_maps =
alias_database =
local_transport = error:no local delivery
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
relayhost = [127.0.0.1]:${smarthost}
virtual_mailbox_domains = ${domain}
virtual_mailbox_base = ${root}/mail
virtual_mailbox_maps = inline:{ ${mailboxes.map((name) => `{${name}@${domain} = ${name}/}`).join(' ')} }
virtual_uid_maps = static:${NOBODY}
virtual_gid_maps = static:${NOBODY}
minimal_backoff_time = 1s
queue_run_delay = 1s
biff = no
`;

const masterCf = (port: number): string => `
127.0.0.1:${port} inet n - n - - smtpd
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       n       -       -       smtp
virtual   unix  -       n       n       -       -       virtual
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
anvil     unix  -       -       n       -       1       anvil
postlog   unix-dgram n  -       n       -       1       postlogd
`;

export class Postfix implements AsyncDisposable {
  readonly port: number;
  readonly #root: string;
  #child!: ChildProcess;

  private constructor(root: string, port: number) {
    this.#root = root;
    this.port = port;
  }

  static async start(wish: PostfixWish): Promise<Postfix> {
    const root = await mkdtemp(join(tmpdir(), 'postfix-'));
    const postfix = new Postfix(root, wish.port);
    // Its processes run as other users.
    await chmod(root, 0o755);
    for (const folder of ['etc', 'queue', 'data', 'mail']) await mkdir(join(root, folder));
    const { stdout } = await run('id', ['-u', 'postfix']);
    await chown(join(root, 'data'), Number(stdout), 0);
    await chown(join(root, 'mail'), NOBODY, NOBODY);
    await writeFile(join(root, 'etc/main.cf'), mainCf(root, wish));
    await writeFile(join(root, 'etc/master.cf'), masterCf(wish.port));
    await postfix.run();
    return postfix;
  }

  /** Starts it on its queue as it is; resolves when it takes mail. */
  async run(): Promise<void> {
    this.#child = spawn('/usr/sbin/postfix', ['-c', join(this.#root, 'etc'), 'start-fg'], { stdio: 'ignore' });
    const deadline = performance.now() + WAIT_MS;
    while (!(await isOpen(this.port))) {
      assert.ok(this.#child.exitCode === null && performance.now() < deadline, `no Postfix: ${await this.log()}`);
      await pause(LOOK_MS);
    }
  }

  /** Resolves with all mail in a mailbox once there are so many, in no order. */
  async mails(mailbox: string, count: number): Promise<readonly string[]> {
    const folder = join(this.#root, 'mail', mailbox, 'new');
    const deadline = performance.now() + WAIT_MS;
    for (;;) {
      const names = await readdir(folder).catch(() => []);
      if (names.length >= count) return await Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')));
      assert.ok(performance.now() < deadline, `${mailbox} got ${names.length} of ${count}\n${await this.log()}`);
      await pause(LOOK_MS);
    }
  }

  async log(): Promise<string> {
    return await readFile(join(this.#root, 'mail.log'), 'utf8').catch(() => '');
  }

  /** Ends its master, which ends the rest; the command that started it waits for that. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    const pid = await readFile(join(this.#root, 'queue/pid/master.pid'), 'utf8');
    process.kill(Number(pid), 'SIGTERM');
    await exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await rm(this.#root, { recursive: true, force: true });
  }
}

/** Whether somebody listens at the port of loopback. */
export async function isOpen(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  const open = await once(socket, 'connect').then(
    () => true,
    () => false,
  );
  socket.destroy();
  return open;
}
