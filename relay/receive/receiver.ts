/** Takes mail: a server for each listener, and what happens at each stage of a session. */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SMTPServerAddress, SMTPServerSession } from 'smtp-server';
import type { ConfigSource } from '../config/config.ts';
import type { ListenerSettings } from '../config/documents.ts';
import type { Router } from '../deliver/deliverer.ts';
import { domainOf } from '../deliver/router.ts';
import type { Observer, SessionEvent } from '../observe/events.ts';
import type { Accepted, Spool } from '../spool/spool.ts';
import { Authenticator } from './authenticator.ts';
import { BASE_OPTIONS, RelayServer } from './connection.ts';
import { normaliseDomain } from './mailbox.ts';
import { type Envelopes, receiveMessage } from './message.ts';
import { exemptingNetwork } from './networks.ts';
import { CONNECT, MAIL, RCPT } from './policies.ts';
import { judge, type Rejection } from './policy.ts';
import type { SessionFacts } from './session.ts';

export interface ReceiverOptions {
  readonly config: ConfigSource;
  readonly spool: Spool;
  readonly observer: Observer;
  readonly router: Router;
  /** Whether a domain says that it takes no mail (RFC 7505); asked only where its mail goes to its MX. */
  readonly nullMx: (domain: string) => Promise<boolean>;
  readonly onAccepted: (accepted: Accepted) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly ordinal: number;
}

export interface Receiver {
  /** @throws when the listener is not in the config, or its address is taken. */
  listen(
    name: string,
    where: { readonly fd: number } | { readonly port: number; readonly host?: string },
  ): Promise<number>;
  /** No new sessions, 421 to idle ones; messages in hand are finished for up to graceMs. */
  stop(graceMs: number): Promise<void>;
}

type Stage = Extract<SessionEvent, { event: 'rejected' }>['stage'];

/** What smtp-server turns into a reply; the text carries our enhanced code. */
export class Refused extends Error {
  override readonly name = 'Refused';
  readonly responseCode: number;

  constructor({ code, enhanced, text }: Pick<Rejection, 'code' | 'enhanced' | 'text'>) {
    super(`${enhanced} ${text}`);
    this.responseCode = code;
  }
}

const STOPPING: Rejection = {
  code: 421,
  enhanced: '4.3.2',
  reason: 'stopping',
  text: 'this replica stops, connect again',
};
const WRONG: Rejection = {
  code: 535,
  enhanced: '5.7.8',
  reason: 'wrong_credentials',
  text: 'wrong user name or password',
};
const BUSY: Rejection = {
  code: 454,
  enhanced: '4.7.0',
  reason: 'auth_busy',
  text: 'too many authentications, try again',
};
const FAILED: Rejection = {
  code: 451,
  enhanced: '4.3.0',
  reason: 'failed',
  text: 'this could not be done now, try again',
};
const POLL_MS = 20;

/** An IPv4-mapped address is judged as IPv4. */
const plainAddress = (address: string): string => address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '');

/** smtp-server shows domains as U-labels; mail goes by A-labels. */
function asGiven({ address }: SMTPServerAddress): string {
  const at = address.lastIndexOf('@');
  return at < 0
    ? address
    : `${address.slice(0, at)}@${normaliseDomain(address.slice(at + 1)) ?? address.slice(at + 1)}`;
}

export const argument = (address: SMTPServerAddress, name: string): string | true | undefined => {
  const value = address.args ? address.args[name] : undefined;
  return typeof value === 'string' || value === true ? value : undefined;
};

