/** The certificates in force, ready for handshakes: the one for the name that a client asks for (RFC 6066 3), or the default. */
import { createSecureContext, type SecureContext } from 'node:tls';
import type { RelayConfig } from '../config/config.ts';

type Choose = (name: string, callback: (error: Error | null, context?: SecureContext) => void) => void;

export class ServerCertificates {
  readonly default: SecureContext;
  readonly #named = new Map<string, SecureContext>();
  readonly #made: string;

  constructor(config: Pick<RelayConfig, 'certificates' | 'settings'>) {
    this.#made = sourceOf(config);
    const { minVersion } = config.settings.tls;
    const context = ({ chain, key }: { readonly chain: string; readonly key: string }): SecureContext =>
      createSecureContext({ cert: chain, key, minVersion, honorCipherOrder: true });
    this.default = context(config.certificates.default);
    for (const certificate of config.certificates.named ?? []) {
      const own = context(certificate);
      // The first one keeps a name.
      for (const name of certificate.names) if (!this.#named.has(name)) this.#named.set(name, own);
    }
  }

  /** Whether another config says the same of certificates: then this one serves it too. */
  serves(config: Pick<RelayConfig, 'certificates' | 'settings'>): boolean {
    return this.#made === sourceOf(config);
  }

  /** What a handshake asks; undefined where there is nothing to choose from. */
  get choose(): Choose | undefined {
    if (this.#named.size === 0) return undefined;
    return (name, callback) => callback(null, this.#for(name.toLowerCase()));
  }

  /** A wildcard stands for one label (RFC 6125 6.4.3). */
  #for(name: string): SecureContext {
    return this.#named.get(name) ?? this.#named.get(name.replace(/^[^.]+/, '*')) ?? this.default;
  }
}

const sourceOf = ({ certificates, settings }: Pick<RelayConfig, 'certificates' | 'settings'>): string =>
  JSON.stringify([settings.tls.minVersion, certificates]);
