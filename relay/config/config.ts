/** The config in force: what the documents of one folder say, read, checked and indexed. */
import type {
  CertificateDocument,
  DomainDocument,
  IndexDocument,
  NamedCertificateDocument,
  SettingsDocument,
  UserDocument,
} from './documents.ts';

export interface RelayConfig {
  /** Hex SHA-256 of `index.json`: names this version of the config. The operator waits until replicas report it. */
  readonly hash: string;
  readonly replicas: number;
  /** See IndexDocument. */
  readonly peers?: NonNullable<IndexDocument['peers']>;
  readonly settings: SettingsDocument;
  readonly certificates: {
    readonly default: CertificateDocument;
    /** By the names that clients ask for. */
    readonly named?: readonly NamedCertificateDocument[];
  };
  /** By domain: lower case, A-labels. */
  readonly domains: ReadonlyMap<string, DomainDocument>;
  /** By user name. */
  readonly users: ReadonlyMap<string, UserDocument>;
  /** Entries that were left out because they are wrong, with file and field. */
  readonly rejected: readonly string[];
}

/** Holds the config in force. Every part of the relay asks it at each decision and keeps no copy. */
export interface ConfigSource {
  current(): RelayConfig;
  /** Called after each swap with the config now in force. Returns the function that ends the subscription. */
  onChange(listener: (config: RelayConfig) => void): () => void;
}