export function createReceiver(options: ReceiverOptions): Receiver {
  const { config, observer, nullMx, router, ordinal } = options;
  const authenticator = new Authenticator();
  const servers = new Map<string, RelayServer>();
  let stopping = false;

  const listenerNamed = (name: string): ListenerSettings => {
    const listener = config.current().settings.listeners.find((candidate) => candidate.name === name);
    if (listener === undefined) throw new Error(`listener ${name} is not in the config`);
    return listener;
  };

  /** The facts of this moment: config and TLS may have changed since the last command. */
  function factsOf(listener: ListenerSettings, session: SMTPServerSession): SessionFacts {
    const current = config.current();
    const clientAddress = plainAddress(session.remoteAddress);
    const live = current.settings.listeners.find(({ name }) => name === listener.name) ?? listener;
    const network = exemptingNetwork(live, clientAddress);
    return {
      listener: live,
      clientAddress,
      helo: session.hostNameAppearsAs || '',
      secure: session.secure,
      ...(session.tlsOptions ? { tls: `${session.tlsOptions.version} ${session.tlsOptions.name}` } : {}),
      ...(session.user ? { user: session.user } : {}),
      ...(network === undefined ? {} : { network }),
      config: current,
      draining: ordinal >= current.replicas,
    };
  }

  function refuse(
    facts: SessionFacts,
    stage: Stage,
    rejection: Rejection,
    extra: { mailFrom?: string; recipient?: string } = {},
  ): Refused {
    observer.session({
      event: 'rejected',
      listener: facts.listener.name,
      stage,
      reason: rejection.reason,
      reply: `${rejection.code} ${rejection.enhanced} ${rejection.text}`,
      client: facts.clientAddress,
      ...(facts.user === undefined ? {} : { user: facts.user }),
      ...extra,
    });
    return new Refused(rejection);
  }

  /** What went wrong is for the log: the client only hears to try again. */
  function failed(facts: SessionFacts, stage: Stage, error: Error): Refused {
    observer.log('error', 'a command failed', { listener: facts.listener.name, stage, problem: error.message });
    return refuse(facts, stage, FAILED);
  }

  async function judgeRecipient(
    facts: SessionFacts,
    address: SMTPServerAddress,
    envelope: Envelopes,
  ): Promise<Rejection | undefined> {
    const given = asGiven(address);
    const domain = domainOf(given);
    // A destination that is the domain itself goes to its MX (deliver/router).
    const direct = domain !== '' && router.destinationOf(domain) === domain;
    return judge(RCPT, {
      session: facts,
      address: given,
      smtputf8: isSmtpUtf8(envelope),
      recipients: envelope.rcptTo.length,
      nullMx: direct && (await nullMx(domain)),
    });
  }

  const isSmtpUtf8 = (envelope: Envelopes): boolean =>
    envelope.mailFrom !== false && argument(envelope.mailFrom, 'SMTPUTF8') !== undefined;

  function createServer(listener: ListenerSettings): RelayServer {
    const { settings, certificates } = config.current();
    const server: RelayServer = new RelayServer({
      ...BASE_OPTIONS,
      name: settings.hostname,
      secure: listener.protocol === 'Submissions',
      cert: certificates.default.chain,
      key: certificates.default.key,
      minVersion: settings.tls.minVersion,
      size: settings.limits.messageSizeBytes,
      socketTimeout: settings.limits.idleTimeoutMs,
      onConnect(session, callback) {
        const facts = factsOf(listener, session);
        observer.session({ event: 'session', listener: listener.name });
        const rejection = stopping ? STOPPING : judge(CONNECT, facts);
        callback(rejection && refuse(facts, 'connect', rejection));
      },
      onAuth({ username, password, method }, session, callback) {
        const facts = factsOf(listener, session);
        // NAME.NAMESPACE; a namespace left out is `default`.
        const { users } = facts.config;
        const user = users.get(username ?? '') ?? users.get(`${username}.default`);
        void authenticator.check(user, password ?? '').then(
          (result) => {
            const accepted = result === 'accepted';
            observer.session({
              event: 'auth',
              listener: listener.name,
              mechanism: method,
              result: accepted ? 'accepted' : 'rejected',
            });
            if (accepted) callback(null, { user: user?.username });
            else callback(refuse(facts, 'auth', result === 'busy' ? BUSY : WRONG));
          },
          (error: Error) => callback(failed(facts, 'auth', error)),
        );
      },
      onMailFrom(address, session, callback) {
        const facts = factsOf(listener, session);
        const size = Number(argument(address, 'SIZE'));
        const mailFrom = asGiven(address);
        const rejection =
          stopping || facts.draining
            ? STOPPING
            : judge(MAIL, {
                session: facts,
                address: mailFrom,
                ...(Number.isSafeInteger(size) ? { sizeBytes: size } : {}),
                smtputf8: argument(address, 'SMTPUTF8') !== undefined,
              });
        callback(rejection && refuse(facts, 'mail', rejection, { mailFrom }));
      },
      onRcptTo(address, session, callback) {
        const facts = factsOf(listener, session);
        void judgeRecipient(facts, address, session.envelope).then(
          (rejection) => callback(rejection && refuse(facts, 'rcpt', rejection, { recipient: asGiven(address) })),
          (error: Error) => callback(failed(facts, 'rcpt', error)),
        );
      },
      onData(stream, session, callback) {
        const facts = factsOf(listener, session);
        const smtputf8 = isSmtpUtf8(session.envelope);
        void receiveMessage(options, { facts, envelope: session.envelope, smtputf8, addressOf: asGiven }, stream).then(
          (result) =>
            'queueId' in result
              ? callback(null, `2.6.0 queued as ${result.queueId}`)
              : callback(refuse(facts, 'data', result)),
          // Who hung up in the middle is told nothing, and nothing failed.
          (error: NodeJS.ErrnoException) =>
            callback(error.code === 'ECONNECTION' ? error : failed(facts, 'data', error)),
        );
      },
    });
    return server;
  }

  config.onChange(({ certificates, settings }) => {
    for (const server of servers.values()) {
      server.updateSecureContext({
        cert: certificates.default.chain,
        key: certificates.default.key,
        minVersion: settings.tls.minVersion,
      });
      server.options.size = settings.limits.messageSizeBytes;
      server.options.socketTimeout = settings.limits.idleTimeoutMs;
      if (ordinal >= config.current().replicas) server.closeIdle('4.3.2 this replica is being drained, connect again');
    }
  });

  return {
    async listen(name, where) {
      const server = createServer(listenerNamed(name));
      server.on('error', (error) =>
        observer.log('info', 'SMTP session failed', { listener: name, problem: error.message }),
      );
      const listening = once(server.server, 'listening');
      server.listen(where);
      await listening;
      servers.set(name, server);
      const address = server.server.address();
      return typeof address === 'object' && address !== null ? address.port : 0;
    },
    async stop(graceMs) {
      stopping = true;
      const until = performance.now() + graceMs;
      for (const server of servers.values()) {
        server.server.close();
        server.closeIdle('4.3.2 this replica stops, connect again');
      }
      const busy = () => [...servers.values()].some(({ sessions }) => sessions > 0);
      while (busy() && performance.now() < until) {
        await sleep(POLL_MS);
        for (const server of servers.values()) server.closeIdle('4.3.2 this replica stops, connect again');
      }
      for (const server of servers.values()) server.cut();
    },
  };
}
